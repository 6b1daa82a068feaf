package rollout

import (
	"strconv"
	"time"

	"github.com/haldane-project/haldane/internal/release"
)

func percent(w release.Weight) string {
	return strconv.FormatFloat(float64(w)/100, 'f', -1, 64) + "%"
}

// count writes a number with its noun: "1 request", "3 requests".
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}

// span writes a time span with at most three figures below a minute.
func span(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

func clock(t time.Time) string { return t.UTC().Format("15:04:05 UTC") }

// thousands groups digits with a space: 28114 is "28 114".
func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + " " + s[i:]
	}
	return s
}
