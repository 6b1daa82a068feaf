package cluster

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// kubernetesVersion is what the binaries of tools/kubernetes say they are; the
// build checks that it is the version in that go.mod.
const kubernetesVersion = "v1.37.2"

// program is one binary: the directory of tools/ whose go.mod pins it, the
// module and the package.
type program struct {
	name, tool, module, pkg string
}

var programs = []program{
	{"etcd", "etcd", "go.etcd.io/etcd/server/v3", ""},
	{"kube-apiserver", "kubernetes", "k8s.io/kubernetes", "/cmd/kube-apiserver"},
	{"kube-controller-manager", "kubernetes", "k8s.io/kubernetes", "/cmd/kube-controller-manager"},
	{"kube-scheduler", "kubernetes", "k8s.io/kubernetes", "/cmd/kube-scheduler"},
	{"kubelet", "kubernetes", "k8s.io/kubernetes", "/cmd/kubelet"},
	{"kube-proxy", "kubernetes", "k8s.io/kubernetes", "/cmd/kube-proxy"},
	{"kubectl", "kubernetes", "k8s.io/kubernetes", "/cmd/kubectl"},
	{"coredns", "coredns", "github.com/coredns/coredns", ""},
	{"traefik", "traefik", "github.com/traefik/traefik/v3", "/cmd/traefik"},
	{"istiod", "istiod", "istio.io/istio", "/pilot/cmd/pilot-discovery"},
	{"helm", "helm", "helm.sh/helm/v4", "/cmd/helm"},
	{"prometheus", "prometheus", "github.com/prometheus/prometheus", "/cmd/prometheus"},
	{"metrics-server", "metrics-server", "sigs.k8s.io/metrics-server", "/cmd/metrics-server"},
}

// tags leave out of a program what takes most of its build and no test needs: of
// what finds Prometheus' targets, clouds among it, files and lists stay.
var tags = map[string]string{"prometheus": "remove_all_sd"}

// Programs names what Build knows.
func Programs() []string {
	names := make([]string, len(programs))
	for i, p := range programs {
		names[i] = p.name
	}
	return names
}

// Build returns the paths of the named programs, in their order. It builds
// those that the cache lacks, one process at a time on the whole machine, and
// says on stderr how long each took.
func Build(names ...string) ([]string, error) {
	root, err := moduleRoot()
	if err != nil {
		return nil, err
	}
	paths := make([]string, len(names))
	var missing []string
	for i, name := range names {
		if paths[i], err = cachePath(root, name); err != nil {
			return nil, err
		}
		if _, err := os.Stat(paths[i]); err != nil {
			missing = append(missing, name)
		}
	}
	if len(missing) == 0 {
		return paths, nil
	}
	return paths, buildMissing(root, missing)
}

func buildMissing(root string, names []string) error {
	dir, err := binDir()
	if err != nil {
		return err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	for _, name := range names {
		path, err := cachePath(root, name)
		if err != nil {
			return err
		}
		if _, err := os.Stat(path); err == nil {
			continue // built by who had the lock before
		}
		start := time.Now()
		fmt.Fprintf(os.Stderr, "cluster: building %s (once; the first of a module takes minutes)\n", filepath.Base(path))
		if err := goBuild(root, name, path); err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "cluster: built %s in %.0f s\n", filepath.Base(path), time.Since(start).Seconds())
	}
	return nil
}

func goBuild(root, name, path string) error {
	p, err := known(name)
	if err != nil {
		return err
	}
	flags := "-s -w"
	if p.tool == "kubernetes" {
		for _, stamp := range []string{ // in one order: another order is another binary to go build
			"gitVersion=" + kubernetesVersion, "gitMajor=1", "gitMinor=" + strings.Split(kubernetesVersion, ".")[1],
			"gitCommit=unknown", "gitTreeState=archive", "buildDate=1970-01-01T00:00:00Z",
		} {
			flags += " -X k8s.io/component-base/version." + stamp
		}
	}
	tmp := fmt.Sprintf("%s.%d.tmp", path, os.Getpid())
	defer os.Remove(tmp)
	cmd := exec.Command("go", "build", "-trimpath", "-tags", tags[name], "-ldflags", flags, "-o", tmp, p.module+p.pkg)
	cmd.Dir = filepath.Join(root, "test/cluster/tools", p.tool)
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s in test/cluster/tools/%s: %w\n%s", p.name, p.tool, err, tail(out, 2000))
	}
	return os.Rename(tmp, path)
}

func known(name string) (program, error) {
	if i := slices.IndexFunc(programs, func(p program) bool { return p.name == name }); i >= 0 {
		return programs[i], nil
	}
	return program{}, fmt.Errorf("no program %q: known are %s", name, strings.Join(Programs(), ", "))
}

// cachePath is name, version and a hash of the go.mod, so that another pin is
// another file.
func cachePath(root, name string) (string, error) {
	p, err := known(name)
	if err != nil {
		return "", err
	}
	file := filepath.Join(root, "test/cluster/tools", p.tool, "go.mod")
	mod, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	found := regexp.MustCompile(`(?m)^(?:require)?\s+` + regexp.QuoteMeta(p.module) + ` (v\S+)`).FindSubmatch(mod)
	if found == nil {
		return "", fmt.Errorf("%s requires no %s", file, p.module)
	}
	version := string(found[1])
	if p.tool == "kubernetes" && version != kubernetesVersion {
		return "", fmt.Errorf("%s has %s, expected kubernetesVersion of build.go, %s: change both", file, version, kubernetesVersion)
	}
	dir, err := binDir()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(mod)
	return filepath.Join(dir, fmt.Sprintf("%s-%s-%s", p.name, version, hex.EncodeToString(sum[:4]))), nil
}

// CacheDir is haldane/sub in the user's cache directory, made if need be.
func CacheDir(sub string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "haldane", sub)
	return dir, os.MkdirAll(dir, 0o750)
}

func binDir() (string, error) { return CacheDir("bin") }

// moduleRoot is the directory of the go.mod above the working directory, which
// for a test is that of this module.
var moduleRoot = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/haldane-project/haldane").Output()
	if err != nil {
		return "", fmt.Errorf("find the module's root (run inside the repository): %w", withStderr(err))
	}
	return strings.TrimSpace(string(out)), nil
})

// ModuleDir is where the source of a module that go.mod requires lies; it is
// downloaded if need be. CRDs come from there.
func ModuleDir(module string) (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	return moduleDirIn(root, module)
}

func moduleDirIn(dir, module string) (string, error) {
	for range 2 {
		cmd := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module)
		cmd.Dir = dir
		out, err := cmd.Output()
		if err != nil {
			return "", fmt.Errorf("find module %s: %w", module, withStderr(err))
		}
		if path := strings.TrimSpace(string(out)); path != "" {
			return path, nil
		}
		get := exec.Command("go", "mod", "download", module)
		get.Dir = dir
		if out, err := get.CombinedOutput(); err != nil {
			return "", fmt.Errorf("download module %s: %w\n%s", module, err, tail(out, 1000))
		}
	}
	return "", fmt.Errorf("module %s has no source on this machine", module)
}

func withStderr(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return fmt.Errorf("%w\n%s", err, tail(exit.Stderr, 1000))
	}
	return err
}

func tail(b []byte, n int) []byte { return b[max(0, len(b)-n):] }
