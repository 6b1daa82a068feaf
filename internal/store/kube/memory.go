package kube

import (
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/store"
)

const (
	mostLooks    = 2000    // of a run; then every second one goes
	mostEvidence = 8 << 20 // bytes of a run
	runsKept     = 2       // of a release: the current one and the one before
)

// memory is what only this process keeps of runs.
type memory struct {
	mu   sync.Mutex
	runs map[types.UID][]*kept // newest last
	gone judge.Record          // of releases that were deleted
}

type kept struct {
	run   string
	looks []store.Look
	lines []byte
	cut   bool
}

func newMemory() *memory { return &memory{runs: map[types.UID][]*kept{}} }

func (m *memory) save(uid types.UID, in store.Save) {
	if in.Look == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	list := m.runs[uid]
	if n := len(list); n == 0 || list[n-1].run != in.Look.Run {
		list = append(list, &kept{run: in.Look.Run})
		list = list[max(0, len(list)-runsKept):]
		m.runs[uid] = list
	}
	k := list[len(list)-1]
	if in.KeepLook {
		if k.looks = append(k.looks, *in.Look); len(k.looks) > mostLooks {
			k.looks = everySecond(k.looks)
		}
	}
	if k.cut = k.cut || len(k.lines)+len(in.Evidence) > mostEvidence; !k.cut {
		k.lines = append(k.lines, in.Evidence...)
	}
}

// everySecond drops half of the looks; the newest stays.
func everySecond(in []store.Look) []store.Look {
	out := make([]store.Look, 0, len(in)/2+1)
	for i := range in {
		if (len(in)-1-i)%2 == 0 {
			out = append(out, in[i])
		}
	}
	return out
}

func (m *memory) find(run string) *kept {
	for _, list := range m.runs {
		for _, k := range list {
			if k.run == run {
				return k
			}
		}
	}
	return nil
}

func (m *memory) looks(run string) []store.Look {
	m.mu.Lock()
	defer m.mu.Unlock()
	if k := m.find(run); k != nil {
		return slices.Clone(k.looks)
	}
	return nil
}

func (m *memory) evidence(run string) (lines []byte, cut, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := m.find(run)
	if k == nil {
		return nil, false, false
	}
	return slices.Clone(k.lines), k.cut, true
}

func (m *memory) forget(uid types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.runs, uid)
}

func (m *memory) alarms(r judge.Record) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gone = m.gone.Add(r)
}
