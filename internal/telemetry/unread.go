package telemetry

import (
	"slices"

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

// unfit counts the requests that reached a version as they came, though a rewrite
// was to be applied to them, by the place of the reason in release.Unfits.
type unfit [4]int64

func (u *unfit) count(o *release.Observation) {
	if i := slices.Index(release.Unfits(), o.Unfit); i >= 0 {
		u[i]++
	}
}

// readUnfit sums the stripes.
func (s *series) readUnfit() (sum unfit) {
	for i := range s.cells {
		c := &s.cells[i]
		c.mu.Lock()
		for j, n := range c.unfit {
			sum[j] += n
		}
		c.mu.Unlock()
	}
	return sum
}

// Unfit counts the requests of a version, since it is known, that a rewrite of
// their bodies did not fit.
func (r *Recorder) Unfit(rel string, v release.VersionID) (n int64) {
	s := (*r.series.Load())[key{rel, v}]
	if s == nil {
		return 0
	}
	for _, k := range s.readUnfit() {
		n += k
	}
	return n
}

var descUnfit = describe("unrewritten_requests_total", "Requests that were passed on as they came, because the rewrite of their bodies does not fit them; they are no evidence.", "reason")

var descUnread = describe("model_unread_total", "Answers of models that were not read, or not to their end, so that nothing is known of what they say.", "reason")

// collectUnread tells of one version what was not read and not rewritten.
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
	for i, n := range s.readUnfit() {
		if n > 0 {
			ch <- constant(descUnfit, prometheus.CounterValue, float64(n), k, string(release.Unfits()[i]))
		}
	}
	for i, n := range sum {
		if n > 0 {
			ch <- constant(descUnread, prometheus.CounterValue, float64(n), k, unreadReasons[i].label)
		}
	}
}
