package workload

import "sync"

// Changes delivers names of releases on a channel: names may be merged, never
// lost. Runtimes implement Changed with it. It holds a goroutine until Close.
type Changes struct {
	out    chan string
	wake   chan struct{}
	closed chan struct{}
	once   sync.Once

	mu    sync.Mutex
	queue []string // each name once
}

// NewChanges returns Changes with nothing to deliver.
func NewChanges() *Changes {
	c := &Changes{out: make(chan string), wake: make(chan struct{}, 1), closed: make(chan struct{})}
	go c.deliver()
	return c
}

// C is the channel of names. It is never closed.
func (c *Changes) C() <-chan string { return c.out }

// Mark says that the release changed. It never blocks.
func (c *Changes) Mark(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.queue {
		if n == name {
			return
		}
	}
	c.queue = append(c.queue, name)
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Close ends delivery.
func (c *Changes) Close() { c.once.Do(func() { close(c.closed) }) }

func (c *Changes) deliver() {
	for {
		name, ok := c.next()
		if !ok {
			select {
			case <-c.wake:
				continue
			case <-c.closed:
				return
			}
		}
		select {
		case c.out <- name:
		case <-c.closed:
			return
		}
	}
}

// next takes a name off the queue before it is delivered, so that a change that
// comes while it waits for a reader is delivered again.
func (c *Changes) next() (string, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.queue) == 0 {
		return "", false
	}
	name := c.queue[0]
	c.queue = c.queue[1:]
	return name, true
}
