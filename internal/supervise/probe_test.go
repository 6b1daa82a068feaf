package supervise

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// probing runs the watch loop in fake time against a list of answers and
// returns when each probe came and what was reported.
func probing(t *testing.T, p Probe, answers ...error) (at []time.Duration, reports []string) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		begin := time.Now()
		check := func(context.Context) error {
			at = append(at, time.Since(begin))
			if len(at) == len(answers)+1 {
				cancel()
				return nil
			}
			return answers[len(at)-1]
		}
		p.withDefaults().watch(ctx, check, func(err error) {
			if err == nil {
				err = errors.New("ready")
			}
			reports = append(reports, err.Error())
		})
	})
	return at, reports
}

func TestWatchReportsChangesOnly(t *testing.T) {
	refused, status := errors.New("refused"), errors.New("503")
	_, reports := probing(t, Probe{},
		refused, refused, status, nil, nil, // starting
		status, nil, // one failure is forgiven
		status, refused, status, nil) // two are not
	want := []string{"refused", "503", "ready", "refused", "503", "ready"}
	if !slices.Equal(reports, want) {
		t.Errorf("reported %v, want %v", reports, want)
	}
}

func TestWatchIsFastAtFirstAndSlowAtLast(t *testing.T) {
	fails := slices.Repeat([]error{errors.New("refused")}, 300)
	at, _ := probing(t, Probe{Interval: 2 * time.Second, Deadline: time.Minute}, append(fails, nil, nil)...)
	gap := func(n int) time.Duration { return at[n+1] - at[n] }
	if gap(0) > 15*time.Millisecond {
		t.Errorf("second probe after %v, want at most 15 ms", gap(0))
	}
	for n := range 299 {
		if at[n] < 50*time.Second && gap(n) > 250*time.Millisecond {
			t.Fatalf("%v between probes while starting, want at most 250 ms", gap(n))
		}
	}
	if gap(298) != 2*time.Second {
		t.Errorf("%v between probes after the deadline, want the interval of 2 s", gap(298))
	}
	if gap(300) != 2*time.Second {
		t.Errorf("%v between probes of what is ready, want the interval of 2 s", gap(300))
	}
}
