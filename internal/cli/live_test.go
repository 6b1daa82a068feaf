package cli

import (
	"errors"
	"strings"
	"testing"

	tea "charm.land/bubbletea/v2"

	"github.com/haldane-project/haldane/internal/rollout"
)

// viewer is a live view whose intents are noted.
func viewer(phase string) (*live, *[]string) {
	var asked []string
	l := &live{s: screen{unicode: true, width: 100}, height: 30, scene: sceneAt(phase, 1), ready: true}
	l.ask = func(v rollout.Verb, run string) tea.Cmd {
		return func() tea.Msg {
			asked = append(asked, string(v)+" "+run)
			return answerMsg{"done: " + string(v)}
		}
	}
	return l, &asked
}

// press sends keys and runs what they cause.
func press(l *live, keys ...string) (quit bool) {
	for _, k := range keys {
		msg := tea.KeyPressMsg{Code: rune(k[0]), Text: k}
		if k == "ctrl+c" {
			msg = tea.KeyPressMsg{Code: 'c', Mod: tea.ModCtrl}
		}
		if _, cmd := l.Update(msg); cmd != nil {
			got := cmd()
			if _, ok := got.(tea.QuitMsg); ok {
				return true
			}
			l.Update(got)
		}
	}
	return false
}

func TestKeys(t *testing.T) {
	for _, c := range []struct {
		name, phase string
		keys        []string
		asked       []string
		quit        bool
	}{
		{"pause needs no word", "Progressing", []string{"p"}, []string{"pause hello-2"}, false},
		{"abort asks first", "Progressing", []string{"a"}, nil, false},
		{"and does it on yes", "Progressing", []string{"a", "y"}, []string{"abort hello-2"}, false},
		{"anything else is a no", "Progressing", []string{"a", "x"}, nil, false},
		{"the question swallows the key", "Progressing", []string{"a", "p"}, nil, false},
		{"full", "Progressing", []string{"f", "y"}, []string{"promoteFull hello-2"}, false},
		{"what is not allowed does nothing", "Progressing", []string{"r", "t", "b"}, nil, false},
		{"retry after a rollback", "RolledBack", []string{"t", "y"}, []string{"retry hello-2"}, false},
		{"q leaves", "Progressing", []string{"q"}, nil, true},
		{"Ctrl-C leaves", "Progressing", []string{"ctrl+c"}, nil, true},
		{"Ctrl-C leaves from a question", "Progressing", []string{"a", "ctrl+c"}, nil, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, asked := viewer(c.phase)
			if quit := press(l, c.keys...); quit != c.quit {
				t.Errorf("left: %v, expected %v", quit, c.quit)
			}
			if strings.Join(*asked, ",") != strings.Join(c.asked, ",") {
				t.Errorf("asked %q, expected %q", *asked, c.asked)
			}
		})
	}
}

func TestTheViewSaysWhatItWaitsFor(t *testing.T) {
	l, _ := viewer("Progressing")
	has := func(want string) {
		t.Helper()
		if got := strings.Join(l.draw(), "\n"); !strings.Contains(got, want) {
			t.Errorf("the view lacks %q:\n%s", want, got)
		}
	}
	press(l, "a")
	has("Take the traffic off v2 now? y yes  n no")
	press(l, "n")
	has("Nothing was done.")
	press(l, "p")
	has("done: pause")
	press(l, "?")
	has("evidence that the new version is worse")
	l.Update(downMsg{errors.New("connection refused")})
	has("connection lost, trying again: connection refused")
	l.Update(sceneMsg(sceneAt("Progressing", 2)))
	has("● 50%")
	l.Update(tea.WindowSizeMsg{Width: 70, Height: 40})
	if l.s.width != 70 || len(l.draw()) != 40 {
		t.Errorf("drawn %d lines for 40", len(l.draw()))
	}
	l.caption = func() []string { return []string{"2/3  the second act"} }
	has("2/3  the second act")
	l.ready = false
	has("waiting for the daemon")
	if _, cmd := l.Update(goneMsg{}); cmd == nil || !l.gone {
		t.Error("a release that is gone ends the view")
	}
}
