package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// down undoes up, in any state that it or a crash left behind.
func down(dir string) error {
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	var all []error
	for _, name := range []string{"kubelet", "kube-scheduler", "kube-proxy", "coredns", "kube-controller-manager"} {
		all = append(all, stopByPid(filepath.Join(dir, name+".pid"), 3*time.Second))
	}
	all = append(all, killPods(dir), stopByPid(filepath.Join(dir, "containerd.pid"), 5*time.Second))
	for _, name := range []string{"kube-apiserver", "etcd"} {
		all = append(all, stopByPid(filepath.Join(dir, name+".pid"), 3*time.Second))
	}
	all = append(all, unmount(dir), restoreNetwork(dir))
	if err := errors.Join(all...); err != nil {
		return err // the files stay, for another try
	}
	return os.RemoveAll(dir)
}

// killPods ends the shims that this cluster's containerd started, known by its
// socket among their arguments, and the first process of each container: the
// kernel ends the rest.
func killPods(dir string) error {
	shims := map[int]bool{}
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return err
	}
	for _, p := range processes {
		args, err := os.ReadFile(filepath.Join(p, "cmdline"))
		if err != nil || !bytes.Contains(args, []byte("containerd-shim")) || !slices.Contains(strings.Split(string(args), "\x00"), containerdSocket(dir)) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(p)); err == nil {
			shims[pid] = true
		}
	}
	for _, p := range processes {
		pid, err := strconv.Atoi(filepath.Base(p))
		if err == nil && shims[parent(p)] {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended by itself
		}
	}
	for pid := range shims {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	return nil
}

// parent is the pid of a process's parent, 0 where it is gone.
func parent(proc string) int {
	stat, err := os.ReadFile(filepath.Join(proc, "stat"))
	if err != nil {
		return 0
	}
	// pid (name) state ppid ...; the name may hold anything.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 2 {
		return 0
	}
	pid, _ := strconv.Atoi(fields[1])
	return pid
}

// unmount takes away every mount below dir, the last one first.
func unmount(dir string) error {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return err
	}
	lines := strings.Split(string(mounts), "\n")
	slices.Reverse(lines)
	for _, line := range lines {
		f := strings.Fields(line)
		if len(f) < 2 || !strings.HasPrefix(f[1], dir+"/") {
			continue
		}
		if err := syscall.Unmount(f[1], syscall.MNT_DETACH); err != nil && !errors.Is(err, syscall.EINVAL) {
			return fmt.Errorf("unmount %s: %w", f[1], err)
		}
	}
	return nil
}

// restoreNetwork removes the chains of kube-proxy and the kubelet, the node's
// address, and sets forwarding as it was.
func restoreNetwork(dir string) error {
	before, err := os.ReadFile(filepath.Join(dir, "ip_forward"))
	if errors.Is(err, os.ErrNotExist) {
		return nil // it was never changed
	}
	if err != nil {
		return err
	}
	paths, err := Build("kube-proxy")
	if err != nil {
		return err
	}
	var all []error
	all = append(all, command(paths[0], "--cleanup"), os.WriteFile(ipForward, before, 0o644))
	for _, version := range []string{"iptables", "ip6tables"} {
		all = append(all, removeChains(version))
	}
	if err := command("ip", "addr", "del", nodeAddress+"/32", "dev", "lo"); err != nil && !strings.Contains(err.Error(), "not found") && !strings.Contains(err.Error(), "Cannot assign") {
		all = append(all, err)
	}
	if err := errors.Join(all...); err != nil {
		return err
	}
	return os.Remove(filepath.Join(dir, "ip_forward"))
}

// removeChains takes away the chains of Kubernetes and the CNI plugins and the
// rules that lead to them.
func removeChains(iptables string) error {
	for _, table := range []string{"nat", "filter", "mangle"} {
		rules, err := exec.Command(iptables, "-w", "-t", table, "-S").Output()
		if err != nil {
			continue // a kernel without this table, or without IPv6, has none of the chains
		}
		var jumps, flushes, deletes strings.Builder
		for _, line := range strings.Split(string(rules), "\n") {
			f := strings.Fields(line)
			switch {
			case len(f) >= 2 && f[0] == "-N" && ours(f[1]):
				fmt.Fprintf(&flushes, "-F %s\n", f[1])
				fmt.Fprintf(&deletes, "-X %s\n", f[1])
			case len(f) >= 4 && f[0] == "-A" && !ours(f[1]) && ours(target(f)):
				fmt.Fprintf(&jumps, "-D%s\n", strings.TrimPrefix(line, "-A"))
			}
		}
		if jumps.Len()+flushes.Len() == 0 {
			continue
		}
		restore := exec.Command(iptables+"-restore", "-w", "--noflush")
		restore.Stdin = strings.NewReader("*" + table + "\n" + jumps.String() + flushes.String() + deletes.String() + "COMMIT\n")
		if out, err := restore.CombinedOutput(); err != nil {
			return fmt.Errorf("remove the chains of table %s: %w\n%s", table, err, tail(out, 1000))
		}
	}
	return nil
}

func ours(chain string) bool {
	return strings.HasPrefix(chain, "KUBE-") || strings.HasPrefix(chain, "CNI-")
}

func target(rule []string) string {
	for i, word := range rule[:len(rule)-1] {
		if word == "-j" {
			return rule[i+1]
		}
	}
	return ""
}
