package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/haldane-project/haldane/internal/kube"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/test/cluster"
)

// wired puts a wire between the controller and the API server, and returns it.
func (s *shop) wired() *cluster.Wire {
	s.Helper()
	w := cluster.NewWire(s, strings.TrimPrefix(s.Config.Host, "https://"))
	cfg, err := clientcmd.LoadFromFile(s.kubeconfig)
	if err != nil {
		s.Fatal(err)
	}
	for _, c := range cfg.Clusters {
		c.Server = "https://" + w.Address
	}
	if err := clientcmd.WriteToFile(*cfg, s.kubeconfig); err != nil {
		s.Fatal(err)
	}
	return w
}

// kept runs a controller that leads by a lease, and starts it again whenever it
// ends, as a kubelet does.
func (s *shop) kept(made func(*kube.Shell, ControllerOptions) (parts, error)) {
	s.Helper()
	clusterParts = made
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	s.Cleanup(func() { cancel(); <-ended })
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			err := Controller(ctx, ControllerOptions{Cluster: Cluster{Kubeconfig: s.kubeconfig, Namespace: s.ns}, Metrics: "0", Health: "0",
				LeaderElect: true, Log: slog.New(slog.NewTextHandler(s.Output(), &slog.HandlerOptions{Level: slog.LevelError}))})
			s.Logf("the controller ended: %v", err)
			select {
			case <-ctx.Done():
			case <-time.After(200 * time.Millisecond):
			}
		}
	}()
}

// weight is the share of the new version that a route gives it, in percent.
func (s *shop) weight(name string) int64 {
	s.Helper()
	for _, ref := range s.backends(name) {
		if ref["name"] == name+"-canary" {
			n, _ := ref["weight"].(int64)
			return n
		}
	}
	return 0
}

// backends are what the one rule of a route leads to.
func (s *shop) backends(name string) []map[string]any {
	s.Helper()
	u, err := s.Dynamic.Resource(httpRoutes).Namespace(s.ns).Get(context.Background(), name, metav1.GetOptions{})
	if err != nil {
		s.Fatal(err)
	}
	rules, _, _ := unstructured.NestedSlice(u.Object, "spec", "rules") // a route of ours has one
	rule, _ := rules[0].(map[string]any)
	refs, _ := rule["backendRefs"].([]any)
	var out []map[string]any
	for _, r := range refs {
		if ref, ok := r.(map[string]any); ok {
			out = append(out, ref)
		}
	}
	return out
}

// newest is the share of whatever is not stable.
func (r *memoryRouter) newest(name string) release.Weight {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.splits[name]
	return release.Full - s.Of(s.Rest)
}

// TestClusterOutages: the API server away, the source of evidence away, and both
// at once, in the middle of runs. Nothing rises or falls for lack of data, what
// the evidence says meanwhile is done as soon as it can be, and every run ends as
// it should. HALDANE_LONG=1 makes each outage a minute.
func TestClusterOutages(t *testing.T) {
	away := 8 * time.Second
	if os.Getenv("HALDANE_LONG") != "" {
		away = time.Minute
	}
	s := newShop(t)
	s.gateway()
	source := newScript()
	direct := &memoryRouter{splits: map[string]release.Split{}}
	w := s.wired()
	rel := strings.Replace(fourSteps, "{replicas: {}}", "{gatewayAPI: {service: hello, settle: 100ms, routes: [{kind: HTTPRoute, name: hello}]}}", 1)
	names := []string{"hello", "blind", "bad", "dark", "direct"}
	for _, name := range names {
		text := named(name, rel)
		if name == "direct" {
			text = strings.Replace(text, text[strings.Index(text, "{gatewayAPI"):strings.Index(text, "\n  strategy")], "{replicas: {}}", 1)
		}
		s.Cluster.Apply(t, s.ns, named(name, shopRoute), named(name, fmt.Sprintf(shopDeployment, "v1")), text)
	}
	s.kept(func(sh *kube.Shell, o ControllerOptions) (parts, error) {
		r := clusterRouters(sh.Client)
		r["replicas"] = direct
		return parts{router: r, metrics: source, sinks: clusterSinks(sh, o)}, nil
	})
	s.until("the API server has taken the policy in", s.policyHolds)
	s.promoted(names, "v1")

	s.midway(source, "blind")
	s.holdsFor(away, "blind")
	source.leave(s.ns+"/blind-2", false)
	s.until("blind is promoted once its source is back", s.serves("blind", "v2"))

	s.midway(source, "hello", "bad", "dark", "direct")
	w.Cut()
	source.fail(s.ns + "/bad-2")
	source.fail(s.ns + "/direct-2")
	for _, name := range []string{"hello", "bad", "direct"} { // what it says is due meanwhile
		source.leave(s.ns+"/"+name+"-2", false)
	}
	s.holdsFor(away, "hello", "bad", "dark")
	t.Logf("meanwhile the router that needs no API server gives the bad version %v of 10000", direct.newest(s.ns+"/direct"))
	w.Mend()
	back := time.Now()
	s.until("the bad version's traffic is off", func() error {
		if n := s.weight("bad"); n > 0 {
			return fmt.Errorf("it has %d %%", n)
		}
		return nil
	})
	t.Logf("%v after the API server was back the traffic of the version that failed meanwhile was off", time.Since(back).Round(10*time.Millisecond))
	source.leave(s.ns+"/dark-2", false)
	for _, name := range []string{"bad", "direct"} {
		s.until(name+" is rolled back", func() error {
			if r := s.release(name).Status; r.Phase != "RolledBack" || r.Stable.Name != "v1" {
				return fmt.Errorf("%s: %s", r.Phase, r.Message)
			}
			return nil
		})
	}
	for _, name := range []string{"hello", "dark"} {
		s.until(name+" is promoted", s.serves(name, "v2"))
	}
}

// midway gives Deployments a new version and waits until it has requests. Their
// source of evidence is away, so that none goes on while another one is waited for.
func (s *shop) midway(source *script, names ...string) {
	s.Helper()
	for _, name := range names {
		source.leave(s.ns+"/"+name+"-2", true)
		s.Cluster.Apply(s, s.ns, named(name, fmt.Sprintf(shopDeployment, "v2")))
	}
	for _, name := range names {
		s.until(name+" has a tenth of the traffic", func() error {
			if st := s.release(name).Status; st.Phase != "Progressing" || st.Weight == "0%" || st.Weight == "" {
				return fmt.Errorf("%s %s: %s", st.Phase, st.Weight, st.Message)
			}
			if name != "direct" && s.weight(name) == 0 { // it is saved before it is done
				return errors.New("the route does not say so yet")
			}
			return nil
		})
	}
}

// holdsFor checks that no route changes the new version's share for as long as
// an outage lasts.
func (s *shop) holdsFor(away time.Duration, names ...string) {
	s.Helper()
	before := map[string]int64{}
	for _, name := range names {
		before[name] = s.weight(name)
	}
	time.Sleep(away) // the outage
	for _, name := range names {
		if now := s.weight(name); now != before[name] || now == 0 {
			s.Errorf("the new version of %s had %d %% when the outage began and %d %% when it ended", name, before[name], now)
		}
	}
}

// A controller that may not see what it works with, and so never begins, ends when
// it is told to.
func TestClusterControllerEndsBeforeItSeesAll(t *testing.T) {
	s := newShop(t) // its rights are those of one namespace
	mark := s.Mark(t)
	cmd := exec.Command(os.Args[0]) // a process, since what the library leaves behind ends with it only
	cmd.Env = append(os.Environ(), childVariable+"="+s.kubeconfig, everywhere)
	cmd.Stderr = s.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // where it did not end
	s.until("it is refused", func() error {
		if len(s.Requests(t, mark, func(r cluster.Request) bool { return r.User == s.user && r.Code == http.StatusForbidden })) == 0 {
			return errors.New("it is not")
		}
		return nil
	})
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(cluster.Patience):
		t.Error("it did not end")
	}
}
