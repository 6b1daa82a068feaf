package supervise

import (
	"bufio"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
)

// Bounds of what is kept of a program's output.
const (
	keptLines = 200
	maxLine   = 4 << 10
)

// Line is one line that a program wrote to its standard output or error.
type Line struct {
	At   time.Time
	Text string
}

// ring keeps the last lines over all starts of an instance.
type ring struct {
	mu    sync.Mutex
	lines []Line
	next  int
	total int // lines ever written
}

func (r *ring) add(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.total++
	line := Line{At: time.Now(), Text: text}
	if len(r.lines) < keptLines {
		r.lines = append(r.lines, line)
		return
	}
	r.lines[r.next] = line
	r.next = (r.next + 1) % keptLines
}

// all returns the kept lines, oldest first.
func (r *ring) all() []Line {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Concat(r.lines[r.next:], r.lines[:r.next])
}

func (r *ring) written() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.total
}

// since returns at most n of the last lines among those written after the
// first `from` ones.
func (r *ring) since(from, n int) []string {
	lines := r.all()
	n = min(n, len(lines), r.written()-from)
	var texts []string
	for _, l := range lines[len(lines)-max(n, 0):] {
		texts = append(texts, l.Text)
	}
	return texts
}

// copyFrom reads lines until the end of src, masks secrets and cuts long lines.
// A line is masked before it is cut.
func (r *ring) copyFrom(src io.Reader, secrets []string) {
	in := bufio.NewReaderSize(src, 16*maxLine)
	mask := newMask(secrets)
	cut := false // the line goes on after what was kept of it
	for {
		b, err := in.ReadSlice('\n')
		if len(b) > 0 && !cut {
			text := mask.Replace(strings.TrimRight(string(b), "\r\n"))
			if len(text) > maxLine {
				text = text[:maxLine] + " ..."
			}
			r.add(strings.ToValidUTF8(text, "\uFFFD"))
		}
		cut = errors.Is(err, bufio.ErrBufferFull)
		if err != nil && !cut {
			return
		}
	}
}

// minSecret is the shortest value that is masked: masking "1" would make every
// line unreadable and hide nothing.
const minSecret = 4

// newMask replaces secrets, and every line of those that have several.
func newMask(secrets []string) *strings.Replacer {
	var parts []string
	for _, s := range secrets {
		parts = append(parts, s)
		for line := range strings.Lines(s) {
			parts = append(parts, strings.TrimSpace(line))
		}
	}
	slices.SortFunc(parts, func(a, b string) int { return len(b) - len(a) })
	var pairs []string
	for _, p := range parts {
		if len(p) >= minSecret {
			pairs = append(pairs, p, "***")
		}
	}
	return strings.NewReplacer(pairs...)
}
