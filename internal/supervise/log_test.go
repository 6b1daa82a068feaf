package supervise

import (
	"fmt"
	"strings"
	"testing"
)

func TestRingKeepsTheLastLines(t *testing.T) {
	var r ring
	for n := range 3 * keptLines / 2 {
		r.add(fmt.Sprint(n))
	}
	all := r.all()
	if len(all) != keptLines || all[0].Text != fmt.Sprint(keptLines/2) || all[keptLines-1].Text != fmt.Sprint(3*keptLines/2-1) {
		t.Errorf("%d lines from %q to %q, want the last %d", len(all), all[0].Text, all[len(all)-1].Text, keptLines)
	}
	if got := r.since(3*keptLines/2-2, 20); strings.Join(got, " ") != "298 299" {
		t.Errorf("lines of the last start: %v, want 298 and 299", got)
	}
	if got := r.since(r.written(), 20); len(got) != 0 {
		t.Errorf("lines of a start that wrote nothing: %v", got)
	}
}

func TestLinesAreMaskedThenCut(t *testing.T) {
	secret := "s3cret-value"
	for name, in := range map[string]string{
		"plain":               "password=" + secret + "!\n",
		"at the cut":          strings.Repeat("x", maxLine-4) + secret + "\n",
		"without line end":    secret,
		"twice and long":      secret + strings.Repeat(" ", 40*maxLine) + secret + "\nnext\n",
		"line of a large one": "BEGIN KEY\r\n",
	} {
		var r ring
		r.copyFrom(strings.NewReader(in), []string{secret, "BEGIN KEY\nabc\nEND KEY\n", "1"})
		for _, l := range r.all() {
			if strings.Contains(l.Text, secret[:4]) || strings.Contains(l.Text, "BEGIN") {
				t.Errorf("%s: the secret is in %.60q", name, l.Text)
			}
			if len(l.Text) > maxLine+4 {
				t.Errorf("%s: a line of %d bytes was kept", name, len(l.Text))
			}
		}
		if len(r.all()) == 0 {
			t.Errorf("%s: no line was kept", name)
		}
	}
}

func FuzzOutput(f *testing.F) {
	f.Add([]byte("line\n"), "secret")
	f.Add([]byte("\xff\x00no end"), "")
	f.Fuzz(func(t *testing.T, out []byte, secret string) {
		var r ring
		r.copyFrom(strings.NewReader(string(out)), []string{secret})
		for _, l := range r.all() {
			if strings.Contains(l.Text, "\n") || len(l.Text) > 3*maxLine+4 {
				t.Fatalf("kept line of %d bytes: %.80q", len(l.Text), l.Text)
			}
			if hides := len(secret) >= minSecret && !strings.ContainsAny(secret, "*\r\n"); hides && strings.Contains(l.Text, secret) {
				t.Fatalf("the secret %q is in %.80q", secret, l.Text)
			}
		}
	})
}
