package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	engine "github.com/haldane-project/haldane/internal/cluster"
	"github.com/haldane-project/haldane/internal/kube"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/store"
	kubestore "github.com/haldane-project/haldane/internal/store/kube"
)

// childVariable has the kubeconfig of a controller that this binary runs in a
// process of its own, so that it can be killed.
const childVariable = "HALDANE_TEST_CONTROLLER"

// scripted makes a child's router one in memory and its evidence a script.
const scripted = "HALDANE_TEST_SCRIPTED=1"

// everywhere makes a child a controller of all namespaces, until SIGTERM.
const everywhere = "HALDANE_TEST_EVERYWHERE=1"

func childController(kubeconfig string) {
	if slices.Contains(os.Environ(), everywhere) {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		err := Controller(ctx, ControllerOptions{Cluster: Cluster{Kubeconfig: kubeconfig}, AllNamespaces: true, Metrics: "0", Health: "0",
			Log: slog.New(slog.DiscardHandler)})
		stop()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if slices.Contains(os.Environ(), scripted) {
		clusterParts = func(sh *kube.Shell, o ControllerOptions) (parts, error) {
			return parts{router: &memoryRouter{splits: map[string]release.Split{}}, metrics: newScript(), sinks: clusterSinks(sh, o)}, nil
		}
	}
	for { // as a kubelet starts it again where it could not keep the lease
		err := Controller(context.Background(), ControllerOptions{Cluster: Cluster{Kubeconfig: kubeconfig}, Metrics: "0", Health: "0",
			LeaderElect: true, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))})
		fmt.Fprintln(os.Stderr, err)
		time.Sleep(200 * time.Millisecond)
	}
}

// child starts one of several controllers, with the parts that an installed one
// has unless env has scripted; kill ends it as a power cut would.
func (s *shop) child(env ...string) (pid int, kill func()) {
	s.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), childVariable+"="+s.kubeconfig), env...)
	cmd.Stderr = s.Output()
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		s.Fatal(err)
	}
	kill = func() {
		_ = cmd.Process.Signal(syscall.SIGKILL)
		_ = cmd.Wait() // it was killed
	}
	s.Cleanup(kill)
	return cmd.Process.Pid, kill
}

// leader is who holds the lease.
func (s *shop) leader() string {
	l, err := s.Client.CoordinationV1().Leases(s.ns).Get(context.Background(), "haldane", metav1.GetOptions{})
	if err != nil || l.Spec.HolderIdentity == nil {
		return ""
	}
	return *l.Spec.HolderIdentity
}

func (s *shop) record() store.Record {
	s.Helper()
	rec, err := kubestore.New(engine.New(s.live, s.live), kubestore.Options{Namespace: s.ns}).Get(context.Background(), s.ns+"/hello")
	if err != nil {
		s.Fatal(err)
	}
	return rec
}

// TestClusterControllerKilledMidway: another one takes over, goes on with the run
// where it was, and counts no evidence twice.
func TestClusterControllerKilledMidway(t *testing.T) {
	s := newShop(t)
	s.Cluster.Apply(t, s.ns, fmt.Sprintf(shopDeployment, "v1"),
		strings.Replace(fourSteps, "{weight: 10}", "{weight: 10, hold: 10m}", 1))
	_, kill := s.child(scripted)
	s.until("v1 serves", s.serves("hello", "v1"))
	first := s.leader()
	s.child(scripted)
	s.until("the API server has taken the policy in", s.policyHolds)
	s.Cluster.Apply(t, s.ns, fmt.Sprintf(shopDeployment, "v2"))
	s.until("v2 has a tenth of the traffic", func() error {
		if st := s.release("hello").Status; st.Weight != "10%" || st.Run == nil || st.Run.Name != "hello-2" {
			return fmt.Errorf("%s %s: %s", st.Phase, st.Weight, st.Message)
		}
		return nil
	})
	before := s.record()
	kill()
	killed := time.Now()
	s.until("the other one leads", func() error {
		if now := s.leader(); now == first || now == "" {
			return errors.New("the lease is that of the killed one")
		}
		return nil
	})
	t.Logf("the other one led %v after the kill", time.Since(killed).Round(10*time.Millisecond))
	s.annotate("hello", `{"haldane.dev/promote-full": "hello-2"}`)
	s.until("v2 serves", s.serves("hello", "v2"))
	after := s.record()
	if after.State.Run.ID != before.State.Run.ID || !after.State.Run.Started.Equal(before.State.Run.Started) {
		t.Errorf("the run is %+v, it was %+v", after.State.Run, before.State.Run)
	}
	if n, read := fmt.Sprint(after.Look.Report.Canary), string(after.Cursor); n != read || after.Look.Report.Canary <= before.Look.Report.Canary {
		t.Errorf("the judge has seen %s requests, the source gave %s, and before the kill %d were seen", n, read, before.Look.Report.Canary)
	}
}
