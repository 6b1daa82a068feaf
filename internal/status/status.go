// Package status says what is: it turns what the store keeps of a release into
// the object and the sentences that the API, the web pages, the CLI, conditions
// and notifications all show, so that they all use the same words. It is pure,
// decides nothing and reads nothing.
//
// Read this file first, then sentence.go.
package status

import (
	"encoding/json"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/store"
)

// The phases of a release beside those of a run.
const (
	Idle     = "Idle"
	Starting = "Starting" // the first version is not ready yet
	Paused   = "Paused"
	Blocked  = "Blocked" // nothing goes on until a person acts
	Deleting = "Deleting"
)

// WorkloadNotReady is the reason of a run that waits for instances which are in trouble.
const WorkloadNotReady = "WorkloadNotReady"

// Of returns the release object with its status. A manifest that does not
// decode is a bug of the writer: the object then carries the error as message.
func Of(rec store.Record) v1alpha1.Release {
	var rel v1alpha1.Release
	if err := json.Unmarshal(rec.Manifest, &rel); err != nil {
		rel.Status.Message = fmt.Sprintf("the stored manifest of %s does not decode: %v", rec.Name, err)
	}
	rel.APIVersion, rel.Kind = v1alpha1.GroupVersion.String(), "Release"
	rel.Name = rec.Name
	rel.UID = types.UID(rec.UID)
	rel.Generation = rec.Generation
	rel.CreationTimestamp = metav1.NewTime(rec.Created)
	rel.ResourceVersion = fmt.Sprint(rec.Revision)
	if rel.Status.Message == "" {
		rel.Status = statusOf(rec)
	}
	return rel
}

// RunOf returns a run of the history as an object.
func RunOf(r store.RunRecord) v1alpha1.Run {
	out := v1alpha1.Run{Release: r.Release}
	out.APIVersion, out.Kind = v1alpha1.GroupVersion.String(), "Run"
	out.Name = r.Run.ID
	out.CreationTimestamp = metav1.NewTime(r.Run.Started)
	out.Status = runStatus(r.Run, r.Last)
	return out
}

func statusOf(rec store.Record) v1alpha1.ReleaseStatus {
	st := v1alpha1.ReleaseStatus{
		ObservedGeneration: rec.Observed.Generation,
		Phase:              Phase(rec),
		Message:            Sentence(rec),
		Allowed:            Allowed(rec),
	}
	run := rec.State.Run
	if rec.State.Stable != nil {
		st.Stable = versionStatus(rec, *rec.State.Stable)
	}
	if run != nil {
		look := lookOf(rec)
		rs := v1alpha1.RunStatus{}
		if look != nil {
			rs = runStatus(*run, &look.Report)
			st.Verdict = string(look.Report.Verdict)
		} else {
			rs = runStatus(*run, nil)
		}
		if load := Load(rec); load != "" {
			rs.Caveats = append(rs.Caveats, load)
		}
		st.Run = &rs
		if !run.Phase.Ended() {
			st.Canary = versionStatus(rec, run.To)
			st.Weight = Percent(rec.Observed.Split.Of(run.To.ID))
			st.Step = step(*run)
		}
	}
	st.Conditions = conditions(rec, st)
	return st
}

func lookOf(rec store.Record) *store.Look {
	if rec.Look == nil || rec.State.Run == nil || rec.Look.Run != rec.State.Run.ID {
		return nil
	}
	return rec.Look
}

// Phase is the release's phase in one word.
func Phase(rec store.Record) string {
	run := rec.State.Run
	switch {
	case rec.Deleting:
		return Deleting
	case run == nil:
		return Starting
	case blocked(rec):
		return Blocked
	case run.Phase == rollout.Promoted || run.Phase == rollout.Superseded:
		return Idle
	case run.Phase.Ended():
		return string(run.Phase)
	case run.Paused != nil:
		return Paused
	case run.From == nil && run.Phase == rollout.Preparing:
		return Starting
	}
	return string(run.Phase)
}

// blocked: the version that is to serve first can not start.
func blocked(rec store.Record) bool {
	if rec.State.Stable != nil || rec.State.Run == nil {
		return false
	}
	for _, g := range rec.Observed.Fleet {
		if g.Version == rec.State.Run.To.ID && g.Blocked && g.Ready == 0 {
			return true
		}
	}
	return rec.State.Run.Phase == rollout.RolledBack
}

func step(run rollout.Run) string {
	n := len(run.Plan.Steps)
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%d/%d", min(run.Step+1, n), n)
}

func versionStatus(rec store.Record, v release.Version) *v1alpha1.VersionStatus {
	out := &v1alpha1.VersionStatus{ID: string(v.ID), Name: v.Name, Weight: Percent(rec.Observed.Split.Of(v.ID))}
	for _, g := range rec.Observed.Fleet {
		if g.Version == v.ID {
			out.Ready, out.Instances, out.Error = int32(g.Ready), int32(g.Total), g.Error
		}
	}
	return out
}

// Allowed lists what a person can ask now.
func Allowed(rec store.Record) []string {
	run := rec.State.Run
	if rec.Deleting || run == nil {
		return nil
	}
	var out []string
	add := func(v ...rollout.Verb) {
		for _, x := range v {
			out = append(out, string(x))
		}
	}
	switch run.Phase {
	case rollout.Preparing, rollout.Progressing, rollout.Baking:
		if run.From == nil {
			return nil
		}
		add(rollout.AskAbort)
		if run.Paused != nil {
			add(rollout.AskResume)
		} else {
			add(rollout.AskPause)
		}
		if run.Phase == rollout.Progressing {
			add(rollout.AskPromote)
		}
		if run.Phase != rollout.Baking {
			add(rollout.AskPromoteFull)
		}
	case rollout.Finishing:
		if run.From != nil {
			add(rollout.AskAbort)
		}
	case rollout.RolledBack, rollout.Aborted:
		if rec.State.Rejected == run.To.ID {
			add(rollout.AskRetry)
		}
	case rollout.Promoted:
		if rec.State.Rejected != "" { // a person went back from the version that the spec names
			add(rollout.AskRetry)
		}
		if len(rec.State.Earlier) > 0 {
			add(rollout.AskRollback)
		}
	}
	return out
}

// conditions are those of kstatus. Ready: the version that the spec names serves
// all of the traffic, and all else is as it should be. Stalled: it does not serve,
// and it is not tried again by itself.
func conditions(rec store.Record, st v1alpha1.ReleaseStatus) []metav1.Condition {
	at := metav1.NewTime(Since(rec))
	mk := func(kind string, on bool, reason string) metav1.Condition {
		s := metav1.ConditionFalse
		if on {
			s = metav1.ConditionTrue
		}
		return metav1.Condition{Type: kind, Status: s, Reason: reason, Message: st.Message,
			ObservedGeneration: rec.Observed.Generation, LastTransitionTime: at}
	}
	reason := hindrance(rec, st.Phase)
	rests := rec.State.Run != nil && rec.State.Run.Phase.Ended() && !rec.Deleting
	stalled := !rec.Deleting && (st.Phase == Blocked || rests && (rec.State.Rejected != "" || rec.State.Stable == nil))
	ready := rests && !stalled && rec.Observed.Error == ""
	if ready || stalled {
		reason = st.Phase
	}
	return []metav1.Condition{
		mk("Ready", ready, reason),
		mk("Reconciling", !ready && !stalled, reason),
		mk("Stalled", stalled, reason),
	}
}

// hindrance is the reason why a run does not go on, where there is one that
// somebody can mend, and the phase otherwise.
func hindrance(rec store.Record, phase string) string {
	run := rec.State.Run
	switch {
	case phase == Paused:
	case rec.Observed.Reason != "":
		return rec.Observed.Reason
	case run != nil && !run.Phase.Ended() && !rec.Deleting && trouble(rec, run.To.ID) != "":
		return WorkloadNotReady
	}
	return phase
}

// Since is when the release came to be in the state that it is in.
func Since(rec store.Record) time.Time {
	run := rec.State.Run
	switch {
	case run == nil:
		return rec.Applied
	case !run.Ended.IsZero():
		return run.Ended
	case run.Paused != nil:
		return run.Paused.Since
	case !run.Entered.IsZero():
		return run.Entered
	}
	return run.Started
}
