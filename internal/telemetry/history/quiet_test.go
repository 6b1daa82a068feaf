package history

import (
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestTheStoreIsQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &log{}
		l := quiet(slog.New(slog.NewTextHandler(out, nil)))
		for range 90 {
			l.Info("replaying")
			l.Error("disk full", "segment", 3)
			l.With("target", "a").Warn("scrape failed")
			time.Sleep(time.Second)
		}
		for text, want := range map[string]int{"replaying": 0, "disk full": 2, "scrape failed": 2} {
			if got := strings.Count(out.String(), text); got != want {
				t.Errorf("%q was written %d times in 90 s, want %d", text, got, want)
			}
		}
	})
}
