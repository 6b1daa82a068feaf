package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The node's addresses. nodeAddress is one of the loopback device, so that pods
// reach the API server, the kubelet and DNS on it and other machines do not.
const (
	nodeAddress = "10.245.0.1"
	podRange    = "10.244.0.0/24"
	pauseImage  = "haldane.test/pause:1"
)

// needs are the programs of Debian packages that a node runs.
var needs = []struct{ command, pkg string }{
	{"containerd", "containerd"}, {"ctr", "containerd"}, {"runc", "runc"}, {"iptables", "iptables"}, {"ip", "iproute2"},
}

// cniDirs is where distributions put the CNI plugins.
var cniDirs = []string{"/usr/lib/cni", "/opt/cni/bin"}

// up starts a control plane and a node in dir. What an earlier one left behind
// is taken away first.
func up(dir string, detached bool) (*Cluster, error) {
	cni, err := debian()
	if err != nil {
		return nil, err
	}
	bins, err := Build("kube-scheduler", "kubelet", "kube-proxy", "coredns")
	if err != nil {
		return nil, err
	}
	if err := down(dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, err
	}
	if err := network(dir); err != nil {
		return nil, err
	}
	c, err := startPlane(options{dir: dir, address: nodeAddress, node: true, detached: detached})
	if err != nil {
		return nil, errors.Join(err, down(dir))
	}
	c.nodeDir = dir
	if err := c.startNode(bins, cni); err != nil {
		return nil, errors.Join(err, down(dir))
	}
	return c, nil
}

// debian installs what is missing where that is allowed, and returns the
// directory of the CNI plugins.
func debian() (string, error) {
	if os.Geteuid() != 0 {
		return "", errors.New("a full cluster needs root (or HALDANE_KUBECONFIG, a cluster of your own)")
	}
	missing := missingPackages()
	if len(missing) > 0 {
		install := "apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends " + strings.Join(missing, " ")
		if out, err := exec.Command("sh", "-c", install).CombinedOutput(); err != nil {
			return "", fmt.Errorf("install %s: %w\n%s", strings.Join(missing, ", "), err, tail(out, 1000))
		}
		if missing = missingPackages(); len(missing) > 0 {
			return "", fmt.Errorf("a full cluster needs the packages %s", strings.Join(missing, ", "))
		}
	}
	return cniDir(), nil
}

func missingPackages() []string {
	var missing []string
	for _, n := range needs {
		if _, err := exec.LookPath(n.command); err != nil {
			missing = append(missing, n.pkg)
		}
	}
	if cniDir() == "" {
		missing = append(missing, "containernetworking-plugins")
	}
	return missing
}

func cniDir() string {
	for _, d := range cniDirs {
		if _, err := os.Stat(filepath.Join(d, "ptp")); err == nil {
			return d
		}
	}
	return ""
}

// network gives the node its address and keeps what it changes for down.
func network(dir string) error {
	forward, err := os.ReadFile(ipForward)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "ip_forward"), forward, 0o600); err != nil {
		return err
	}
	return command("ip", "addr", "replace", nodeAddress+"/32", "dev", "lo")
}

const ipForward = "/proc/sys/net/ipv4/ip_forward"

func command(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, tail(out, 1000))
	}
	return nil
}

func (c *Cluster) startNode(bins []string, cni string) error {
	p := c.plane
	if err := c.writeNodeFiles(cni); err != nil {
		return err
	}
	run := func(name, path string, args ...string) (*process, error) {
		return start(p.opts.dir, name, p.opts.detached, nil, path, args...)
	}
	containerd, err := run("containerd", "containerd", "--config", p.path("containerd.toml"))
	if err != nil {
		return err
	}
	if err := wait(Patience, "containerd", func() error {
		return command("ctr", "--address", containerdSocket(c.nodeDir), "version")
	}, containerd); err != nil {
		return err
	}
	if err := c.loadPause(); err != nil {
		return err
	}
	all := []*process{containerd}
	for _, program := range []struct {
		name string
		bin  string
		args []string
	}{
		{"kube-scheduler", bins[0], []string{"--kubeconfig=" + p.path("kube-scheduler.kubeconfig"), "--leader-elect=false", "--secure-port=0", "--kube-api-qps=500", "--kube-api-burst=1000"}},
		{"kubelet", bins[1], []string{"--config=" + p.path("kubelet.yaml"), "--kubeconfig=" + p.path("kubelet.kubeconfig"),
			"--root-dir=" + p.path("kubelet"), "--hostname-override=" + NodeName, "--node-ip=" + nodeAddress}},
		{"kube-proxy", bins[2], []string{"--kubeconfig=" + p.path("kube-proxy.kubeconfig"), "--hostname-override=" + NodeName, "--proxy-mode=iptables",
			"--cluster-cidr=" + podRange, "--conntrack-max-per-core=0", "--healthz-bind-address=" + nodeAddress + ":10256", "--metrics-bind-address=" + nodeAddress + ":10249", "--bind-address=" + nodeAddress}},
		{"coredns", bins[3], []string{"-conf", p.path("Corefile")}},
	} {
		proc, err := run(program.name, program.bin, program.args...)
		if err != nil {
			return err
		}
		all = append(all, proc)
	}
	return wait(Patience, "the node", func() error {
		node, err := c.Client.CoreV1().Nodes().Get(context.Background(), NodeName, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, condition := range node.Status.Conditions {
			if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue {
				return nil
			}
		}
		return fmt.Errorf("it is not Ready: %+v", node.Status.Conditions)
	}, all...)
}

func (c *Cluster) loadPause() error {
	dir, err := os.MkdirTemp("", "haldane-pause-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	root, path := filepath.Join(dir, "root"), filepath.Join(dir, "image.tar")
	if err := staticProgram("./test/cluster/pause", filepath.Join(root, "pause")); err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := (Image{Name: pauseImage, Root: root, Entrypoint: []string{"/pause"}}).WriteTar(f); err != nil {
		return err
	}
	return c.importImage(path)
}

func (c *Cluster) writeNodeFiles(cni string) error {
	p := c.plane
	files := map[string]string{
		"containerd.toml": fmt.Sprintf(`version = 2
root = %[1]q
state = %[2]q
[grpc]
address = %[3]q
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = %[4]q
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = %[5]q
conf_dir = %[6]q
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
`, p.path("containerd"), p.path("run"), containerdSocket(p.opts.dir), pauseImage, cni, p.path("cni")),
		// ptp: each pod has a link of its own to the host, which routes; nothing is shared that needs cleaning.
		"cni/haldane.conflist": fmt.Sprintf(`{"cniVersion": "0.4.0", "name": "haldane", "plugins": [
  {"type": "ptp", "ipMasq": false, "ipam": {"type": "host-local", "ranges": [[{"subnet": %q}]], "routes": [{"dst": "0.0.0.0/0"}], "dataDir": %q}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
`, podRange, p.path("addresses")),
		"kubelet.yaml": fmt.Sprintf(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: %[1]s
healthzPort: 0
readOnlyPort: 0
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: %[2]s}
authorization: {mode: AlwaysAllow}
cgroupDriver: cgroupfs
failCgroupV1: false
enforceNodeAllocatable: []
failSwapOn: false
containerRuntimeEndpoint: unix://%[3]s
clusterDNS: [%[1]s]
clusterDomain: cluster.local
resolvConf: %[4]s
podLogsDir: %[5]s
evictionHard: {memory.available: 50Mi, nodefs.available: 1%%, imagefs.available: 1%%}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
nodeStatusUpdateFrequency: 10s
serializeImagePulls: false
`, nodeAddress, p.path("front-proxy-ca.crt"), containerdSocket(p.opts.dir), p.path("resolv.conf"), p.path("logs")),
		"resolv.conf": "",
		"Corefile": fmt.Sprintf(`.:53 {
  bind %s
  errors
  kubernetes cluster.local in-addr.arpa {
    kubeconfig %s haldane
    pods verified
    ttl 1
  }
}
`, nodeAddress, p.path("coredns.kubeconfig")),
	}
	for _, d := range []string{"cni", "logs"} {
		if err := os.MkdirAll(p.path(d), 0o750); err != nil {
			return err
		}
	}
	for name, text := range files {
		if err := os.WriteFile(p.path(name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}
