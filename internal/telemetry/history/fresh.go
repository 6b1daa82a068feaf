package history

import (
	"context"
	"sync"

	"github.com/prometheus/prometheus/storage"
)

// fresh tells who waits for it that a scrape was stored.
type fresh struct {
	storage.AppendableV2
	mu   sync.Mutex
	next chan struct{}
}

func newFresh(to storage.AppendableV2) *fresh {
	return &fresh{AppendableV2: to, next: make(chan struct{})}
}

// AppenderV2 implements storage.AppendableV2.
func (f *fresh) AppenderV2(ctx context.Context) storage.AppenderV2 {
	return &telling{AppenderV2: f.AppendableV2.AppenderV2(ctx), fresh: f}
}

func (f *fresh) wait() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.next
}

func (f *fresh) tell() {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.next)
	f.next = make(chan struct{})
}

// telling tells when what was appended can be queried.
type telling struct {
	storage.AppenderV2
	fresh *fresh
}

// Commit implements storage.AppenderTransaction.
func (t *telling) Commit() error {
	err := t.AppenderV2.Commit()
	t.fresh.tell()
	return err
}
