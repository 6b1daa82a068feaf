package cli

import (
	"fmt"
	"io"
	"time"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/client"
)

// lines writes one line for every change that a person would notice, and one
// now and then while a run goes on, so that a log shows that it lives.
type lines struct {
	w     io.Writer
	s     screen
	every time.Duration // between two lines without a change
	now   func() time.Time
	key   string
	said  string
	at    time.Time
	down  bool
}

func (sh *shell) lines(w io.Writer, s screen) *lines {
	return &lines{w: w, s: s, every: 30 * time.Second, now: time.Now}
}

// change writes a line, if something changed.
func (l *lines) change(ch client.Change) {
	switch {
	case ch.Down != nil && !l.down:
		l.down = true
		l.write("the connection broke (" + ch.Down.Error() + "); trying again")
	case ch.Gone != "":
		l.write(ch.Gone + " is gone")
	case ch.Release != nil:
		l.down = false
		key, text := keyOf(*ch.Release), l.sentence(*ch.Release)
		late := ch.Release.Status.Canary != nil && l.now().Sub(l.at) >= l.every
		if text != l.said && (key != l.key || late) {
			l.key = key
			l.write(text)
		}
	}
}

// tell is change as the reader of a watch.
func (l *lines) tell(ch client.Change) error {
	l.change(ch)
	return nil
}

// keyOf is what makes a new line worth reading: counts alone do not.
func keyOf(r v1alpha1.Release) string {
	st := r.Status
	run := ""
	if st.Run != nil {
		run = st.Run.Name + st.Run.Phase
	}
	return fmt.Sprint(st.Phase, "|", st.Weight, "|", st.Step, "|", st.Verdict, "|", run)
}

func (l *lines) sentence(r v1alpha1.Release) string {
	st := r.Status
	at := "-"
	if st.Canary != nil {
		at = st.Weight
	}
	return fmt.Sprintf("%s  %-11s %5s  %s", r.Name, st.Phase, at, st.Message)
}

func (l *lines) write(text string) {
	l.said, l.at = text, l.now()
	fmt.Fprintf(l.w, "%s  %s\n", l.s.paint(faint, l.now().Format(time.TimeOnly)), l.s.text(text))
}
