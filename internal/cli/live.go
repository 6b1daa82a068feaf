package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/client"
	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/store"
)

// live is the live view of one release. Messages come from feed (what is), from
// the keyboard, and from a clock for the elapsed time.
type live struct {
	ask     func(rollout.Verb, string) tea.Cmd // sends an intent for a run
	caption func() []string                    // lines above the view; nil: none
	leave   string                             // what q does; empty: the usual
	s       screen
	height  int
	scene   scene
	ready   bool
	down    error
	gone    bool
	pending *key   // waits for y or n
	notice  string // what became of the last key
	legend  bool   // the picture is explained
	left    bool   // the person left
}

// key is something a person can do.
type key struct {
	key      string
	word     string
	verb     rollout.Verb
	question string // asked first; empty: done at once
}

var keys = []key{
	{"p", "pause", rollout.AskPause, ""},
	{"r", "resume", rollout.AskResume, ""},
	{"n", "next step", rollout.AskPromote, "Go one step on without waiting for the evidence?"},
	{"f", "full", rollout.AskPromoteFull, "Send all of the traffic to %s now, without waiting for the evidence?"},
	{"a", "abort", rollout.AskAbort, "Take the traffic off %s now?"},
	{"t", "retry", rollout.AskRetry, "Try %s again?"},
	{"b", "rollback", rollout.AskRollback, "Go back to the version before %s?"},
}

// The messages.
type (
	sceneMsg  scene
	downMsg   struct{ err error }
	goneMsg   struct{}
	answerMsg struct{ text string }
	tickMsg   time.Time
)

func tick() tea.Cmd {
	return tea.Every(500*time.Millisecond, func(t time.Time) tea.Msg { return tickMsg(t) })
}

// Init starts the clock.
func (l *live) Init() tea.Cmd { return tick() }

// Update takes one message.
func (l *live) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch m := msg.(type) {
	case tea.WindowSizeMsg:
		l.s.width, l.height = m.Width, m.Height
	case tickMsg:
		l.scene.now = time.Time(m)
		return l, tick()
	case sceneMsg:
		l.scene, l.ready, l.down = scene(m), true, nil
	case downMsg:
		l.down = m.err
	case goneMsg:
		l.gone = true
		return l, tea.Quit
	case answerMsg:
		l.notice = m.text
	case tea.KeyPressMsg:
		return l.press(m.String())
	}
	return l, nil
}

func (l *live) press(k string) (tea.Model, tea.Cmd) {
	if l.pending != nil {
		p := *l.pending
		l.pending = nil
		if k == "y" || k == "Y" {
			return l, l.do(p)
		}
		l.notice = "Nothing was done."
		if k != "ctrl+c" && k != "q" {
			return l, nil
		}
	}
	switch k {
	case "q", "ctrl+c", "esc":
		l.left = true
		return l, tea.Quit
	case "?":
		l.legend = !l.legend
		return l, nil
	}
	for _, x := range l.can() {
		if x.key != k {
			continue
		}
		l.notice = ""
		if x.question != "" {
			l.pending = &x
			return l, nil
		}
		return l, l.do(x)
	}
	return l, nil
}

// can lists the keys that the release allows now.
func (l *live) can() []key {
	var out []key
	for _, k := range keys {
		if l.ready && slices.Contains(l.scene.rel.Status.Allowed, string(k.verb)) {
			out = append(out, k)
		}
	}
	return out
}

func (l *live) do(k key) tea.Cmd {
	run := ""
	if r := l.scene.rel.Status.Run; r != nil {
		run = r.Name
	}
	l.notice = k.word + " " + l.s.glyph("…", "...")
	return l.ask(k.verb, run)
}

// View draws it all.
func (l *live) View() tea.View {
	v := tea.NewView(strings.Join(l.draw(), "\n"))
	v.AltScreen = true
	v.WindowTitle = "haldane " + l.scene.rel.Name
	return v
}

func (l *live) draw() []string {
	var out []string
	if l.caption != nil {
		out = append(append(out, l.caption()...), "")
	}
	if !l.ready {
		return append(out, "  waiting for the daemon "+l.s.glyph("…", "..."))
	}
	out = append(out, l.scene.head(l.s)...)
	if m := l.scene.metrics(l.s); len(m) > 0 {
		out = append(append(out, ""), m...)
	}
	if l.legend {
		out = append(append(out, ""), legend(l.s)...)
	}
	foot := l.foot()
	if room := l.height - len(out) - len(foot) - 2; room > 0 {
		out = append(append(out, ""), l.scene.log(l.s, room)...)
	}
	for len(out)+len(foot) < l.height {
		out = append(out, "")
	}
	return append(out[:max(0, min(len(out), l.height-len(foot)))], foot...)
}

// foot is the question, or the keys and what became of the last one.
func (l *live) foot() []string {
	if l.pending != nil {
		q := l.pending.question
		if strings.Contains(q, "%s") {
			q = fmt.Sprintf(q, l.s.text(l.scene.rel.Status.Run.To))
		}
		return []string{"  " + l.s.paint(warn, q) + " " + l.s.paint(strong, "y") + " yes  " + l.s.paint(strong, "n") + " no"}
	}
	var parts []string
	for _, k := range l.can() {
		parts = append(parts, l.s.paint(strong, k.key)+" "+k.word)
	}
	parts = append(parts, l.s.paint(strong, "?")+" legend", l.s.paint(strong, "q")+" "+orElse(l.leave, "leave"))
	line := "  " + strings.Join(parts, "   ")
	switch {
	case l.down != nil:
		return []string{"  " + l.s.paint(bad, l.s.text("connection lost, trying again: "+l.down.Error())), line}
	case l.notice != "":
		return []string{"  " + l.s.text(l.notice), line}
	}
	return []string{line}
}

// feed sends what is to the view until ctx ends.
func feed(ctx context.Context, c *client.Client, name string, send func(tea.Msg)) error {
	f := feeder{c: c, name: name}
	return c.Watch(ctx, name, func(ch client.Change) error {
		if ch.Gone != "" {
			send(goneMsg{})
			return errGone
		}
		err := ch.Down
		if err == nil {
			err = f.take(ctx, *ch.Release)
		}
		if err != nil {
			send(downMsg{err}) // the view says so and goes on
		} else {
			send(sceneMsg(f.scene))
		}
		return nil
	})
}

// feeder adds to each state of a release its evidence and its events.
type feeder struct {
	c     *client.Client
	name  string
	scene scene
	looks []store.Look
}

func (f *feeder) take(ctx context.Context, r v1alpha1.Release) error {
	f.scene.rel, f.scene.now = r, time.Now()
	if run := r.Status.Run; run != nil {
		newer, err := f.c.Looks(ctx, run.Name, 1)
		if err != nil {
			return err
		}
		f.looks = remember(f.looks, run.Name, newer)
		f.scene.look = newest(f.looks)
	}
	events, err := f.c.Events(ctx, f.name, lastID(f.scene.events), 1000)
	f.scene.events = append(slices.Clip(f.scene.events), events...)
	return err
}

// remember keeps the looks of the last moments, oldest first, of one step of one run.
func remember(have []store.Look, run string, newer []store.Look) []store.Look {
	if len(have) > 0 && have[0].Run != run {
		have = nil
	}
	for _, l := range newer {
		if n := len(have); n > 0 && have[n-1].Step != l.Step {
			have = nil
		}
		if n := len(have); n > 0 && have[n-1].Report.At == l.Report.At {
			have[n-1] = l
			continue
		}
		have = append(have, l)
	}
	return have[max(0, len(have)-40):]
}

func lastID(events []store.StoredEvent) int64 {
	if len(events) == 0 {
		return 0
	}
	return events[len(events)-1].ID
}

// asker sends intents and brings the answers back as messages.
func asker(ctx context.Context, c *client.Client, name string) func(rollout.Verb, string) tea.Cmd {
	return func(v rollout.Verb, run string) tea.Cmd {
		return func() tea.Msg {
			a, err := c.Ask(ctx, name, client.Ask{Verb: v, Run: run, Reason: "asked in the live view", WaitSeconds: answerSeconds})
			switch {
			case err != nil:
				return answerMsg{err.Error()}
			case !a.Answered:
				return answerMsg{string(v) + ": recorded, and not yet done"}
			}
			return answerMsg{a.Message}
		}
	}
}

// watchLive runs the live view until the person leaves.
func (sh *shell) watchLive(ctx context.Context, c *client.Client, name string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l := &live{ask: asker(ctx, c, name), s: sh.screen}
	p := tea.NewProgram(l, tea.WithContext(ctx), tea.WithInput(sh.in), tea.WithOutput(sh.out))
	fed := make(chan error, 1)
	go func() {
		err := feed(ctx, c, name, p.Send)
		fed <- err
		if err != nil && ctx.Err() == nil && !errors.Is(err, errGone) {
			p.Quit()
		}
	}()
	_, err := p.Run()
	cancel()
	feedErr := <-fed
	switch {
	case err != nil && !errors.Is(err, tea.ErrProgramKilled) && !errors.Is(err, context.Canceled):
		return fmt.Errorf("draw the live view: %w", err)
	case l.gone:
		sh.say("%s was deleted.", name)
		return nil
	case !l.left && feedErr != nil && !errors.Is(feedErr, context.Canceled):
		return feedErr
	}
	return sh.leave(l)
}

// leave keeps the last picture on the screen and says how to come back.
func (sh *shell) leave(l *live) error {
	if !l.ready {
		return nil
	}
	for _, line := range append(l.scene.head(sh.screen), l.scene.metrics(sh.screen)...) {
		fmt.Fprintln(sh.out, line)
	}
	if run := l.scene.rel.Status.Run; run != nil && run.Ended == nil {
		sh.say("\nThe run goes on. `%s watch %s` comes back, `%s abort %s` takes the new version off.", self, l.scene.rel.Name, self, l.scene.rel.Name)
	}
	return nil
}
