package supervise

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/procfs"
)

// listening lists the TCP ports that a process group listens on, sorted. It
// answers the commonest question about a program that never gets ready: does it
// listen somewhere else?
func listening(pgid int) ([]int, error) {
	sockets, err := socketsOf(pgid)
	if err != nil || len(sockets) == 0 {
		return nil, err
	}
	proc, err := procfs.NewDefaultFS()
	if err != nil {
		return nil, err
	}
	var ports []int
	for _, table := range []func() (procfs.NetTCP, error){proc.NetTCP, proc.NetTCP6} { //nolint:staticcheck // netlink would be a dependency for a hint
		lines, err := table()
		if err != nil {
			continue // no IPv6 here
		}
		for _, l := range lines {
			if l.St == stateListen && sockets[l.Inode] {
				ports = append(ports, int(l.LocalPort))
			}
		}
	}
	slices.Sort(ports)
	return slices.Compact(ports), nil
}

// stateListen is TCP_LISTEN of the Linux kernel.
const stateListen = 10

// socketsOf collects the inodes of a group's open sockets.
func socketsOf(pgid int) (map[uint64]bool, error) {
	procs, err := procfs.AllProcs()
	if err != nil {
		return nil, err
	}
	sockets := map[uint64]bool{}
	for _, p := range procs {
		stat, err := p.Stat()
		if err != nil || stat.PGRP != pgid {
			continue
		}
		targets, err := p.FileDescriptorTargets()
		if err != nil {
			continue // ended meanwhile
		}
		for _, t := range targets {
			name, isSocket := strings.CutPrefix(t, "socket:[")
			inode, err := strconv.ParseUint(strings.TrimSuffix(name, "]"), 10, 64)
			if isSocket && err == nil {
				sockets[inode] = true
			}
		}
	}
	return sockets, nil
}

// hint says where a program listens that does not answer on its port.
func (i *Instance) hint(p *process, address string) string {
	ports, err := listening(p.pid)
	if err != nil {
		return ""
	}
	_, want, _ := strings.Cut(address, ":")
	port, _ := strconv.Atoi(want)
	var others []string
	for _, n := range ports {
		if n == port {
			return ""
		}
		others = append(others, strconv.Itoa(n))
	}
	where := "it listens on no port"
	if len(others) > 0 {
		where = "it listens on port " + strings.Join(others, ", ") + " instead"
	}
	return fmt.Sprintf("; %s: the program must listen on 127.0.0.1 at the port in the variable %s, or take {port} in its command", where, i.program.PortEnv)
}
