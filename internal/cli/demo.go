package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
	"github.com/spf13/cobra"

	"github.com/haldane-project/haldane/internal/demo"
	"github.com/haldane-project/haldane/internal/status"
)

func newDemo(sh *shell) *cobra.Command {
	var o demo.Options
	var keep, plainLines, verbose bool
	cmd := &cobra.Command{
		Use:   "demo [hello|llm]",
		Short: "See a bad version taken off and a good one promoted, in a minute",
		Long: `Starts the daemon in this process, a sample service as real processes, and
users at a constant rate. v1 makes 1 % errors; v2 makes 5 % and is rolled back; v3
makes 1 % again and is promoted. Then it reports what users saw.

The demo llm releases a small language model behind the OpenAI API: v2 is slow to
its first token and breaks the JSON that users ask for.

Nothing is staged but luck: which of the sample's requests fail is drawn from a
fixed seed, so that two demos meet the same luck. Exit code 0 only if both
versions ended as they should.`,
		Example: `  haldane demo
  haldane demo llm         # the same story of a language model
  haldane demo --keep      # stay afterwards, for a look at the web page
  haldane demo --plain     # lines, even on a terminal`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 || len(args) == 1 && !slices.Contains(demo.Scenarios(), args[0]) {
				return usageError(fmt.Errorf("there is no demo %q; known are %s", strings.Join(args, " "), strings.Join(demo.Scenarios(), ", ")))
			}
			return nil
		},
		ValidArgs: demo.Scenarios(),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				o.Scenario = args[0]
			}
			var err error
			if o.Program, err = os.Executable(); err != nil {
				return fmt.Errorf("find this program's own file, which is the sample service too: %w", err)
			}
			if verbose {
				o.Log = slog.New(slog.NewTextHandler(sh.err, nil))
			}
			t := &theatre{sh: sh, opt: o, keep: keep}
			if sh.output == "table" && !plainLines && !verbose && sh.live() {
				return t.live(cmd.Context())
			}
			return t.plain(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Listen, "listen", "127.0.0.1:0", "address of the API and the web page (port 0: a free one)")
	f.Float64Var(&o.Rate, "rate", 0, "requests a second (0: 400, or 60 to the model)")
	f.BoolVar(&keep, "keep", false, "stay until Ctrl-C when the story is over")
	f.BoolVar(&plainLines, "plain", false, "lines, even on a terminal")
	f.BoolVar(&verbose, "log", false, "show the daemon's log, too")
	sh.outputFlag(cmd, "table", "json")
	return cmd
}

// theatre shows the demo on a terminal or as lines.
type theatre struct {
	sh   *shell
	opt  demo.Options
	keep bool
	told bool // the report was shown already
}

// plain tells the story in lines: headings and changes on standard error, the
// report on standard output.
func (t *theatre) plain(ctx context.Context) error {
	sh := t.sh
	t.opt.Say = func(s string) { sh.say("\n%s", sh.paint(strong, sh.talk.text(s))) }
	watching, stop := context.WithCancel(ctx)
	defer stop()
	t.opt.Stage = func(st demo.Stage) {
		sh.say("web page: %s", st.Page)
		l := sh.lines(sh.err, sh.talk)
		l.every = 4 * time.Second
		go func() {
			_ = st.Client.Watch(watching, st.Release, l.tell) // the story itself notices a daemon that ends
		}()
	}
	t.opt.After = func(rep demo.Report) {
		stop()
		if t.keep && sh.output == "table" {
			writeReport(sh.out, sh.screen, rep)
			t.told = true
		}
		t.stay(ctx)
	}
	return t.end(demo.Run(ctx, t.opt))
}

// end tells how the story ended; a person who left gets no report.
func (t *theatre) end(rep demo.Report, err error) error {
	if errors.Is(err, context.Canceled) {
		t.sh.say("Left before the end; everything was taken down.")
		return &silent{exitInterrupt}
	}
	if err != nil {
		return err
	}
	return t.report(rep)
}

// stay keeps the daemon until the person leaves.
func (t *theatre) stay(ctx context.Context) {
	if !t.keep {
		return
	}
	t.sh.say("\nThe daemon stays. Ctrl-C ends it.")
	<-ctx.Done()
}

// live shows the story in the live view.
func (t *theatre) live(ctx context.Context) error {
	ctx, leave := context.WithCancel(ctx)
	defer leave()
	sh := t.sh
	sh.say("%s", sh.paint(faint, "starting "+sh.talk.glyph("…", "...")))
	show := make(chan demo.Stage, 1)
	over := make(chan struct{})
	type ending struct {
		rep demo.Report
		err error
	}
	ended := make(chan ending, 1)
	t.opt.Say = func(string) {} // the view's caption tells it
	t.opt.Stage = func(s demo.Stage) { show <- s }
	t.opt.After = func(demo.Report) {
		if t.keep {
			<-ctx.Done()
		}
	}
	go func() {
		rep, err := demo.Run(ctx, t.opt)
		ended <- ending{rep, err}
		close(over)
	}()
	select {
	case s := <-show:
		l := &live{s: sh.screen, ask: asker(ctx, s.Client, s.Release), caption: t.caption(s), leave: "end the demo"}
		p := tea.NewProgram(l, tea.WithContext(ctx), tea.WithInput(sh.in), tea.WithOutput(sh.out))
		feeding, stop := context.WithCancel(ctx)
		go func() { _ = feed(feeding, s.Client, s.Release, p.Send) }() // the story itself notices a daemon that ends
		go func() {
			<-over
			p.Quit()
		}()
		_, err := p.Run()
		stop()
		if err != nil && ctx.Err() == nil {
			leave()
			<-over
			return fmt.Errorf("draw the live view: %w", err)
		}
		leave() // on q, the story ends here
	case <-over:
	}
	e := <-ended
	return t.end(e.rep, e.err)
}

// caption is what stands above the live view.
func (t *theatre) caption(st demo.Stage) func() []string {
	s := t.sh.screen
	return func() []string {
		m := st.Now()
		u := m.Users
		users := fmt.Sprintf("users: %s requests, %s errors", grouped(u.Requests), status.Share(float64(u.Failed)/float64(max(u.Requests, 1))))
		return []string{
			s.paint(strong, fmt.Sprintf("%d/3  %s", m.Act, m.Title)),
			s.paint(faint, "     "+users+"   "+s.glyph("·", "|")+"   web page: "+st.Page),
		}
	}
}

func (t *theatre) report(rep demo.Report) error {
	if done, err := t.sh.object(rep); err != nil {
		return err
	} else if !done && !t.told {
		writeReport(t.sh.out, t.sh.screen, rep)
	}
	if !rep.OK {
		return &silent{exitError}
	}
	return nil
}

func writeReport(w io.Writer, s screen, rep demo.Report) {
	fmt.Fprintln(w)
	for _, line := range rep.Lines() {
		indent := len(line) - len(strings.TrimLeft(line, " "))
		wrapped := lipgloss.Wrap(s.text(strings.TrimSpace(line)), (scene{}).fit(s)-indent, "")
		for part := range strings.SplitSeq(wrapped, "\n") {
			fmt.Fprintln(w, strings.Repeat(" ", indent)+part)
		}
	}
	sign := s.paint(good, s.glyph("✓", "+")+" as it should be")
	if !rep.OK {
		sign = s.paint(bad, s.glyph("✗", "x")+" not as it should be")
	}
	fmt.Fprintf(w, "\n%s, in %s. Next: `%s serve`, and a release.yaml of your own.\n", sign, status.Duration(rep.Took), self)
}
