package store

import (
	"context"
	"sync"
)

// Watches delivers names of changed releases to any number of readers: stores
// implement Watch with it. The zero value is ready.
type Watches struct {
	mu     sync.Mutex
	closed bool
	all    map[*watcher]struct{}
}

// watcher holds the names that its reader has not taken yet, each once.
type watcher struct {
	mu    sync.Mutex
	names []string
	some  chan struct{} // holds a token while names are waiting
	done  chan struct{} // the store was closed
}

// Watch delivers the names that Tell is given, until ctx ends or Close is
// called; then the channel is closed.
func (ws *Watches) Watch(ctx context.Context) <-chan string {
	w := &watcher{some: make(chan struct{}, 1), done: make(chan struct{})}
	out := make(chan string)
	if !ws.add(w) {
		close(out)
		return out
	}
	go func() {
		defer close(out)
		defer ws.remove(w)
		w.deliver(ctx, out)
	}()
	return out
}

func (w *watcher) deliver(ctx context.Context, out chan<- string) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.done:
			return
		case <-w.some:
		}
		for name, ok := w.next(); ok; name, ok = w.next() {
			select {
			case <-ctx.Done():
				return
			case <-w.done:
				return
			case out <- name:
			}
		}
	}
}

// next takes the name that waits longest.
func (w *watcher) next() (string, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.names) == 0 {
		return "", false
	}
	name := w.names[0]
	w.names = w.names[1:]
	return name, true
}

func (w *watcher) add(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range w.names {
		if n == name {
			return
		}
	}
	w.names = append(w.names, name)
	select {
	case w.some <- struct{}{}:
	default:
	}
}

func (ws *Watches) add(w *watcher) bool {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.closed {
		return false
	}
	if ws.all == nil {
		ws.all = map[*watcher]struct{}{}
	}
	ws.all[w] = struct{}{}
	return true
}

func (ws *Watches) remove(w *watcher) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	delete(ws.all, w)
}

// Tell says that a release changed. It never blocks.
func (ws *Watches) Tell(name string) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for w := range ws.all {
		w.add(name)
	}
}

// Close ends all watches.
func (ws *Watches) Close() {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if !ws.closed {
		ws.closed = true
		for w := range ws.all {
			close(w.done)
		}
	}
}
