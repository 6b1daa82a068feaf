// Package store is the port to what must outlive a crash: releases, runs,
// intents, looks, events and the audit trail. It knows no vendor; storetest
// holds the suite that every adapter must pass.
package store

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"time"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
)

// The errors that callers tell apart.
var (
	ErrNotFound = errors.New("not found")
	// ErrConflict: the record changed since it was read; read again and retry.
	ErrConflict = errors.New("changed in the meantime")
	// ErrDenied: whoever asks may not do this where the records are kept.
	ErrDenied = errors.New("not allowed")
)

// Record is one release as kept.
type Record struct {
	Name       string
	UID        string
	Generation int64           // grows by one with every Apply that changes the manifest
	Manifest   json.RawMessage // the release object as applied, JSON, without status
	Created    time.Time
	Applied    time.Time
	Deleting   bool
	State      rollout.State
	Judge      json.RawMessage // of the current run; opaque to the store
	Cursor     []byte          // evidence up to here is in Judge
	Look       *Look           // the newest look of the current run; nil: none
	Observed   Observed
	Revision   int64 // grows with every write to this record
}

// Observed is what the last saved pass saw, for people; nothing is decided from it.
type Observed struct {
	At         time.Time               `json:"at"`
	Generation int64                   `json:"generation"` // of the manifest that the pass acted on
	Fleet      []rollout.ObservedGroup `json:"fleet,omitempty"`
	// Split is what was wanted, with the shares that it really came to.
	Split release.Split `json:"split"`
	Error string        `json:"error,omitempty"` // what the pass could not do, one sentence
	// Reason is the kind of that trouble, one CamelCase word; empty: not known.
	Reason string `json:"reason,omitempty"`
}

// Actor is who asked, for the audit.
type Actor struct {
	Subject string `json:"subject"` // user or token name; "haldane" for the controller itself
	From    string `json:"from"`    // remote address or "local"
}

// Audit is one line of the audit trail, written in the transaction that it describes.
type Audit struct {
	ID      int64     `json:"id"`
	At      time.Time `json:"at"`
	Actor   Actor     `json:"actor"`
	Action  string    `json:"action"` // apply, delete, pause, promote, ...
	Release string    `json:"release"`
	Detail  string    `json:"detail,omitempty"`
}

// Look is one reading of the judge.
type Look struct {
	Run    string         `json:"run"`
	At     time.Time      `json:"at"`
	Step   int            `json:"step"`
	Weight release.Weight `json:"weight"` // wanted
	Seen   float64        `json:"seen"`   // the canary's observed share of requests since the look before, 0..1
	Report judge.Report   `json:"report"`
}

// Save is what one pass writes, all of it or nothing.
type Save struct {
	Name     string
	Revision int64 // of the record that the pass read; ErrConflict if it moved, except by new intents
	State    rollout.State
	Judge    json.RawMessage
	Cursor   []byte
	Observed Observed
	Look     *Look // nil: no new look
	KeepLook bool  // the look is to stay in the history (looks between are thinned)
	// Evidence is what Judge and Cursor took in since the save before, JSON lines
	// (judge.EvidenceLine). It is appended to that of the look's run; without a
	// look it is refused.
	Evidence []byte
	// Placebo is what a run that ends now adds to the judge's record; nil: nothing.
	Placebo  *judge.Record
	Events   []rollout.Event
	Ended    []rollout.Run // for the history: ended in this pass, before the run in State
	Consumed []rollout.IntentAnswer
	Gone     bool // the release is deleted: the record goes, its history stays
	Audit    []Audit
}

// RunRecord is a run in the history.
type RunRecord struct {
	Release string        `json:"release"`
	Run     rollout.Run   `json:"run"`
	Last    *judge.Report `json:"last,omitempty"`
}

// Store keeps it all. Every write that returns nil survives a power cut; one
// that returns an error wrote nothing, or (a disk that failed, then a crash) all
// of it. A limit of 0 or less means all.
//
// A store in a cluster keeps a release in one object, and differs in this: the
// cluster stamps Created and Applied; looks between the newest and the first, and
// the evidence, are bounded in memory and end with the process (Evidence is then
// Cut); the newest hundred events of a release are kept; the audit trail is what
// people asked, and all else in the cluster's own audit log; the history of a
// deleted release goes with it, so that one that is created again numbers anew.
type Store interface {
	Get(ctx context.Context, name string) (Record, error)
	List(ctx context.Context) ([]Record, error)
	// Apply creates or changes a release. An unchanged manifest changes nothing
	// (not even the generation). A release that is being deleted is ErrConflict.
	// One that is created again goes on numbering its runs (State.RunSeq).
	Apply(ctx context.Context, name string, manifest json.RawMessage, by Actor, now time.Time) (Record, error)
	// Delete marks the release; the pass takes it down and says Gone.
	Delete(ctx context.Context, name string, by Actor, now time.Time) error
	// Ask records an intent, with its audit line, and returns its ID. It does
	// not move the record's revision.
	Ask(ctx context.Context, name string, i rollout.Intent, by Actor) (int64, error)
	// Intents returns the unanswered intents, oldest first.
	Intents(ctx context.Context, name string) ([]rollout.Intent, error)
	// Answer returns what became of an intent; ok is false while it waits.
	Answer(ctx context.Context, id int64) (a rollout.IntentAnswer, ok bool, err error)
	Save(ctx context.Context, s Save) (revision int64, err error)

	Runs(ctx context.Context, name string, limit int) ([]RunRecord, error) // newest first; name "" for all
	Run(ctx context.Context, id string) (RunRecord, error)
	Looks(ctx context.Context, run string, limit int) ([]Look, error) // oldest first, the newest limit of them
	// Evidence returns what the judge of a run took in, oldest first; empty where
	// nothing is kept. It must be closed.
	Evidence(ctx context.Context, run string) (Evidence, error)
	// FalseAlarms is the judge's record: the sum of every Save's Placebo. It
	// outlives runs that are forgotten and releases that are gone.
	FalseAlarms(ctx context.Context) (judge.Record, error)
	// Events returns at most limit events, oldest first: those behind after, or
	// the newest ones where after is 0; name "" for all.
	Events(ctx context.Context, name string, after int64, limit int) ([]StoredEvent, error)
	AuditTrail(ctx context.Context, limit int) ([]Audit, error) // newest first

	// Watch delivers the names of releases that changed by Apply, Delete, Ask
	// or Save, until ctx ends. Merged, never lost; a slow reader delays nobody.
	Watch(ctx context.Context) <-chan string
	Close() error
}

// Evidence is the evidence of a run, JSON lines. What is read while the run goes
// on ends with some save of it.
type Evidence struct {
	io.ReadCloser
	Cut bool // there was more than a run may keep: the end is missing
}

// StoredEvent is an event with its number.
type StoredEvent struct {
	ID      int64  `json:"id"`
	Release string `json:"release"`
	rollout.Event
}
