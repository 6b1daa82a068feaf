package cluster

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Cluster is a running API server and, unless a test started it bare, all that
// belongs to a node. Its methods fail the test they are given.
type Cluster struct {
	Config     *rest.Config // administrator, not throttled
	Kubeconfig string       // path of a file that says the same
	Client     kubernetes.Interface
	Dynamic    dynamic.Interface

	plane   *plane // nil: somebody else started it
	nodeDir string // of a node that runs here; empty: none
	mapper  *mapper

	installing sync.Mutex
	installed  map[string]bool // what once was told of
}

// plane is what runs the API: etcd, the API server and the controllers.
type plane struct {
	opts                          options
	etcdPort, etcdPeer, port      int
	etcd, apiserver, controllers  *process
	etcdBin, apiBin, managerBin   string
	etcdFlags, apiFlags, kcmFlags []string
}

type options struct {
	dir      string // holds everything; exists
	address  string // the API server listens here and says so
	node     bool   // real nodes come: their controllers run too
	detached bool   // outlives this process
}

// once is a cluster that all tests of a binary share.
type once struct {
	sync.Mutex
	cluster *Cluster
	err     error
	stop    func()
}

var (
	underMain    bool
	controlPlane once
	full         once
)

// Main runs a test binary's tests and stops what ControlPlane and Full started.
// Call it from TestMain; it does not return.
func Main(m *testing.M) {
	underMain = true
	code := m.Run()
	for _, o := range []*once{&controlPlane, &full} {
		if o.stop != nil {
			o.stop()
		}
	}
	os.Exit(code)
}

func (o *once) get(t testing.TB, start func() (*Cluster, func(), error)) *Cluster {
	t.Helper()
	o.Lock()
	defer o.Unlock()
	if !underMain {
		t.Fatal("a shared cluster needs TestMain: func TestMain(m *testing.M) { cluster.Main(m) }")
	}
	if o.cluster == nil && o.err == nil {
		o.cluster, o.stop, o.err = start()
	}
	if o.err != nil {
		t.Fatal(o.err)
	}
	return o.cluster
}

// ControlPlane returns the API server that all tests of this binary share; the
// first call starts it (3 s; minutes where its programs are built first). Tests
// stay apart by Namespace. It needs no root. Pods run nowhere: see FakeKubelet.
func ControlPlane(t testing.TB) *Cluster {
	t.Helper()
	return controlPlane.get(t, func() (*Cluster, func(), error) { return newControlPlane(os.MkdirTemp) })
}

// New returns an API server of the test's own, for those that stop it.
func New(t testing.TB) *Cluster {
	t.Helper()
	dir := t.TempDir()
	c, stop, err := newControlPlane(func(string, string) (string, error) { return dir, nil })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return c
}

func newControlPlane(mkdir func(dir, pattern string) (string, error)) (*Cluster, func(), error) {
	dir, err := mkdir("", "haldane-cluster-")
	if err != nil {
		return nil, nil, err
	}
	c, err := startPlane(options{dir: dir, address: "127.0.0.1"})
	if err != nil {
		return nil, nil, err
	}
	return c, func() {
		c.plane.stop()
		os.RemoveAll(dir)
	}, nil
}

// startPlane tries again with other ports where somebody took one between the
// choice and the use.
func startPlane(o options) (*Cluster, error) {
	bins, err := Build("etcd", "kube-apiserver", "kube-controller-manager")
	if err != nil {
		return nil, err
	}
	for range 3 {
		p := &plane{opts: o, etcdBin: bins[0], apiBin: bins[1], managerBin: bins[2]}
		if err = p.start(); err == nil {
			return p.cluster()
		}
		p.stop()
		os.RemoveAll(filepath.Join(o.dir, "etcd"))
	}
	return nil, err
}

func (p *plane) start() error {
	store, err := freePorts("127.0.0.1", 2)
	if err != nil {
		return err
	}
	api, err := freePorts(p.opts.address, 1)
	if err != nil {
		return err
	}
	p.etcdPort, p.etcdPeer, p.port = store[0], store[1], api[0]
	if err := p.writeFiles(); err != nil {
		return err
	}
	p.flags()
	if p.etcd, err = start(p.opts.dir, "etcd", p.opts.detached, nil, p.etcdBin, p.etcdFlags...); err != nil {
		return err
	}
	if err := p.startAPIServer(); err != nil {
		return err
	}
	p.controllers, err = start(p.opts.dir, "kube-controller-manager", p.opts.detached, nil, p.managerBin, p.kcmFlags...)
	return err
}

func (p *plane) startAPIServer() error {
	var err error
	if p.apiserver, err = start(p.opts.dir, "kube-apiserver", p.opts.detached, nil, p.apiBin, p.apiFlags...); err != nil {
		return err
	}
	return wait(Patience, "the API server", func() error {
		if _, err := os.Stat(p.caFile()); err != nil {
			return err
		}
		client, err := discovery.NewDiscoveryClientForConfig(p.config("admin"))
		if err != nil {
			return err
		}
		return client.RESTClient().Get().AbsPath("/readyz").Timeout(5 * time.Second).Do(context.Background()).Error()
	}, p.etcd, p.apiserver)
}

func (p *plane) stop() {
	p.controllers.stop(2 * time.Second)
	p.apiserver.stop(2 * time.Second)
	p.etcd.stop(2 * time.Second)
}

func (p *plane) caFile() string { return filepath.Join(p.opts.dir, "certs", "apiserver.crt") }

func (p *plane) url() string { return fmt.Sprintf("https://%s:%d", p.opts.address, p.port) }

// cluster waits until the controllers work.
func (p *plane) cluster() (*Cluster, error) {
	kubeconfig := filepath.Join(p.opts.dir, "kubeconfig")
	c, err := connect(kubeconfig)
	if err != nil {
		return nil, err
	}
	c.plane = p
	return c, wait(Patience, "the controller manager", func() error {
		_, err := c.Client.CoreV1().ServiceAccounts("default").Get(context.Background(), "default", metav1.GetOptions{})
		return err
	}, p.etcd, p.apiserver, p.controllers)
}

// connect makes the clients of a kubeconfig.
func connect(kubeconfig string) (*Cluster, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	config.QPS = -1
	c := &Cluster{Config: config, Kubeconfig: kubeconfig}
	if c.Client, err = kubernetes.NewForConfig(config); err != nil {
		return nil, err
	}
	if c.Dynamic, err = dynamic.NewForConfig(config); err != nil {
		return nil, err
	}
	c.mapper = newMapper(c.Client.Discovery())
	return c, nil
}

// StopAPIServer ends the API server: connections are refused until
// StartAPIServer. What is stored stays.
func (c *Cluster) StopAPIServer(t testing.TB) {
	t.Helper()
	c.own(t).apiserver.stop(0)
}

// StartAPIServer starts it again on the same port and returns when it is ready.
func (c *Cluster) StartAPIServer(t testing.TB) {
	t.Helper()
	if err := c.own(t).startAPIServer(); err != nil {
		t.Fatal(err)
	}
}

func (c *Cluster) own(t testing.TB) *plane {
	t.Helper()
	if c.plane == nil || c.plane.apiserver == nil {
		t.Fatal("this cluster was not started by this test: its API server can not be controlled")
	}
	return c.plane
}

// freePorts returns n ports of an address that nobody listens on now.
func freePorts(address string, n int) ([]int, error) {
	ports := make([]int, n)
	for i := range ports {
		l, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
		if err != nil {
			return nil, err
		}
		defer l.Close() // all at once at the end, so that they differ
		ports[i] = l.Addr().(*net.TCPAddr).Port
	}
	return ports, nil
}
