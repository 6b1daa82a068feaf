package web

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/status"
)

// appearance is how a state looks: always an icon and a word, colour besides.
type appearance struct {
	Word, Icon, Tone string
}

// Tones are classes of the style sheet: calm, live, wait, good, bad.
var appearances = map[string]appearance{
	status.Idle:                 {"Idle", "check", "calm"},
	status.Starting:             {"Starting", "clock", "live"},
	status.Paused:               {"Paused", "pause", "wait"},
	status.Blocked:              {"Blocked", "alert", "bad"},
	status.Deleting:             {"Deleting", "clock", "wait"},
	string(rollout.Preparing):   {"Preparing", "clock", "live"},
	string(rollout.Progressing): {"Progressing", "play", "live"},
	string(rollout.Baking):      {"Baking", "clock", "live"},
	string(rollout.Finishing):   {"Finishing", "clock", "live"},
	string(rollout.RollingBack): {"Rolling back", "back", "bad"},
	string(rollout.Promoted):    {"Promoted", "check", "good"},
	string(rollout.RolledBack):  {"Rolled back", "back", "bad"},
	string(rollout.Aborted):     {"Aborted", "stop", "wait"},
	string(rollout.Superseded):  {"Superseded", "skip", "calm"},
	string(judge.Pass):          {"Pass", "check", "good"},
	string(judge.Fail):          {"Fail", "cross", "bad"},
	string(judge.Inconclusive):  {"Inconclusive", "dots", "calm"},
}

// lookOf is the appearance of a phase or verdict; an unknown one keeps its word.
func lookOf(state string) appearance {
	if a, ok := appearances[state]; ok {
		return a
	}
	return appearance{Word: state, Icon: "dots", Tone: "calm"}
}

// stamp is a moment for people, with the exact one for machines and on hover.
type stamp struct {
	Machine, Exact, Text string
}

func (s *Server) ago(t time.Time) stamp {
	if t.IsZero() {
		return stamp{Text: "never"}
	}
	text := "now"
	if d := s.o.Now().Sub(t); d >= time.Second {
		text = coarse(d) + " ago"
	}
	return stamp{t.UTC().Format(time.RFC3339), t.Local().Format("2006-01-02 15:04:05 MST"), text}
}

func clock(t time.Time) stamp {
	return stamp{t.UTC().Format(time.RFC3339), t.Local().Format("2006-01-02 15:04:05 MST"), t.Local().Format("15:04:05")}
}

// coarse is a duration in its largest unit.
func coarse(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

// count writes a number with thin spaces between thousands.
func count(n int64) string {
	s := strconv.FormatInt(n, 10)
	var b strings.Builder
	for i, r := range s {
		if i > 0 && (len(s)-i)%3 == 0 && s[i-1] != '-' {
			b.WriteRune('\u202f')
		}
		b.WriteRune(r)
	}
	return b.String()
}

// sentence begins a text with a capital letter, unless it begins with one of
// the names, which stay as they are.
func sentence(s string, names ...string) string {
	first, _, _ := strings.Cut(s, " ")
	for _, n := range names {
		if n == strings.TrimRight(first, ",:;.") {
			return s
		}
	}
	r, n := utf8.DecodeRuneInString(s)
	if n == 0 || r == utf8.RuneError {
		return s
	}
	return string(unicode.ToUpper(r)) + s[n:]
}
