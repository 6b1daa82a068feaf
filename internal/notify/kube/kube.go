// Package kube is the notify.Sink of a cluster: what people should hear of a run
// becomes an Event object about its Release (kubectl describe, kubectl events).
// It knows the API's Events and nothing of runs beyond what an event says.
//
// The full list of events is in the Release's status; of those only the ends of
// runs, pauses and warnings become objects, one for each pass at most, since
// every object is a write. This file is all of it.
package kube

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/cluster"
	"github.com/haldane-project/haldane/internal/notify"
	"github.com/haldane-project/haldane/internal/rollout"
)

const (
	maxNote  = 1024 // bytes, by the API
	atOnce   = 256  // writes under way; what comes beyond is dropped
	timeout  = 10 * time.Second
	perHour  = 60 // of one release
	reporter = "haldane.dev/controller"
)

// told are the reasons that become objects, beside warnings.
var told = []string{"RunPromoted", "RunRolledBack", "RunAborted", "RunPaused", "RunResumed"}

// Sink writes Events. It may be used by many goroutines.
type Sink struct {
	client   *cluster.Client
	log      *slog.Logger
	instance string
	slots    chan struct{}

	mu    sync.Mutex
	hours map[string]hour
}

// hour counts what was written of a release since its begin.
type hour struct {
	begin time.Time
	n     int
}

var _ notify.Sink = (*Sink)(nil)

// New returns a Sink that writes with the client.
func New(c *cluster.Client, log *slog.Logger) *Sink {
	instance, err := os.Hostname()
	if err != nil || instance == "" {
		instance = "unknown"
	}
	return &Sink{client: c, log: log, instance: instance, slots: make(chan struct{}, atOnce), hours: map[string]hour{}}
}

// Notify implements notify.Sink. It returns at once: the write is made beside
// the pass.
func (s *Sink) Notify(ctx context.Context, n notify.Notice) error {
	release := n.Release
	events := slices.DeleteFunc(slices.Clone(n.Events), func(e rollout.Event) bool { return !e.Warning && !slices.Contains(told, e.Reason) })
	if len(events) == 0 || !s.allowed(release, events[0].At) {
		return nil
	}
	select {
	case s.slots <- struct{}{}:
	default:
		return fmt.Errorf("the API server takes no Event objects fast enough; %s is in the status of Release %s", events[0].Reason, release)
	}
	go func() {
		defer func() { <-s.slots }()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
		defer cancel()
		if err := s.write(ctx, release, events); err != nil {
			s.log.Warn("an Event object could not be written", "release", release, "error", err)
		}
	}()
	return nil
}

// allowed bounds what one release writes, whatever happens to it.
func (s *Sink) allowed(release string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.hours[release]
	if now.Sub(h.begin) >= time.Hour || now.Before(h.begin) {
		maps.DeleteFunc(s.hours, func(_ string, o hour) bool { return now.Sub(o.begin) >= time.Hour })
		h = hour{begin: now}
	}
	h.n++
	s.hours[release] = h
	return h.n <= perHour
}

func (s *Sink) write(ctx context.Context, release string, events []rollout.Event) error {
	key := cluster.Key(release)
	var rel v1alpha1.Release
	if err := s.client.Get(ctx, key, &rel); err != nil {
		return fmt.Errorf("read Release %s: %w", key, err)
	}
	first := events[0]
	kind, notes := corev1.EventTypeNormal, make([]string, 0, len(events))
	for _, e := range events {
		if e.Warning && kind == corev1.EventTypeNormal {
			kind, first = corev1.EventTypeWarning, e
		}
		notes = append(notes, e.Message)
	}
	note := strings.Join(notes, "; ")
	if len(note) > maxNote {
		note = strings.ToValidUTF8(note[:maxNote-3], "") + "..."
	}
	return s.client.Add(ctx, &eventsv1.Event{
		ObjectMeta:          metav1.ObjectMeta{Namespace: key.Namespace, Name: fmt.Sprintf("%s.%x", key.Name, first.At.UnixNano())},
		EventTime:           metav1.NewMicroTime(first.At),
		ReportingController: reporter, ReportingInstance: s.instance,
		Action: "Release", Reason: first.Reason, Type: kind, Note: note,
		Regarding: corev1.ObjectReference{APIVersion: v1alpha1.GroupVersion.String(), Kind: "Release",
			Namespace: rel.Namespace, Name: rel.Name, UID: rel.UID, ResourceVersion: rel.ResourceVersion},
	})
}
