package history

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// repeated is how long a message that was just written is held back: a full
// disk must not fill the log, too.
const repeated = time.Minute

// quiet passes on warnings and errors only, since the store tells much of
// itself, and each message at most once a minute.
func quiet(l *slog.Logger) *slog.Logger {
	return slog.New(hushed{l.Handler(), &said{at: map[string]time.Time{}}}).With("part", "history")
}

type hushed struct {
	slog.Handler
	said *said
}

// said remembers when each message was written last.
type said struct {
	mu sync.Mutex
	at map[string]time.Time
}

func (s *said) again(message string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if last, ok := s.at[message]; ok && now.Sub(last) < repeated {
		return false
	}
	s.at[message] = now
	return true
}

// Enabled implements slog.Handler.
func (h hushed) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelWarn && h.Handler.Enabled(ctx, l)
}

// Handle implements slog.Handler.
func (h hushed) Handle(ctx context.Context, r slog.Record) error {
	if !h.said.again(r.Message, r.Time) {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h hushed) WithAttrs(a []slog.Attr) slog.Handler { return hushed{h.Handler.WithAttrs(a), h.said} }

// WithGroup implements slog.Handler.
func (h hushed) WithGroup(name string) slog.Handler { return hushed{h.Handler.WithGroup(name), h.said} }
