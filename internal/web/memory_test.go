package web

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/store"
)

// memory is a store in memory that answers every intent at once when answer is set.
type memory struct {
	mu       sync.Mutex
	recs     map[string]store.Record
	runs     []store.RunRecord
	looks    map[string][]store.Look
	events   []store.StoredEvent
	evidence map[string]string // by run
	cut      bool
	record   judge.Record
	audit    []store.Audit
	asked    []rollout.Intent
	answers  map[int64]rollout.IntentAnswer
	answer   string
	watchers map[chan string]bool
	writes   int // everything that changed something
}

var _ store.Store = (*memory)(nil)

func (m *memory) FalseAlarms(context.Context) (judge.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.record, nil
}

func newMemory() *memory {
	return &memory{recs: map[string]store.Record{}, looks: map[string][]store.Look{},
		answers: map[int64]rollout.IntentAnswer{}, watchers: map[chan string]bool{}}
}

func (m *memory) Get(_ context.Context, name string) (store.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.recs[name]
	if !ok {
		return r, fmt.Errorf("release %s: %w", name, store.ErrNotFound)
	}
	return r, nil
}

func (m *memory) List(context.Context) ([]store.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []store.Record
	for _, r := range m.recs {
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b store.Record) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

func (m *memory) Apply(_ context.Context, name string, doc json.RawMessage, by store.Actor, now time.Time) (store.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.recs[name]
	if r.Deleting {
		return r, store.ErrConflict
	}
	if !ok {
		r = store.Record{Name: name, UID: "uid-" + name, Created: now}
	}
	if !bytes.Equal(r.Manifest, doc) {
		r.Generation++
	}
	r.Manifest, r.Applied = doc, now
	m.put(r)
	m.audit = append(m.audit, store.Audit{ID: int64(len(m.audit) + 1), At: now, Actor: by, Action: "apply", Release: name})
	return r, nil
}

// put writes a record; the caller holds the lock.
func (m *memory) put(r store.Record) {
	r.Revision++
	m.recs[r.Name] = r
	m.changed(r.Name)
}

func (m *memory) changed(name string) {
	m.writes++
	for c := range m.watchers {
		select {
		case c <- name:
		default:
		}
	}
}

func (m *memory) written() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.writes
}

func (m *memory) set(r store.Record) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.put(r)
}

func (m *memory) Delete(_ context.Context, name string, by store.Actor, now time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.recs[name]
	if !ok {
		return store.ErrNotFound
	}
	r.Deleting = true
	m.put(r)
	m.audit = append(m.audit, store.Audit{ID: int64(len(m.audit) + 1), At: now, Actor: by, Action: "delete", Release: name})
	return nil
}

func (m *memory) Ask(_ context.Context, name string, i rollout.Intent, by store.Actor) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.recs[name]; !ok {
		return 0, store.ErrNotFound
	}
	i.ID = int64(len(m.asked) + 1)
	m.asked = append(m.asked, i)
	m.audit = append(m.audit, store.Audit{ID: int64(len(m.audit) + 1), At: i.At, Actor: by, Action: string(i.Verb), Release: name, Detail: i.Reason})
	if m.answer != "" {
		m.answers[i.ID] = rollout.IntentAnswer{ID: i.ID, Done: true, Message: m.answer}
	}
	m.changed(name)
	return i.ID, nil
}

func (m *memory) Intents(context.Context, string) ([]rollout.Intent, error) { return nil, nil }

func (m *memory) Answer(_ context.Context, id int64) (rollout.IntentAnswer, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a, ok := m.answers[id]
	return a, ok, nil
}

func (m *memory) Save(context.Context, store.Save) (int64, error) {
	panic("the web never saves a pass")
}

func (m *memory) Runs(_ context.Context, name string, limit int) ([]store.RunRecord, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []store.RunRecord
	for _, r := range slices.Backward(m.runs) {
		if (name == "" || r.Release == name) && len(out) < limit {
			out = append(out, r)
		}
	}
	return out, nil
}

func (m *memory) Run(_ context.Context, id string) (store.RunRecord, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.runs {
		if r.Run.ID == id {
			return r, nil
		}
	}
	return store.RunRecord{}, store.ErrNotFound
}

func (m *memory) Looks(_ context.Context, run string, limit int) ([]store.Look, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.looks[run]
	return slices.Clone(l[max(0, len(l)-limit):]), nil
}

func (m *memory) Evidence(_ context.Context, run string) (store.Evidence, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	lines, ok := m.evidence[run]
	if !ok {
		return store.Evidence{}, store.ErrNotFound
	}
	return store.Evidence{ReadCloser: io.NopCloser(strings.NewReader(lines)), Cut: m.cut}, nil
}

func (m *memory) Events(_ context.Context, name string, after int64, limit int) ([]store.StoredEvent, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []store.StoredEvent
	for _, e := range m.events {
		if e.Release == name && e.ID > after && len(out) < limit {
			out = append(out, e)
		}
	}
	return out, nil
}

func (m *memory) AuditTrail(_ context.Context, limit int) ([]store.Audit, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := slices.Clone(m.audit)
	slices.Reverse(out)
	return out[:min(len(out), limit)], nil
}

func (m *memory) Watch(ctx context.Context) <-chan string {
	c := make(chan string, 64)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.watchers[c] = true
	context.AfterFunc(ctx, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.watchers, c)
		close(c)
	})
	return c
}

func (m *memory) Close() error { return nil }
