package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/client"
)

// goal is what is waited for.
type goal struct {
	kind string // one of goals
	step int    // kind step
	word string // kind phase, verdict
}

var goals = []string{"promoted", "ended", "step=N", "verdict=WORD", "phase=WORD", "deleted"}

func parseGoal(s string) (goal, error) {
	kind, value, has := strings.Cut(s, "=")
	g := goal{kind: kind, word: value}
	bad := fmt.Errorf("--for is %q, expected %s", s, strings.Join(goals, ", "))
	switch kind {
	case "promoted", "ended", "deleted":
		if has {
			return g, bad
		}
	case "step":
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 {
			return g, bad
		}
		g.step = n
	case "verdict":
		if !slices.Contains([]string{"", "Pass", "Fail", "Inconclusive"}, value) || has != (value != "") {
			return g, bad
		}
	case "phase":
		if value == "" {
			return g, bad
		}
	default:
		return g, bad
	}
	return g, nil
}

// outcome is how waiting ended.
type outcome struct {
	code     int
	sentence string
}

var errGone = errors.New("the release was deleted")

// judgeState tells whether the goal is reached, or cannot be any more, by one
// state of the release. The run is the one that is waited for.
func (g goal) judgeState(r v1alpha1.Release, run v1alpha1.RunStatus) (outcome, bool) {
	st := r.Status
	o := outcome{exitOK, st.Message}
	switch g.kind {
	case "step":
		n, _, _ := strings.Cut(st.Step, "/")
		if at, err := strconv.Atoi(n); err == nil && at >= g.step && st.Phase != "Preparing" && st.Phase != "RollingBack" {
			return o, true
		}
	case "verdict":
		if st.Verdict != "" && st.Verdict == g.word || g.word == "" && (st.Verdict == "Pass" || st.Verdict == "Fail") {
			return o, true
		}
	case "phase":
		if strings.EqualFold(st.Phase, g.word) || strings.EqualFold(run.Phase, g.word) {
			return o, true
		}
	case "deleted":
		return outcome{}, false
	}
	return ended(st, run)
}

// ended says what became of a run that is over.
func ended(st v1alpha1.ReleaseStatus, run v1alpha1.RunStatus) (outcome, bool) {
	o := outcome{sentence: st.Message}
	if st.Run == nil || st.Run.Name != run.Name {
		o.sentence = fmt.Sprintf("%s: %s: %s", run.Name, run.Phase, run.Why)
	}
	switch run.Phase {
	case "Promoted":
		o.code = exitOK
	case "RolledBack", "Aborted":
		o.code = exitRolledBack
	case "Superseded":
		o.code = exitSuperseded
		o.sentence = fmt.Sprintf("%s (to %s) was superseded by a newer version. %s", run.Name, run.To, st.Message)
	default:
		if st.Phase == "Blocked" {
			o.code = exitError
			return o, true
		}
		return o, false
	}
	return o, true
}

// chase follows one release until its goal is reached. generation is the least
// that a pass must have acted on; run may be empty for the one that is then
// current, or the first one to version (its content hash, or its name) where that
// is given.
type chase struct {
	c          *client.Client
	name       string
	run        string
	version    string
	generation int64
	goal       goal
}

// until calls see with every state, and returns how it ended.
func (ch *chase) until(ctx context.Context, see func(client.Change)) (outcome, error) {
	var out outcome
	err := ch.c.Watch(ctx, ch.name, func(c client.Change) error {
		see(c)
		switch {
		case c.Gone != "":
			if ch.goal.kind == "deleted" {
				out = outcome{exitOK, ch.name + " is gone."}
				return errReached
			}
			return fmt.Errorf("%s: %w", ch.name, errGone)
		case c.Release == nil:
			return nil
		}
		o, done, err := ch.look(ctx, *c.Release)
		if err != nil || !done {
			return err
		}
		out = o
		return errReached
	})
	if errors.Is(err, errReached) {
		return out, nil
	}
	return outcome{}, err
}

var errReached = errors.New("reached")

// wants reports whether a version is the one that is waited for.
func (ch *chase) wants(id, name string) bool { return ch.version == id || ch.version == name }

func (ch *chase) look(ctx context.Context, r v1alpha1.Release) (outcome, bool, error) {
	st := r.Status
	if ch.goal.kind == "deleted" || st.ObservedGeneration < ch.generation || st.Run == nil {
		return outcome{}, false, nil
	}
	run := *st.Run
	if ch.run == "" && ch.version != "" && !ch.wants(run.ToID, run.To) {
		serves := st.Stable != nil && ch.wants(st.Stable.ID, st.Stable.Name) && run.Ended != nil
		return outcome{exitOK, st.Message}, serves && ch.goal.kind != "phase", nil
	}
	if ch.run == "" {
		ch.run = run.Name
	}
	if run.Name != ch.run {
		old, err := ch.c.Run(ctx, ch.run)
		if err != nil {
			return outcome{}, false, fmt.Errorf("ask what became of %s: %w", ch.run, err)
		}
		run = old.Status
	}
	o, done := ch.goal.judgeState(r, run)
	return o, done, nil
}
