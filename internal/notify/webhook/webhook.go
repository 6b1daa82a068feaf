// Package webhook is the notify.Sink that posts each notice as JSON to one URL:
// the events, and the judge's report. It knows no vendor's format. This file is
// all of it.
package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/haldane-project/haldane/internal/notify"
)

const (
	atOnce  = 256 // notices that wait; what comes beyond is dropped
	timeout = 10 * time.Second
	tries   = 3
)

// Options of a Sink.
type Options struct {
	URL string
	// TokenFile holds a secret that is sent as the bearer of each request, and is
	// read anew for each, so that it can be changed; empty: none.
	TokenFile string
	Log       *slog.Logger
	// Again is the time before the second try, and twice that before the third; 0: 2 s.
	Again time.Duration
}

// Sink posts notices in their order. It may be used by many goroutines.
type Sink struct {
	o      Options
	client *http.Client
	queue  chan notify.Notice
}

var _ notify.Sink = (*Sink)(nil)

// New checks where notices go.
func New(o Options) (*Sink, error) {
	u, err := url.Parse(o.URL)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return nil, errors.New("notices can not be sent there: expected a URL such as https://hooks.example.com/haldane")
	case u.User != nil:
		return nil, errors.New("the URL of the notices holds a user or password: put a token into a file instead")
	}
	s := &Sink{o: o, queue: make(chan notify.Notice, atOnce)}
	if s.o.Again == 0 {
		s.o.Again = 2 * time.Second
	}
	s.client = &http.Client{Timeout: timeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	_, err = s.bearer()
	return s, err
}

// bearer is the secret; empty: none.
func (s *Sink) bearer() (string, error) {
	if s.o.TokenFile == "" {
		return "", nil
	}
	text, err := os.ReadFile(s.o.TokenFile)
	if err != nil {
		return "", fmt.Errorf("read the token of the notices: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// Notify implements notify.Sink.
func (s *Sink) Notify(_ context.Context, n notify.Notice) error {
	select {
	case s.queue <- n:
		return nil
	default:
		return fmt.Errorf("the webhook takes no notices fast enough; %s of %s was dropped", n.Events[0].Reason, n.Release)
	}
}

// Run sends until ctx ends.
func (s *Sink) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case n := <-s.queue:
			if err := s.send(ctx, n); err != nil && ctx.Err() == nil {
				s.o.Log.Warn("a notice was not delivered", "release", n.Release, "error", err)
			}
		}
	}
}

// send tries some times; what the receiver refuses (4xx) is not tried again.
func (s *Sink) send(ctx context.Context, n notify.Notice) error {
	body, err := json.Marshal(n)
	if err != nil {
		return fmt.Errorf("write the notice: %w", err)
	}
	for i := range tries {
		if i > 0 {
			select {
			case <-ctx.Done():
				return err
			case <-time.After(s.o.Again << (i - 1)):
			}
		}
		var again bool
		if again, err = s.post(ctx, body); err == nil || !again {
			return err
		}
	}
	return err
}

func (s *Sink) post(ctx context.Context, body []byte) (again bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.o.URL, bytes.NewReader(body))
	if err != nil {
		return false, withoutURL(err)
	}
	req.Header.Set("Content-Type", "application/json")
	switch token, err := s.bearer(); {
	case err != nil:
		return true, err
	case token != "":
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return true, withoutURL(err)
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, 1<<16) // lets the connection be used again
	if resp.StatusCode/100 != 2 {
		return resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests, fmt.Errorf("it answered %s", resp.Status)
	}
	return false, nil
}

// withoutURL is the cause of a failed request: the URL may hold a secret.
func withoutURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}
