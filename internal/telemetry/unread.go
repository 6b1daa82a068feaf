package telemetry

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/haldane-project/haldane/internal/release"
)

// unreadReasons are the labels of why a model's answer was not read. One whose
// status is no success says all that it has to say by that.
var unreadReasons = [...]struct {
	why   release.Unread
	label string
}{
	{release.UnreadContentType, "content_type"}, {release.UnreadEncoding, "encoding"}, {release.UnreadBusy, "busy"},
	{release.UnreadTooLarge, "too_large"}, {release.UnreadBinary, "binary"}, {release.UnreadCut, "cut"}, {release.UnreadInvalid, "invalid"},
}

// unread counts the answers of a version that were not read, by reason.
type unread [len(unreadReasons)]int64

func (u *unread) count(o *release.Observation) {
	if o.Answer == nil || o.Answer.Unread == "" || o.Route == release.ByMirror {
		return
	}
	for i := range unreadReasons {
		if unreadReasons[i].why == o.Answer.Unread {
			u[i]++
		}
	}
}

var descUnread = describe("model_unread_total", "Answers of models that were not read, or not to their end, so that nothing is known of what they say.", "reason")

// collectUnread tells those of one version, of all its stripes.
func (s *series) collectUnread(ch chan<- prometheus.Metric, k key) {
	var sum unread
	for i := range s.cells {
		c := &s.cells[i]
		c.mu.Lock()
		for j, n := range c.unread {
			sum[j] += n
		}
		c.mu.Unlock()
	}
	for i, n := range sum {
		if n > 0 {
			ch <- constant(descUnread, prometheus.CounterValue, float64(n), k, unreadReasons[i].label)
		}
	}
}
