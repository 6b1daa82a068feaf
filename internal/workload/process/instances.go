package process

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/supervise"
)

// InstanceUsage is what one instance has used, children included.
type InstanceUsage struct {
	Release    string
	Version    release.VersionID
	Instance   string // its number within the version
	CPUSeconds float64
	RSSBytes   int64
}

// Instances reports the instances of all releases, sorted by release and
// version. One call reads /proc once, and not at all when nothing runs.
func (r *Runtime) Instances() ([]InstanceUsage, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []InstanceUsage
	var engines []*supervise.Instance
	for _, name := range slices.Sorted(maps.Keys(r.releases)) {
		for _, g := range r.sorted(name) {
			for _, m := range g.active {
				list = append(list, InstanceUsage{Release: name, Version: g.version.ID, Instance: strconv.Itoa(m.number)})
				engines = append(engines, m.Instance)
			}
		}
	}
	if len(list) == 0 {
		return nil, nil
	}
	used, err := r.engine.Usage(engines...)
	if err != nil {
		return nil, fmt.Errorf("usage of all instances: %w", err)
	}
	for i, u := range used {
		list[i].CPUSeconds, list[i].RSSBytes = u.CPU.Seconds(), u.RSS
	}
	return list, nil
}
