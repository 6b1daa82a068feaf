package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/client"
	"github.com/haldane-project/haldane/internal/manifest"
	"github.com/haldane-project/haldane/internal/status"
)

// The states of a Finding: all is well; it works, but at a price or as far as can
// be seen; a release can not be released.
const (
	FindingOK   = "ok"
	FindingWarn = "warn"
	FindingFail = "fail"
)

// Finding is one thing that releases need, and whether it is there.
type Finding struct {
	State  string `json:"state"`
	About  string `json:"about"` // daemon, cluster, or a release
	Check  string `json:"check"`
	Found  string `json:"found"`
	Remedy string `json:"remedy,omitempty"` // where it is not ok
}

// subject gathers what is found of one thing.
type subject struct {
	about string
	list  *[]Finding
}

func (s subject) add(state, check, found, remedy string) {
	*s.list = append(*s.list, Finding{State: state, About: s.about, Check: check, Found: found, Remedy: remedy})
}

func (s subject) ok(check, found string)           { s.add(FindingOK, check, found, "") }
func (s subject) warn(check, found, remedy string) { s.add(FindingWarn, check, found, remedy) }
func (s subject) fail(check, found, remedy string) { s.add(FindingFail, check, found, remedy) }

// CheckDaemon says whether a daemon has all that its releases need, those of the
// given names only, or all; or those that are not there yet.
func CheckDaemon(ctx context.Context, c *client.Client, names []string, notYet []v1alpha1.Release) []Finding {
	var list []Finding
	s := subject{"daemon", &list}
	if !checkReachable(ctx, s, c) {
		return list
	}
	if len(notYet) > 0 {
		for _, rel := range notYet {
			checkAccepted(ctx, subject{"release " + rel.Name, &list}, c, rel)
		}
		return list
	}
	releases, err := c.List(ctx)
	if err != nil {
		s.fail("releases", err.Error(), "see the daemon's log")
		return list
	}
	for _, rel := range chosen(s, releases, names) {
		checkServed(ctx, subject{"release " + rel.Name, &list}, c, rel)
	}
	return list
}

// checkReachable reports whether a daemon answers.
func checkReachable(ctx context.Context, s subject, c *client.Client) bool {
	v, err := c.Version(ctx)
	var away *client.Unreachable
	switch {
	case errors.As(err, &away):
		s.fail("reachable", fmt.Sprintf("nothing answers at %s (%v)", away.Server, away.Err), "start `haldane serve`, or name another address with --server; for a cluster add --kube")
		return false
	case client.IsUnauthorized(err):
		s.fail("reachable", err.Error(), "give a token with --token-file FILE or HALDANE_TOKEN")
		return false
	case err != nil:
		s.fail("reachable", err.Error(), "see the daemon's log, and that --server names a Haldane daemon")
		return false
	}
	s.ok("reachable", "it answers")
	if v.Version == Version {
		s.ok("version", v.Version)
	} else {
		s.warn("version", fmt.Sprintf("the daemon is %s, this program %s", v.Version, Version), "use the same version of both")
	}
	return true
}

// chosen are the releases of the given names, or all.
func chosen(s subject, all []v1alpha1.Release, names []string) (out []v1alpha1.Release) {
	var have []string
	for _, rel := range all {
		have = append(have, rel.Name)
		if len(names) == 0 || slices.Contains(names, rel.Name) {
			out = append(out, rel)
		}
	}
	if len(all) == 0 {
		s.warn("releases", "there is no release yet", "apply one: `haldane apply -f release.yaml`")
	}
	for _, name := range names {
		if len(all) > 0 && !slices.Contains(have, name) {
			s.fail("releases", "there is no release "+name, fmt.Sprintf("choose one of %v", have))
		}
	}
	return out
}

// checkServed looks at one release of a daemon.
func checkServed(ctx context.Context, s subject, c *client.Client, rel v1alpha1.Release) {
	checkAccepted(ctx, s, c, rel)
	checkConditions(s, rel)
	switch v := rel.Status.Stable; {
	case v == nil:
		s.warn("instances", "no version serves yet", "see `haldane events "+rel.Name+"`")
	case v.Ready == 0:
		s.fail("instances", fmt.Sprintf("none of the %d instances of %s is ready (%s)", v.Instances, v.Name, cmp.Or(v.Error, "no error is told")), "see `haldane logs "+rel.Name+"`, and the probe in spec.workload")
	case v.Ready < v.Instances:
		s.warn("instances", fmt.Sprintf("%d of %d instances of %s are ready", v.Ready, v.Instances, v.Name), "see `haldane logs "+rel.Name+"`")
	default:
		s.ok("instances", fmt.Sprintf("%d of %d instances of %s are ready", v.Ready, v.Instances, v.Name))
	}
	if e := rel.Spec.Traffic.Embedded; e != nil {
		checkPort(ctx, s, e.Listen)
	}
}

// checkAccepted lets the daemon validate a release anew; nothing is kept.
func checkAccepted(ctx context.Context, s subject, c *client.Client, rel v1alpha1.Release) {
	doc, err := manifest.Canonical(rel)
	if err == nil {
		_, err = c.Apply(ctx, rel.Name, doc, client.ApplyOptions{DryRun: true})
	}
	switch {
	case err == nil:
		s.ok("manifest", "it is valid, and each of its metrics can be measured")
	case client.IsUnauthorized(err):
		s.warn("manifest", "it could not be checked: "+err.Error(), "ask with a token that may apply releases")
	default:
		s.fail("manifest", inOneLine(err), "mend that and apply it again")
	}
}

// checkConditions tells what whoever works on a release says of it.
func checkConditions(s subject, rel v1alpha1.Release) {
	st := rel.Status
	stalled := meta.FindStatusCondition(st.Conditions, "Stalled")
	ready := meta.FindStatusCondition(st.Conditions, "Ready")
	switch {
	case stalled != nil && stalled.Status == metav1.ConditionTrue && (st.Phase == status.Blocked || stalled.Reason != st.Phase):
		s.fail("state", stalled.Reason+": "+stalled.Message, "do what it says; `haldane events "+rel.Name+"` tells what came before")
	case ready != nil && ready.Status != metav1.ConditionTrue && ready.Reason != st.Phase:
		s.fail("state", ready.Reason+": "+ready.Message, "do what it says; `haldane events "+rel.Name+"` tells what came before")
	default:
		s.ok("state", cmp.Or(st.Message, st.Phase, "it is new"))
	}
}

// dialIn bounds the wait for a connection.
const dialIn = 3 * time.Second

// checkPort connects to where users are to connect.
func checkPort(ctx context.Context, s subject, address string) {
	dialer := net.Dialer{Timeout: dialIn}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		s.fail("port", fmt.Sprintf("nothing answers at %s (%v)", address, err), "see `haldane events` for why it is not listened at; another program may have it, or the daemon is on another machine")
		return
	}
	_ = conn.Close()
	s.ok("port", "connections to "+address+" are taken")
}
