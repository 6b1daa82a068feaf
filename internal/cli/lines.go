package cli

import (
	"fmt"
	"io"
	"time"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/client"
)

// lines writes one line for every change that a person would notice.
type lines struct {
	w    io.Writer
	s    screen
	last string
	down bool
	now  func() time.Time
}

func (sh *shell) lines(w io.Writer, s screen) *lines { return &lines{w: w, s: s, now: time.Now} }

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
		if key := l.key(*ch.Release); key != l.last {
			l.last = key
			l.write(l.sentence(*ch.Release))
		}
	}
}

// key is what makes a new line worth reading: counts alone do not.
func (l *lines) key(r v1alpha1.Release) string {
	st := r.Status
	run := ""
	if st.Run != nil {
		run = st.Run.Name + st.Run.Phase + st.Run.Why
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
	fmt.Fprintf(l.w, "%s  %s\n", l.s.paint(faint, l.now().Format(time.TimeOnly)), l.s.text(text))
}
