package process

import (
	"fmt"
	"slices"
	"time"

	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/supervise"
)

// group is the instances of one version. Its fields are guarded by Runtime.mu.
type group struct {
	runtime *Runtime
	release string
	version release.Version
	wanted  bool
	born    int // instances ever started
	active  []*member
	leaving []*member
	gone    supervise.Usage // of members that are gone
}

// member is an instance with its number, as people see it in logs.
type member struct {
	*supervise.Instance
	number int
}

// scale starts or drains instances until n are active.
func (g *group) scale(n int) error {
	for len(g.active) < n {
		if err := g.start(); err != nil {
			return fmt.Errorf("starting version %s of release %s: %w", g.version.Name, g.release, err)
		}
	}
	for len(g.active) > n {
		m := g.leastUseful()
		g.active = slices.DeleteFunc(g.active, func(x *member) bool { return x == m })
		g.leaving = append(g.leaving, m)
		m.Stop()
	}
	return nil
}

func (g *group) start() error {
	name, changes := g.release, g.runtime.changes
	instance, err := g.runtime.engine.Start(program(g.version.Workload), func() { changes.Mark(name) })
	if err != nil {
		return err
	}
	g.born++
	m := &member{Instance: instance, number: g.born}
	g.active = append(g.active, m)
	go g.bury(m)
	return nil
}

// bury takes a member off the books once nothing of it is left.
func (g *group) bury(m *member) {
	<-m.Done()
	r := g.runtime
	r.mu.Lock()
	if usage, err := r.engine.Usage(m.Instance); err == nil {
		g.gone.CPU += usage[0].CPU
		g.gone.Restarts += usage[0].Restarts
	}
	is := func(x *member) bool { return x == m }
	g.leaving = slices.DeleteFunc(g.leaving, is)
	g.active = slices.DeleteFunc(g.active, is)
	r.forget(g.release)
	r.mu.Unlock()
	r.changes.Mark(g.release)
}

// leastUseful is the newest of those that are not ready, else the newest.
func (g *group) leastUseful() *member {
	for _, m := range slices.Backward(g.active) {
		if m.Status().State != supervise.Ready {
			return m
		}
	}
	return g.active[len(g.active)-1]
}

func (g *group) observe() (rollout.ObservedGroup, []string) {
	seen := rollout.ObservedGroup{Version: g.version.ID, Total: len(g.active) + len(g.leaving)}
	var addresses []string
	for _, m := range g.active {
		st := m.Status()
		if st.State == supervise.Ready {
			seen.Ready++
			addresses = append(addresses, st.URL)
			continue
		}
		if seen.Error == "" || st.Blocked && !seen.Blocked {
			seen.Error = st.Error
		}
		seen.Blocked = seen.Blocked || st.Blocked
	}
	slices.Sort(addresses)
	return seen, addresses
}

// spent is the usage of the members that are gone.
func (g *group) spent() Usage {
	u := Usage{Version: g.version.ID, Instances: len(g.active) + len(g.leaving)}
	u.add(g.gone)
	return u
}

func (g *group) instances() []*supervise.Instance {
	var list []*supervise.Instance
	for _, m := range slices.Concat(g.active, g.leaving) {
		list = append(list, m.Instance)
	}
	return list
}

func (g *group) logs() []string {
	type entry struct {
		supervise.Line
		number int
	}
	var all []entry
	for _, m := range slices.Concat(g.active, g.leaving) {
		for _, l := range m.Lines() {
			all = append(all, entry{l, m.number})
		}
	}
	slices.SortStableFunc(all, func(a, b entry) int { return a.At.Compare(b.At) })
	lines := make([]string, len(all))
	for i, e := range all {
		lines[i] = fmt.Sprintf("%s #%d %s", e.At.UTC().Format(time.RFC3339), e.number, e.Text)
	}
	return lines
}

// program translates a workload into the engine's words.
func program(w release.Workload) supervise.Program {
	p := supervise.Program{
		Command: w.Process.Command,
		Dir:     w.Process.Dir,
		PortEnv: w.Process.PortEnv,
		Ready:   supervise.Probe(w.Process.Ready),
		WarmUp:  supervise.WarmUpOf(w),
		Drain:   w.Process.Drain,
		H2C:     w.Process.H2C,
	}
	for _, v := range w.Process.Env {
		p.Env = append(p.Env, supervise.Var{Name: v.Name, Value: v.Value, From: v.ValueFrom})
	}
	return p
}
