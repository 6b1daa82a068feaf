package status

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/store"
)

var (
	v1   = release.Version{ID: "1111111111", Name: "v1"}
	v2   = release.Version{ID: "2222222222", Name: "v2"}
	noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
)

// record is one with a run from v1 to v2 in its second step, changed by f.
func record(phase rollout.Phase, f ...func(*store.Record)) store.Record {
	from := v1
	rec := store.Record{
		Name: "hello", UID: "u", Generation: 3, Revision: 9, Created: noon, Applied: noon,
		Manifest: json.RawMessage(`{"spec":{"version":"v2"}}`),
		State: rollout.State{Stable: &from, Run: &rollout.Run{
			ID: "hello-2", From: &from, To: v2, Phase: phase, Step: 1, Started: noon, Entered: noon.Add(time.Minute),
			Plan: release.Plan{Steps: []release.Step{{Weight: 500}, {Weight: 5000}, release.FullStep()}},
		}},
		Observed: store.Observed{Generation: 3,
			Fleet: []rollout.ObservedGroup{{Version: v1.ID, Ready: 2, Total: 2}, {Version: v2.ID, Ready: 1, Total: 2}},
			Split: release.Split{Shares: []release.Share{{Version: v1.ID, Weight: 5000}, {Version: v2.ID, Weight: 5000}}}},
	}
	if phase.Ended() {
		rec.State.Run.Ended = noon.Add(time.Hour)
	}
	for _, g := range f {
		g(&rec)
	}
	return rec
}

func why(s string) func(*store.Record) { return func(r *store.Record) { r.State.Run.Why = s } }
func rejected(r *store.Record)         { r.State.Rejected = v2.ID }
func deleting(r *store.Record)         { r.Deleting = true }
func earlier(r *store.Record)          { r.State.Earlier = []release.Version{v1} }
func noRun(r *store.Record)            { r.State = rollout.State{} }
func twoErrors(r *store.Record) {
	r.Observed.Error = "ask the router: it is down\nask for the instances: it is down"
}
func stable(v release.Version) func(*store.Record) {
	return func(r *store.Record) { r.State.Stable = &v }
}

func first(r *store.Record) {
	r.State.Stable, r.State.Run.From, r.State.Run.Step = nil, nil, 0
	r.Observed.Fleet[1].Ready, r.Observed.Fleet[1].Total = 0, 1
}

func paused(r *store.Record) {
	r.State.Run.Paused = &rollout.Pause{Since: noon, Reason: "pause asked for by ann", Person: true}
}

func broken(r *store.Record) {
	r.Observed.Fleet[1] = rollout.ObservedGroup{Version: v2.ID, Total: 2, Blocked: true, Error: "the program app does not exist"}
}

func look(reason string) func(*store.Record) {
	return func(r *store.Record) {
		r.Look = &store.Look{Run: "hello-2", Report: judge.Report{Verdict: judge.Inconclusive, Reason: reason}}
	}
}

func TestSentences(t *testing.T) {
	for _, c := range []struct {
		rec                                store.Record
		phase, condition, allowed, message string
	}{
		{record(rollout.Preparing, noRun), "Starting", "Reconciling", "",
			"Waiting for the first pass."},
		{record(rollout.Preparing, first), "Starting", "Reconciling", "",
			"v2 is starting as the first version: 0 of 1 instance ready."},
		{record(rollout.Preparing, first, broken), "Blocked", "Stalled", "",
			"v2 is starting as the first version: 0 of 2 instances ready. The program app does not exist."},
		{record(rollout.RolledBack, first, why("0 of 1 instance was ready after 2m0s: exit status 3")), "Blocked", "Stalled", "",
			"v2 can not serve as the first version: 0 of 1 instance was ready after 2m0s: exit status 3. It serves as soon as an instance is ready."},
		{record(rollout.Aborted, first, rejected, why("abort asked for by ann")), "Aborted", "Stalled", "retry",
			"v2 was aborted: abort asked for by ann. Nothing serves."},
		{record(rollout.Preparing), "Preparing", "Reconciling", "abort pause promoteFull",
			"v2 is starting: 1 of 2 instances ready."},
		{record(rollout.Preparing, broken, paused), "Paused", "Reconciling", "abort resume promoteFull",
			"v2 is starting: 0 of 2 instances ready. The program app does not exist. Paused: pause asked for by ann."},
		{record(rollout.Progressing, look("Nothing is worse so far; about 3 100 more requests are needed to prove errors at most 1.5 times."), why("the step holds until 12:02:00 UTC")),
			"Progressing", "Reconciling", "abort pause promote promoteFull",
			"50% of the traffic goes to v2 (step 2 of 3). Nothing is worse so far; about 3 100 more requests are needed to prove errors at most 1.5 times. The step holds until 12:02:00 UTC."},
		{record(rollout.Progressing, paused, look("Nothing.")), "Paused", "Reconciling", "abort resume promote promoteFull",
			"50% of the traffic goes to v2 (step 2 of 3). Paused: pause asked for by ann."},
		{record(rollout.Progressing, twoErrors), "Progressing", "Reconciling", "abort pause promote promoteFull",
			"50% of the traffic goes to v2 (step 2 of 3). The last pass met trouble: ask the router: it is down; ask for the instances: it is down."},
		{record(rollout.Baking), "Baking", "Reconciling", "abort pause",
			"All of the traffic goes to v2; v1 is kept ready for an instant way back."},
		{record(rollout.Baking, paused), "Paused", "Reconciling", "abort resume",
			"All of the traffic goes to v2; v1 is kept ready for an instant way back. Paused: pause asked for by ann."},
		{record(rollout.Finishing, stable(v2)), "Finishing", "Reconciling", "abort",
			"All of the traffic goes to v2; instances of v1 drain and stop."},
		{record(rollout.Promoted, stable(v2), earlier), "Idle", "Ready", "rollback",
			"v2 serves all of the traffic."},
		// A person went back from v2, which the spec still names.
		{record(rollout.Promoted, stable(v1), earlier, rejected), "Idle", "Stalled", "retry rollback",
			"v1 serves all of the traffic."},
		{record(rollout.RollingBack, rejected, why("errors: the canary is worse, 50 % against 0 %.")), "RollingBack", "Reconciling", "",
			"Traffic is taken off v2: errors: the canary is worse, 50 % against 0 %."},
		{record(rollout.RolledBack, rejected, why("errors: the canary is worse, 50 % against 0 %.")), "RolledBack", "Stalled", "retry",
			"v2 was rolled back: errors: the canary is worse, 50 % against 0 %. v1 serves all of the traffic."},
		{record(rollout.Aborted, rejected, why("abort asked for by ann")), "Aborted", "Stalled", "retry",
			"v2 was aborted: abort asked for by ann. v1 serves all of the traffic."},
		// The spec names v1 again: nothing is left to retry, and all is as declared.
		{record(rollout.Aborted, why("abort asked for by ann")), "Aborted", "Ready", "",
			"v2 was aborted: abort asked for by ann. v1 serves all of the traffic."},
		{record(rollout.Superseded), "Idle", "Ready", "", "v1 serves all of the traffic."},
		{record(rollout.Progressing, deleting), "Deleting", "Reconciling", "",
			"The release is being deleted: its instances drain and stop."},
	} {
		t.Run(c.phase+" "+c.condition, func(t *testing.T) {
			st := Of(c.rec).Status
			if st.Phase != c.phase || st.Message != c.message {
				t.Errorf("%s: %s\nexpected\n%s: %s", st.Phase, st.Message, c.phase, c.message)
			}
			if got := strings.Join(st.Allowed, " "); got != c.allowed {
				t.Errorf("allowed %q, expected %q", got, c.allowed)
			}
			for _, x := range st.Conditions {
				if want := x.Type == c.condition; (x.Status == metav1.ConditionTrue) != want {
					t.Errorf("condition %s is %s", x.Type, x.Status)
				}
			}
		})
	}
}

// Every record has one true condition, one phase and a well-formed message.
func TestEveryRecordIsSaid(t *testing.T) {
	phases := []rollout.Phase{rollout.Preparing, rollout.Progressing, rollout.Baking, rollout.Finishing, rollout.RollingBack,
		rollout.Promoted, rollout.RolledBack, rollout.Aborted, rollout.Superseded, "unheard"}
	changes := []func(*store.Record){first, paused, rejected, deleting, broken, twoErrors,
		look("errors: the canary is worse"), why("none of its instances is ready: exit status 1."),
		func(r *store.Record) { r.State.Run.From = nil }, func(r *store.Record) { r.State.Stable = nil },
		func(r *store.Record) { r.State.Run.Plan.Steps = nil }, func(r *store.Record) { r.Observed = store.Observed{} }}
	for _, phase := range phases {
		for bits := range 1 << len(changes) {
			rec := record(phase)
			for i, change := range changes {
				if bits&(1<<i) != 0 {
					change(&rec)
				}
			}
			st := Of(rec).Status
			if err := wellFormed(st.Message); err != nil || st.Phase == "" {
				t.Fatalf("%s, changes %b: %v: %q", phase, bits, err, st.Message)
			}
			if on := trueConditions(st.Conditions); len(on) != 1 {
				t.Fatalf("%s, changes %b: conditions %v are true at once", phase, bits, on)
			}
		}
	}
}

func trueConditions(list []metav1.Condition) (on []string) {
	for _, c := range list {
		if c.Status == metav1.ConditionTrue {
			on = append(on, c.Type)
		}
	}
	return on
}

// wellFormed: it begins with a capital, a number or a version's name and ends with one period.
func wellFormed(s string) error {
	switch {
	case s == "":
		return fmt.Errorf("there is no sentence")
	case !strings.HasPrefix(s, "v1 ") && !strings.HasPrefix(s, "v2 ") && !unicode.IsUpper(rune(s[0])) && !unicode.IsDigit(rune(s[0])):
		return fmt.Errorf("it begins with a small letter")
	case !strings.HasSuffix(s, ".") || strings.Contains(s, ".."):
		return fmt.Errorf("it does not end with one period")
	case strings.ContainsAny(s, "\n\t") || strings.Contains(s, "  ") || strings.Contains(s, " ."):
		return fmt.Errorf("it has stray space")
	case strings.Contains(s, "%!"):
		return fmt.Errorf("it is formatted badly")
	}
	return nil
}

func TestObjectSaysWhatIsKept(t *testing.T) {
	rec := record(rollout.Progressing, look("Nothing is worse so far."))
	value := 0.041
	rec.Look.Report = judge.Report{Verdict: judge.Inconclusive, Reason: "x.", LogE: 2.5, Canary: 1200, Stable: 10800,
		Metrics: []judge.MetricReport{{Name: "errors", Kind: judge.Proportion, Verdict: judge.Inconclusive,
			Stable: judge.SideReport{N: 10800}, Canary: judge.SideReport{N: 1200, Value: &value}}}}
	o := Of(rec)
	got := fmt.Sprint(o.Name, " ", o.Generation, " ", o.ResourceVersion, " ", o.Status.Weight, " ", o.Status.Step, " ", o.Status.Verdict, " ", o.Status.ObservedGeneration)
	if want := "hello 3 9 50% 2/3 Inconclusive 3"; got != want {
		t.Errorf("got %q, expected %q", got, want)
	}
	r := o.Status.Run
	if r == nil || r.From != "v1" || r.To != "v2" || r.CanaryRequests != 1200 || r.Evidence != "1 : 12" || strings.Join(r.Steps, " ") != "5% 50% 100%" {
		t.Fatalf("run %+v", r)
	}
	if m := r.Metrics[0]; m.Canary != "4.1% of 1200" || m.Stable != "no data" {
		t.Errorf("metric %+v", m)
	}
	old := record(rollout.Progressing, look("Nothing."))
	old.Look.Run = "hello-1"
	if st := Of(old).Status; st.Verdict != "" || st.Run.Evidence != "" {
		t.Errorf("the look of another run is shown: %+v", st)
	}
}

// The API says all of a metric that the judge knows: figures with their
// intervals, quantiles, and the proof with what it still needs.
func TestMetricOfTheObject(t *testing.T) {
	p := func(x float64) *float64 { return &x }
	side := func(v float64) judge.SideReport {
		return judge.SideReport{N: 500, Value: p(v), Low: p(v / 2), High: p(2 * v), Quantiles: []judge.Quantile{{Q: 0.99, Value: 3 * v}}}
	}
	m := judge.MetricReport{
		Name: "latency", Kind: judge.Latency, Verdict: judge.Inconclusive, Reason: "latency: nothing is worse so far", Unit: "s",
		Stable: side(0.08), Canary: side(0.1), Ratio: &judge.Interval{Value: p(1.25)}, LogE: 1, Threshold: 5,
		Margin: "at most 1.2 times", LogProof: math.Log(4), ProofThreshold: 3, MoreRequests: p(310), MoreSeconds: p(62),
		Quantiles: []judge.QuantileReport{{Q: 0.99, Ratio: &judge.Interval{Value: p(1.25)}}},
	}
	want := v1alpha1.MetricStatus{
		Name: "latency", Verdict: "Inconclusive", Stable: "80 ms of 500", Canary: "100 ms of 500", Ratio: "1.25 [0, ∞]",
		Evidence: "1 : 2.7", Margin: "at most 1.2 times", Proof: "1 : 4.0", Remaining: "about 310 requests, 1 min 2 s",
		Reason: "latency: nothing is worse so far",
		Figures: []v1alpha1.FigureStatus{
			{Name: "latency", Stable: "80 ms [40 ms, 160 ms]", Canary: "100 ms [50 ms, 200 ms]", Ratio: "1.25 [0, ∞]"},
			{Name: "latency p99", Stable: "240 ms", Canary: "300 ms", Ratio: "1.25 [0, ∞]"},
		},
	}
	if d := cmp.Diff(want, metricStatus(m)); d != "" {
		t.Error(d)
	}
	m.LogProof = 3
	if got := metricStatus(m); got.Proof != "1 : 20" || got.Remaining != "" {
		t.Errorf("a metric that is proven: proof %q, %q left", got.Proof, got.Remaining)
	}
}

func TestManifestThatDoesNotDecodeIsSaid(t *testing.T) {
	rec := record(rollout.Promoted, func(r *store.Record) { r.Manifest = json.RawMessage(`{"spec":1}`) })
	if got := Of(rec).Status.Message; !strings.Contains(got, "the stored manifest of hello does not decode") {
		t.Errorf("got %q", got)
	}
}

func TestRunOfTheHistory(t *testing.T) {
	rec := record(rollout.RolledBack, why("it is worse"))
	rec.State.Run.Cause = rollout.CauseVerdict
	o := RunOf(store.RunRecord{Release: "hello", Run: *rec.State.Run, Last: &judge.Report{Canary: 7}})
	if o.Release != "hello" || o.Name != "hello-2" || o.Status.Phase != "RolledBack" || o.Status.Cause != "VerdictFail" ||
		o.Status.CanaryRequests != 7 || o.Status.Ended == nil || !o.Status.Ended.Equal(&metav1.Time{Time: noon.Add(time.Hour)}) {
		t.Errorf("run %+v", o)
	}
}

// What could mislead is told beside the figures: few users, and instances that
// have less or more to do than those that they are compared with.
func TestCaveats(t *testing.T) {
	split := func(canary release.Weight) func(*store.Record) {
		return func(r *store.Record) {
			r.Observed.Split.Shares = []release.Share{{Version: v1.ID, Weight: release.Full - canary}, {Version: v2.ID, Weight: canary}}
			r.Observed.Fleet = []rollout.ObservedGroup{{Version: v1.ID, Ready: 1, Total: 1}, {Version: v2.ID, Ready: 1, Total: 1}}
		}
	}
	users := func(n int64) func(*store.Record) {
		return func(r *store.Record) {
			r.Look = &store.Look{Run: "hello-2", Report: judge.Report{Caveats: []string{"A cache is cold."},
				Division: &judge.MetricReport{Kind: judge.ShareCheck, Unit: "users", Canary: judge.SideReport{N: n}}}}
		}
	}
	const few = "Users keep their version, so that all that is known of v2 is from 41 users."
	for _, c := range []struct {
		rec  store.Record
		want string
	}{
		{record(rollout.Progressing, split(5000)), ""},
		{record(rollout.Progressing, split(500)), "An instance of v2 gets 5.3% as many requests as one of v1: under less load it looks faster than it is."},
		{record(rollout.Progressing, split(8000)), "An instance of v2 gets 4.0 times as many requests as one of v1: under more load it looks slower than it is."},
		{record(rollout.RolledBack, split(500)), ""},
		{record(rollout.Progressing, split(5000), users(41)), "A cache is cold. " + few},
		{record(rollout.Progressing, split(5000), users(4100)), "A cache is cold."},
	} {
		if got := strings.Join(Of(c.rec).Status.Run.Caveats, " "); got != c.want {
			t.Errorf("caveats %q, expected %q", got, c.want)
		}
	}
}
