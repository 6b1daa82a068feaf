package resource

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/metric"
	"github.com/haldane-project/haldane/internal/release"
)

// mark is how often each container of a pod had restarted when it was looked at last.
type mark map[string]int32

// oomKilled is what a container that was killed for want of memory ended with.
const oomKilled = "OOMKilled"

// advance moves the mark on and gives what happened meanwhile, by its word. Of
// several restarts between two looks, the reason of the last one stands for all.
func (m mark) advance(p *corev1.Pod) map[string]int64 {
	out := map[string]int64{}
	for _, c := range p.Status.ContainerStatuses {
		n := max(0, int64(c.RestartCount-m[c.Name]))
		m[c.Name] = c.RestartCount
		out[release.PodRestarts] += n
		if t := c.LastTerminationState.Terminated; t != nil && t.Reason == oomKilled {
			out[release.PodOOMKills] += n
		}
	}
	return out
}

// restarts counts what happened to pods since the last look, for each second that
// a pod was there.
func (r *reader) restarts(ctx context.Context, now time.Time, out *metric.Reading) (missing string) {
	if !slices.ContainsFunc(r.subject.Metrics, func(m release.Metric) bool { return m.Source.Pods != "" }) {
		return ""
	}
	f, err := find(ctx, r.provider.client, r.subject)
	if err != nil {
		return err.Error()
	}
	c := &r.cursor
	passed := 0.0
	if !c.Seen.IsZero() {
		passed = max(0, now.Sub(c.Seen).Seconds())
	}
	c.Seen = now
	for who, pods := range f.pods {
		for _, p := range pods {
			r.look(who, p)
		}
		c.Time[who] += passed * float64(len(pods))
		if len(pods) == 0 && missing == "" {
			missing = "there is no pod of " + r.names[who]
		}
	}
	if missing == "" {
		out.Newest = now
	}
	if c.Time[stable] >= 1 && c.Time[canary] >= 1 {
		r.tell(out)
	}
	return missing
}

// look takes in what a pod tells. One that the run started had restarted never;
// of another one what is there at the first look is no news.
func (r *reader) look(who int, p *corev1.Pod) {
	id := string(p.UID)
	_, known := r.cursor.Pods[id]
	if !known {
		r.cursor.Pods[id] = mark{}
	}
	news := r.cursor.Pods[id].advance(p)
	if !known && p.CreationTimestamp.Time.Before(r.subject.Started.Truncate(time.Second)) {
		return
	}
	for word, n := range news {
		r.cursor.Count[who][word] += n
	}
}

// tell makes batches of whole seconds. More events than seconds wait for the next one.
func (r *reader) tell(out *metric.Reading) {
	c := &r.cursor
	var n [2]int64
	for who := range n {
		n[who] = int64(c.Time[who])
		c.Time[who] -= float64(n[who])
	}
	for _, word := range release.PodCounts() {
		var sides [2]judge.Side
		for who := range sides {
			sides[who] = judge.Side{N: n[who], Bad: min(n[who], c.Count[who][word])}
			c.Count[who][word] -= sides[who].Bad
		}
		for i, m := range r.subject.Metrics {
			if m.Source.Pods == word {
				out.Samples = append(out.Samples, metric.Sample{Metric: i, Batch: judge.Batch{At: c.At, Stable: sides[stable], Canary: sides[canary]}})
			}
		}
	}
}

func rounded(d time.Duration) string { return fmt.Sprint(d.Round(time.Second)) }
