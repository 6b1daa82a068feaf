package cli

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"charm.land/lipgloss/v2"
	"pgregory.net/rapid"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/client"
)

func TestNearest(t *testing.T) {
	names := []string{"promote", "pause", "plan", "resume", "get"}
	for word, want := range map[string]string{
		"promot": "promote", "pormote": "promote", "PAUSE": "pause", "plna": "plan", "res": "resume", "xyz": "", "gt": "get", "": "",
	} {
		if got := strings.Join(nearest(word, names), ","); got != want {
			t.Errorf("%q is near %q, expected %q", word, got, want)
		}
	}
	if got := known("things", []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n"}, "zzz"); !strings.HasSuffix(got, "and 2 more") {
		t.Errorf("a long list is not cut: %q", got)
	}
}

func TestDistanceIsAMetricOfTypingErrors(t *testing.T) {
	word := rapid.StringMatching(`[a-d]{0,6}`)
	rapid.Check(t, func(t *rapid.T) {
		a, b := word.Draw(t, "a"), word.Draw(t, "b")
		d := distance(a, b)
		if d != distance(b, a) || (d == 0) != (a == b) || d > max(len(a), len(b)) {
			t.Errorf("distance(%q, %q) = %d, and back %d", a, b, d, distance(b, a))
		}
	})
}

// Columns line up by cells of the screen, whatever colours and wide signs are in them.
func TestGridAlignsByCells(t *testing.T) {
	s := screen{color: true, unicode: true}
	g := &grid{head: []string{"NAME", "N", "REST"}, right: map[int]bool{1: true}}
	g.add(s.paint(bad, "红色"), "1", "x")
	g.add("ab", "1 000", "y")
	var b bytes.Buffer
	if err := g.write(&b, s); err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(strings.TrimSpace(b.String()), "\n")[1:] {
		if w := lipgloss.Width(line); w != 4+3+5+3+1 {
			t.Errorf("%q is %d cells wide", line, w)
		}
	}
}

func TestGrouped(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1 000", 28114: "28 114", 1234567: "1 234 567", -4500: "-4 500"} {
		if got := grouped(n); got != want {
			t.Errorf("%d is written %q, expected %q", n, got, want)
		}
	}
}

func TestTextIsSafeForTheScreen(t *testing.T) {
	hostile := "a\x1b]0;owned\x07b\nc\u009b2J→ 5µs"
	if got := (screen{unicode: true}).text(hostile); got != "a]0;ownedb c2J→ 5µs" {
		t.Errorf("got %q", got)
	}
	if got := (screen{}).text(hostile + "漢"); got != "a]0;ownedb c2J-> 5us?" {
		t.Errorf("got %q", got)
	}
}

func TestScreenFollowsTheEnvironment(t *testing.T) {
	for _, name := range []string{"NO_COLOR", "CLICOLOR_FORCE", "LC_ALL", "LC_CTYPE", "LANG", "TERM"} {
		t.Setenv(name, "")
	}
	var b bytes.Buffer
	for _, c := range []struct {
		env, value, flag string
		color, unicode   bool
	}{
		{"TERM", "xterm", "auto", false, false},
		{"TERM", "xterm", "always", true, false},
		{"CLICOLOR_FORCE", "1", "auto", true, false},
		{"CLICOLOR_FORCE", "0", "auto", false, false},
		{"CLICOLOR_FORCE", "1", "never", false, false},
		{"NO_COLOR", "1", "always", true, false},
		{"LANG", "de_DE.UTF-8", "auto", false, true},
		{"LC_ALL", "C.utf8", "auto", false, true},
		{"LC_ALL", "C", "auto", false, false},
	} {
		t.Run(c.env+"="+c.value+" "+c.flag, func(t *testing.T) {
			t.Setenv(c.env, c.value)
			if s := screenOf(&b, c.flag); s.color != c.color || s.unicode != c.unicode || s.terminal {
				t.Errorf("got %+v", s)
			}
		})
	}
}

func TestGoals(t *testing.T) {
	for _, bad := range []string{"", "promotd", "promoted=1", "step", "step=0", "step=x", "verdict=Maybe", "verdict=", "phase=", "deleted=1"} {
		if g, err := parseGoal(bad); err == nil {
			t.Errorf("%q was read as %+v", bad, g)
		}
	}
	for _, good := range []string{"promoted", "ended", "step=2", "verdict", "verdict=Pass", "phase=Paused", "deleted"} {
		if _, err := parseGoal(good); err != nil {
			t.Error(err)
		}
	}
}

func TestLinesSayWhatAPersonWouldNotice(t *testing.T) {
	var b bytes.Buffer
	now := day
	l := &lines{w: &b, s: screen{unicode: true}, every: 30 * time.Second, now: func() time.Time { return now }}
	tell := func(r v1alpha1.Release) { l.change(client.Change{Release: &r}) }
	tell(hello("Progressing", 0))
	tell(hello("Progressing", 0))
	counted := hello("Progressing", 0)
	counted.Status.Message = "only a count is new"
	tell(counted)
	now = now.Add(31 * time.Second)
	tell(counted)
	tell(hello("Progressing", 1))
	l.change(client.Change{Down: errors.New("refused")})
	l.change(client.Change{Down: errors.New("refused")})
	tell(hello("Promoted", 3))
	l.change(client.Change{Gone: "hello"})
	got := strings.Split(strings.TrimSpace(b.String()), "\n")
	want := []string{"5%", "only a count is new", "10%", "trying again", "v2 serves all", "hello is gone"}
	if len(got) != len(want) {
		t.Fatalf("%d lines, expected %d:\n%s", len(got), len(want), b.String())
	}
	for i := range want {
		if !strings.Contains(got[i], want[i]) {
			t.Errorf("line %d is %q, expected %q in it", i, got[i], want[i])
		}
	}
}
