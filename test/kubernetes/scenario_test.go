package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/google/go-cmp/cmp"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/load"
	"github.com/haldane-project/haldane/test/cluster"
)

var runs = schema.GroupVersionResource{Group: "haldane.dev", Version: "v1alpha1", Resource: "runs"}

// TestScenarios are what the end-to-end suites of the field's systems try, with
// real pods and real requests, whose fate is asserted. All of them share one
// controller and one gateway; each has a namespace of its own.
func TestScenarios(t *testing.T) {
	stage := newStage(t)
	for _, s := range []struct {
		name string
		run  func(*scenario)
	}{
		{"good_canary_to_the_end", goodCanaryToTheEnd},
		{"rollback_on_5xx", rollbackOn5xx},
		{"latency_regression", latencyRegression},
		{"failed_release_then_retry", failedReleaseThenRetry},
		{"abort_retry_promote", abortRetryPromote},
		{"promote_full", promoteFull},
		{"good_bad_good_and_bad_bad", goodBadGoodAndBadBad},
		{"third_version_midway", thirdVersionMidway},
		{"bad_image_with_analysis_skipped", badImageWithAnalysisSkipped},
		{"analysis_fails_during_a_pause", analysisFailsDuringAPause},
		{"inconclusive", inconclusive},
		{"pre_and_post_promotion_analysis_blue_green", preAndPostPromotionAnalysisBlueGreen},
		{"blue_green_delayed_scale_down_and_deadline", blueGreenDelayedScaleDownAndDeadline},
		{"rollback_window", rollbackWindow},
		{"header_route_and_mirror", headerRouteAndMirror},
		{"session_affinity", sessionAffinity},
		{"scaling_during_update_and_abort", scalingDuringUpdateAndAbort},
		{"all_canary_pods_die", allCanaryPodsDie},
		{"jump_removed_steps_and_delete", jumpRemovedStepsAndDelete},
		{"manual_gates_and_dry_run", manualGatesAndDryRun},
	} {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			s.run(&scenario{world: stage.begin(t)})
		})
	}
}

// newStage is a gateway for all namespaces and a controller of all of them.
func newStage(t *testing.T) *world {
	w := prepare(t)
	w.traefik = w.TraefikForAll(t, w.ns)
	w.start("-A")
	return w
}

// begin returns a namespace with the app behind the stage's gateway, under a
// host name of its own; nothing is deployed yet.
func (w *world) begin(t *testing.T) *world {
	n := &world{T: t, Cluster: w.Cluster, ns: w.Namespace(t), traefik: w.traefik}
	host := n.ns + ".test"
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil
	transport.MaxIdleConnsPerHost = 512
	gateway := strings.TrimPrefix(w.traefik.URL, "http://")
	transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, gateway)
	}
	n.url, n.way = "http://"+host, transport
	n.Apply(t, n.ns, fmt.Sprintf(objects, w.traefik.Gateway, w.ns, host))
	return n
}

// scenario is a world that keeps what it saw of its Release and its route.
type scenario struct {
	*world
	replicas int
	route    map[string]any // as the user wrote it

	mu       sync.Mutex
	statuses []moment // every one that was written
}

// moment is a status of the Release and when it was seen.
type moment struct {
	v1alpha1.ReleaseStatus
	at time.Time
}

// serve deploys v1 and declares a Release that has it as its stable version.
func (s *scenario) serve(replicas int, strategy, metrics string, env ...string) {
	s.Helper()
	s.replicas = replicas
	s.deploy("v1", replicas, env...)
	s.answers("v1")
	s.route = written(s.object(httpRoutes, "hello"))
	s.declare(strategy, metrics)
	s.follow()
	s.phase("v1", "Promoted")
}

// to deploys a version with the instances that there are.
func (s *scenario) to(version string, env ...string) {
	s.Helper()
	s.deploy(version, s.replicas, env...)
}

// follow records the statuses of the Release until the test's end.
func (s *scenario) follow() {
	ctx, cancel := context.WithCancel(context.Background())
	s.Cleanup(cancel)
	watch, err := s.Dynamic.Resource(releases).Namespace(s.ns).Watch(ctx, metav1.ListOptions{})
	if err != nil {
		s.Fatal(err)
	}
	go func() {
		defer watch.Stop()
		for e := range watch.ResultChan() {
			u, ok := e.Object.(*unstructured.Unstructured)
			if !ok {
				return
			}
			var r v1alpha1.Release
			if runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &r) == nil {
				s.mu.Lock()
				s.statuses = append(s.statuses, moment{r.Status, time.Now()})
				s.mu.Unlock()
			}
		}
	}()
}

// shares are the different shares that a version was seen to have, in order.
func (s *scenario) shares(version string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, st := range s.statuses {
		if st.Run != nil && st.Run.To == version && st.Weight != "" && (len(out) == 0 || out[len(out)-1] != st.Weight) {
			out = append(out, st.Weight)
		}
	}
	return out
}

// course tells what the run was about at a time, and until when.
func (s *scenario) course(at time.Time) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, m := range s.statuses {
		if m.Run != nil && m.at.After(at.Add(-2*time.Second)) && m.at.Before(at.Add(2*time.Second)) {
			out = append(out, fmt.Sprintf("%v: %s %s, step %s, %s: %s", m.at.Sub(at), m.Run.To, m.Run.Phase, m.Step, m.Weight, m.Run.Why))
		}
	}
	return strings.Join(out, "\n")
}

// has waits until a version's share is in force, as text: "20%".
func (s *scenario) has(version, share string) {
	s.Helper()
	s.until(version+" has "+share, func() error {
		st := s.release().Status
		if st.Run != nil && st.Run.To == version && st.Weight == share && !contains(st.Run.Why, "the router") {
			return nil
		}
		return fmt.Errorf("phase %s, share %s, run %+v: %s", st.Phase, st.Weight, st.Run, st.Message)
	})
}

// is waits until the release is in a phase, and returns its message.
func (s *scenario) is(phase string) string {
	s.Helper()
	var message string
	s.until("the release is "+phase, func() error {
		st := s.release().Status
		if message = st.Message; st.Phase == phase {
			return nil
		}
		return fmt.Errorf("it is %s: %s", st.Phase, st.Message)
	})
	return message
}

// waits waits until the run of the release says why it waits.
func (s *scenario) waits(why string) {
	s.Helper()
	s.until("the run says: "+why, func() error {
		st := s.release().Status
		if st.Run != nil && contains(st.Run.Why, why) || contains(st.Message, why) {
			return nil
		}
		return fmt.Errorf("phase %s, run %+v: %s", st.Phase, st.Run, st.Message)
	})
}

// haldane runs the command line as a person does.
func (w *world) haldane(args ...string) string {
	w.Helper()
	out, err := exec.Command(binary(w.T), append(args, "--kubeconfig", w.Kubeconfig, "-n", w.ns)...).CombinedOutput()
	if err != nil {
		w.Fatalf("haldane %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// fail lets the pods of a version answer 500 from now on.
func (w *world) fail(version string) {
	w.Helper()
	list, err := w.Client.CoreV1().Pods(w.ns).List(context.Background(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/version=" + version})
	if err != nil || len(list.Items) == 0 {
		w.Fatalf("%d pods of %s: %v", len(list.Items), version, err)
	}
	for _, p := range list.Items {
		res, err := http.Post("http://"+net.JoinHostPort(p.Status.PodIP, "8080")+"/fail", "", nil)
		if err != nil {
			w.Fatal(err)
		}
		res.Body.Close()
	}
}

// event waits for an Event object about the Release with a reason and a part of
// its note.
func (s *scenario) event(kind, reason, part string) {
	s.Helper()
	s.until("an Event "+reason, func() error {
		list, err := s.Client.EventsV1().Events(s.ns).List(context.Background(), metav1.ListOptions{FieldSelector: "regarding.kind=Release"})
		if err != nil {
			return err
		}
		var have []string
		for _, e := range list.Items {
			if e.Type == kind && e.Reason == reason && contains(e.Note, part) {
				return nil
			}
			have = append(have, fmt.Sprintf("%s %s: %s", e.Type, e.Reason, e.Note))
		}
		return fmt.Errorf("there are: %s", strings.Join(have, "\n"))
	})
}

// condition asserts a condition of the Release and its reason.
func (s *scenario) condition(kind string, status metav1.ConditionStatus, reason string) {
	s.Helper()
	r := s.release()
	c := meta.FindStatusCondition(r.Status.Conditions, kind)
	if c == nil || c.Status != status || c.Reason != reason || c.ObservedGeneration != r.Generation || c.Message == "" {
		s.Errorf("condition %s is %+v, expected %s for the reason %s, with a message, of generation %d", kind, c, status, reason, r.Generation)
	}
}

// isReady waits until the Release is Ready: the version that is asked for serves.
func (s *scenario) isReady() {
	s.Helper()
	s.until("the Release is Ready", func() error {
		st := s.release().Status
		if meta.IsStatusConditionTrue(st.Conditions, "Ready") {
			return nil
		}
		return fmt.Errorf("phase %s, conditions %+v", st.Phase, st.Conditions)
	})
}

// history are the runs of the Release by the version that they led to, the
// newest of each.
func (s *scenario) history() map[string]v1alpha1.Run {
	list, err := s.Dynamic.Resource(runs).Namespace(s.ns).List(context.Background(), metav1.ListOptions{})
	if err != nil {
		s.Fatal(err)
	}
	out := map[string]v1alpha1.Run{}
	for _, u := range list.Items {
		b, err := json.Marshal(u.Object)
		if err != nil {
			s.Fatal(err)
		}
		var r v1alpha1.Run
		if err := json.Unmarshal(b, &r); err != nil {
			s.Fatal(err)
		}
		if was, ok := out[r.Status.To]; !ok || was.Status.Started.Before(&r.Status.Started) {
			out[r.Status.To] = r
		}
	}
	return out
}

// atRest waits until the route is what the user wrote, and nothing of Haldane's
// serves beside it.
func (s *scenario) atRest() {
	s.Helper()
	s.until("the route is the user's", func() error {
		if diff := cmp.Diff(s.route, written(s.object(httpRoutes, "hello"))); diff != "" {
			return fmt.Errorf("it differs: %s", diff)
		}
		return nil
	})
	s.until("the second Deployment is gone", func() error {
		_, err := s.Client.AppsV1().Deployments(s.ns).Get(context.Background(), "hello-canary", metav1.GetOptions{})
		if err == nil {
			return errors.New("it is there")
		}
		return client.IgnoreNotFound(err)
	})
}

// untouched asserts that a version's pods are those, ready and never restarted.
func (s *scenario) untouched(version string, before any) {
	s.Helper()
	if now, restarts := s.pods(version); restarts != 0 || !cmp.Equal(any(now), before) {
		s.Errorf("the pods of %s are %v with %d restarts; they were %v", version, now, restarts, before)
	}
}

// whole ends the load and asserts that every request was answered by a version,
// and by one of those only; none of a version in fine failed. It returns the
// answers.
func (s *scenario) whole(tr *traffic, fine []string, others ...string) map[string]int {
	s.Helper()
	tr.end()
	shots := tr.all()
	if bad := lost(shots); len(bad) > 0 {
		s.Errorf("%d of %d requests were answered by no version, the first: %+v; around it:\n%s", len(bad), len(shots), bad[0], s.course(bad[0].Due))
	}
	return s.answeredBy(tr, fine, others...)
}

// answeredBy is the same but for requests that no version answered.
func (s *scenario) answeredBy(tr *traffic, fine []string, others ...string) map[string]int {
	s.Helper()
	tr.end()
	shots, by := tr.all(), map[string]int{}
	var failed []load.Shot
	for _, x := range shots {
		by[x.Version]++
		if x.Failed() && slices.Contains(fine, x.Version) {
			failed = append(failed, x)
		}
	}
	if len(failed) > 0 {
		s.Errorf("%d requests to %v failed, the first: %+v; around it:\n%s", len(failed), fine, failed[0], s.course(failed[0].Due))
	}
	for v := range by {
		if v != "" && !slices.Contains(append(others, fine...), v) {
			s.Errorf("%s answered %d requests", v, by[v])
		}
	}
	s.Logf("answers by version: %v of %d", by, len(shots))
	return by
}

// within asserts how many of the answers since a moment are of a version.
func (s *scenario) within(tr *traffic, since time.Time, version string, least, most float64) {
	s.Helper()
	n, all := 0, 0
	for _, x := range tr.all() {
		if x.Due.Before(since) {
			continue
		}
		all++
		if x.Version == version {
			n++
		}
	}
	if share := float64(n) / float64(max(all, 1)); share < least || share > most {
		s.Errorf("%s answered %d of %d requests, expected %g to %g of them", version, n, all, least, most)
	}
}

// answered waits until so many requests more were sent and answered.
func (s *scenario) answered(tr *traffic, n int) {
	s.Helper()
	from := len(tr.all())
	cluster.Eventually(s.T, patience, "answers", func() error {
		if now := len(tr.all()); now < from+n {
			return fmt.Errorf("%d of %d", now-from, n)
		}
		return nil
	})
}

// ready counts a version's pods that are ready and not on their way out.
func ready(list []corev1.Pod, version string) int {
	n := 0
	for _, p := range list {
		if p.DeletionTimestamp != nil || p.Labels["app.kubernetes.io/version"] != version {
			continue
		}
		if slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		}) {
			n++
		}
	}
	return n
}
