package cluster

import (
	"cmp"
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// Full returns a cluster whose pods run: the one that HALDANE_KUBECONFIG or
// KUBECONFIG names, or that `make cluster-up` started, or else one that this
// test binary starts and takes down (30 s; it needs root and Debian's
// containerd). There is one on a machine: other test binaries wait for it.
func Full(t testing.TB) *Cluster {
	t.Helper()
	return full.get(t, func() (*Cluster, func(), error) {
		dir, err := CacheDir("node")
		if err != nil {
			return nil, nil, err
		}
		given := cmp.Or(os.Getenv("HALDANE_KUBECONFIG"), os.Getenv("KUBECONFIG"))
		if given != "" && given != filepath.Join(dir, "kubeconfig") {
			c, err := connect(given)
			return c, nil, err
		}
		lock, err := os.OpenFile(filepath.Join(filepath.Dir(dir), "node.lock"), os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, nil, err
		}
		if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
			return nil, nil, err
		}
		if c, err := running(dir); err == nil {
			return c, func() { lock.Close() }, nil
		}
		c, err := up(dir, false)
		return c, func() {
			if err := down(dir); err != nil {
				os.Stderr.WriteString("cluster: " + err.Error() + "\n")
			}
			lock.Close()
		}, err
	})
}

// Up starts a full cluster that outlives this process and returns the path of
// its KUBECONFIG. One that runs already is left as it is.
func Up() (string, error) {
	dir, err := CacheDir("node")
	if err != nil {
		return "", err
	}
	c, err := running(dir)
	if err != nil {
		if c, err = up(dir, true); err != nil {
			return "", err
		}
	}
	return c.Kubeconfig, nil
}

// Down takes the cluster of Up away, with its pods, mounts, addresses and
// packet filter rules. What is gone already is no error.
func Down() error {
	dir, err := CacheDir("node")
	if err != nil {
		return err
	}
	return down(dir)
}

// running is the cluster in a directory, if its API server answers.
func running(dir string) (*Cluster, error) {
	c, err := connect(filepath.Join(dir, "kubeconfig"))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	if err := c.Client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error(); err != nil {
		return nil, err
	}
	c.plane, c.nodeDir = &plane{opts: options{dir: dir, address: nodeAddress, node: true}}, dir
	return c, nil
}
