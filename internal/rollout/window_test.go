package rollout

import (
	"testing"
	"time"

	"github.com/haldane-project/haldane/internal/release"
)

func TestWindow(t *testing.T) {
	week := []time.Weekday{time.Monday, time.Tuesday, time.Wednesday, time.Thursday, time.Friday}
	office := release.Window{Days: week, From: "09:00", To: "17:00", Zone: "Europe/Berlin"}
	night := release.Window{Days: []time.Weekday{time.Saturday}, From: "22:00", To: "02:00"}
	tests := []struct {
		name string
		w    release.Window
		now  string
		open bool
		next string
	}{
		{"open", office, "2026-01-05T09:00:00+01:00", true, ""},
		{"before", office, "2026-01-05T08:59:59+01:00", false, "2026-01-05T09:00:00+01:00"},
		{"its end is outside", office, "2026-01-05T17:00:00+01:00", false, "2026-01-06T09:00:00+01:00"},
		{"over the weekend", office, "2026-01-09T18:00:00+01:00", false, "2026-01-12T09:00:00+01:00"},
		{"summer time begins on the Sunday between", office, "2026-03-27T18:00:00+01:00", false, "2026-03-30T09:00:00+02:00"},
		{"over midnight, before it", night, "2026-01-10T23:00:00Z", true, ""},
		{"over midnight, after it", night, "2026-01-11T01:59:00Z", true, ""},
		{"over midnight, its days are those of the begin", night, "2026-01-10T01:00:00Z", false, "2026-01-10T22:00:00Z"},
		{"a week to wait", night, "2026-01-11T02:00:00Z", false, "2026-01-17T22:00:00Z"},
		{"every day", release.Window{From: "10:00", To: "11:00"}, "2026-01-05T12:00:00Z", false, "2026-01-06T10:00:00Z"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			now, err := time.Parse(time.RFC3339, tt.now)
			if err != nil {
				t.Fatal(err)
			}
			open, next, err := windowAt(tt.w, now)
			if err != nil || open != tt.open {
				t.Fatalf("open %v, error %v", open, err)
			}
			if want, _ := time.Parse(time.RFC3339, tt.next); !next.Equal(want) {
				t.Errorf("opens at %s, expected %s", next, want)
			}
		})
	}
	for _, bad := range []release.Window{{From: "9", To: "17:00"}, {From: "09:00", To: "x"}, {From: "09:00", To: "10:00", Zone: "Mars/Base"}} {
		if open, _, err := windowAt(bad, noon); err == nil || open {
			t.Errorf("%+v is open=%v without an error", bad, open)
		}
	}
}
