package route

import (
	"context"
	"errors"
	"fmt"

	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/traffic"
)

var _ traffic.Prober = (*Router)(nil)

// Probe implements traffic.Prober: every object is there, is one that a split can
// be written into, and was taken in by whoever acts on it.
func (r *Router) Probe(ctx context.Context, rel release.Release, mirror release.Weight) error {
	s, err := r.tech.Setup(ctx, rel)
	if err != nil {
		return err
	}
	parts, err := r.readAll(ctx, s, true)
	if err != nil {
		return err
	}
	split, slots := trial(s, mirror)
	var errs []error
	for _, h := range parts {
		errs = append(errs, probe(s, h, split, slots))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return r.tech.Check(ctx, s, split)
}

// trial is a split between two versions of any name.
func trial(s Setup, mirror release.Weight) (release.Split, Slots) {
	split := release.Split{Rest: "stable", Shares: []release.Share{
		{Version: "canary", Weight: release.Full / 2}, {Version: "stable", Weight: release.Full - release.Full/2}}}
	if mirror > 0 {
		split.Mirror = &release.Mirror{Version: "canary", Share: mirror}
	}
	return split, Slots{"stable": {Name: s.Slots[0], Hash: "stable"}, "canary": {Name: s.Slots[1], Hash: "canary"}}
}

func probe(s Setup, h *held, split release.Split, slots Slots) error {
	if h.obj == nil && h.part.Own == nil {
		return absent(s, h.part)
	}
	if _, err := h.part.Render(h.original(), split, slots); err != nil {
		return fmt.Errorf("%s: %w", h.part, err)
	}
	if h.obj == nil || h.part.Accepted == nil {
		return nil
	}
	switch taken, err := h.part.Accepted(h.obj); {
	case err != nil:
		return fmt.Errorf("%s: %w", h.part, err)
	case !taken:
		return fmt.Errorf("%s: %w", h.part, errNobody)
	}
	return nil
}

var errNobody = errors.New("its status says of no parent that it took the route in: see that its parentRefs name a Gateway of a controller that runs")

func absent(s Setup, p Part) error {
	return fmt.Errorf("%s does not exist in namespace %s: create it, or name another one in spec.traffic", p, s.Namespace)
}
