package app

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	ctrl "sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/test/cluster"
)

// TestClusterIdleReleasesCostNothing: releases at rest cause no request beyond
// the lease. HALDANE_LONG=1 takes a thousand, and holds the memory of the program
// itself against its bound.
func TestClusterIdleReleasesCostNothing(t *testing.T) {
	n, long := 100, os.Getenv("HALDANE_LONG") != ""
	if long {
		n = 1000
	}
	s := newShop(t)
	s.patience = cluster.Patience + time.Duration(n)*900*time.Millisecond
	for i := range n {
		name := fmt.Sprintf("idle-%d", i)
		d := strings.NewReplacer("name: hello", "name: "+name, "app: hello", "app: "+name, "replicas: 2", "replicas: 1").Replace(fmt.Sprintf(shopDeployment, "v1"))
		r := strings.ReplaceAll(fmt.Sprintf(shopRelease, name), "name: hello", "name: "+name)
		s.Cluster.Apply(t, s.ns, d, r)
	}
	var pid int
	if long {
		pid = s.program()
	} else {
		pid, _ = s.child()
	}
	s.until("all serve", func() error {
		var list v1alpha1.ReleaseList
		if err := s.live.List(t.Context(), &list, ctrl.InNamespace(s.ns)); err != nil {
			return err
		}
		ready := 0
		for _, r := range list.Items {
			if meta.IsStatusConditionTrue(r.Status.Conditions, "Ready") {
				ready++
			}
		}
		if ready != n {
			return fmt.Errorf("%d of %d are ready", ready, n)
		}
		return nil
	})
	s.until("nothing is asked any more", func() error {
		mark := s.Mark(t)
		time.Sleep(10 * time.Second) // what is measured
		if r := s.Requests(t, mark, func(r cluster.Request) bool {
			return r.User == s.user && r.Verb != "watch" && r.Resource != "leases.coordination.k8s.io"
		}); len(r) > 0 {
			return fmt.Errorf("%v", r)
		}
		return nil
	})
	if !long {
		return
	}
	mib := func() int {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			t.Fatal(err)
		}
		var kib int
		_, rest, _ := strings.Cut(string(text), "VmRSS:")
		if _, err := fmt.Sscan(rest, &kib); err != nil {
			t.Fatal(err)
		}
		return kib >> 10
	}
	t.Logf("%d idle releases: the controller has %d MiB at first", n, mib())
	s.until("what their start took is given back", func() error {
		if m := mib(); m > 150 {
			return fmt.Errorf("the controller has %d MiB, at most 150", m)
		}
		return nil
	})
	t.Logf("then %d MiB", mib())
}

// program starts the command as users have it.
func (s *shop) program() (pid int) {
	s.Helper()
	bin := filepath.Join(s.TempDir(), "haldane")
	if out, err := exec.Command("go", "build", "-ldflags", "-s -w", "-o", bin, "../../cmd/haldane").CombinedOutput(); err != nil {
		s.Fatalf("build haldane: %v: %s", err, out)
	}
	cmd := exec.Command(bin, "controller", "--kubeconfig", s.kubeconfig, "-n", s.ns)
	cmd.Stderr = s.Output()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	})
	return cmd.Process.Pid
}
