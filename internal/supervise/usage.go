package supervise

import (
	"fmt"
	"os"
	"time"

	"github.com/prometheus/procfs"
)

// Usage is what an instance has used, children included.
type Usage struct {
	CPU      time.Duration // over all starts, never decreasing
	RSS      int64         // bytes now
	Restarts int
}

// spending is the processor time of an instance: of processes that ended, and
// the most that was seen of the one that runs.
type spending struct {
	ended, live time.Duration
}

// Usage reads /proc once and returns the usage of each of the instances, in
// their order.
func (s *Supervisor) Usage(list ...*Instance) ([]Usage, error) {
	groups := map[int]group{}
	procs, err := procfs.AllProcs()
	if err != nil {
		return nil, fmt.Errorf("reading the usage of processes: %w", err)
	}
	for _, p := range procs {
		stat, err := p.Stat()
		if err != nil {
			continue // ended meanwhile
		}
		g := groups[stat.PGRP]
		g.cpu += cpuTime(stat, p.PID == stat.PGRP)
		g.rss += int64(stat.ResidentMemory())
		groups[stat.PGRP] = g
	}
	usage := make([]Usage, len(list))
	for n, i := range list {
		usage[n] = i.usage(groups)
	}
	return usage, nil
}

type group struct {
	cpu time.Duration
	rss int64
}

// ticksPerSecond of /proc/PID/stat is a constant of Linux' interface.
const ticksPerSecond = 100

// cpuTime adds the ended children of the leader only: those of others may have
// been counted by it.
func cpuTime(stat procfs.ProcStat, leader bool) time.Duration {
	ticks := int64(stat.UTime + stat.STime)
	if leader {
		ticks += int64(stat.CUTime + stat.CSTime)
	}
	return time.Duration(ticks) * time.Second / ticksPerSecond
}

func (i *Instance) usage(groups map[int]group) Usage {
	i.mu.Lock()
	defer i.mu.Unlock()
	u := Usage{Restarts: i.status.Restarts}
	if pid := i.status.Pid; pid != 0 {
		i.spent.live = max(i.spent.live, groups[pid].cpu)
		u.RSS = groups[pid].rss
	}
	u.CPU = i.spent.ended + i.spent.live
	return u
}

// settle moves the time of the process that ended to the account.
func (i *Instance) settle(state *os.ProcessState) {
	total := time.Duration(0)
	if state != nil {
		total = state.UserTime() + state.SystemTime()
	}
	i.set(func(st *Status) {
		i.spent.ended += max(total, i.spent.live)
		i.spent.live = 0
		st.Address, st.URL, st.Pid = "", "", 0
		if st.State != Draining {
			st.State = Waiting
		}
	})
}
