package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/haldane-project/haldane/api/v1alpha1"
)

// Change is one message of a watch: exactly one field is set.
type Change struct {
	Release *v1alpha1.Release // the release as it is now
	Gone    string            // name of a release that was deleted
	Down    error             // the connection broke; Watch goes on trying
}

const (
	maxMessage  = 8 << 20 // bytes of one message of an event stream
	silence     = 45 * time.Second
	firstRetry  = 200 * time.Millisecond
	longestWait = 3 * time.Second
)

// Watch calls f with the current state of the release (of all, when name is
// empty) and then with every change, until ctx ends, f returns an error (which
// Watch returns) or the server refuses. A broken connection is tried again.
func (c *Client) Watch(ctx context.Context, name string, f func(Change) error) error {
	wait := firstRetry
	for {
		err := c.watchOnce(ctx, name, func(ch Change) error {
			wait = firstRetry
			return f(ch)
		})
		var stop *stopped
		var refused *Problem
		switch {
		case errors.As(err, &stop):
			return stop.err
		case errors.As(err, &refused) && refused.Status < 500 && refused.Status != http.StatusTooManyRequests:
			return refused
		case ctx.Err() != nil:
			return ctx.Err()
		}
		if err := f(Change{Down: err}); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
		wait = min(2*wait, longestWait)
	}
}

// stopped carries the reader's own error out of the stream.
type stopped struct{ err error }

func (s *stopped) Error() string { return s.err.Error() }

func (c *Client) watchOnce(ctx context.Context, name string, f func(Change) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	q := url.Values{}
	if name != "" {
		q.Set("release", name)
	}
	resp, err := c.send(ctx, http.MethodGet, "/api/v1/watch", q, "", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		data, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		return problem(resp, data)
	}
	quiet := time.AfterFunc(silence, cancel)
	defer quiet.Stop()
	err = readStream(resp.Body, func() { quiet.Reset(silence) }, f)
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("watch on %s ended: %w", c.base.Host, err)
}

// readStream parses server-sent events (WHATWG HTML, 9.2.6). It calls alive for
// every line, heartbeats too.
func readStream(r io.Reader, alive func(), f func(Change) error) error {
	sc := bufio.NewScanner(r)
	sc.Buffer(make([]byte, 0, 64<<10), maxMessage)
	var event string
	var data strings.Builder
	for sc.Scan() {
		alive()
		line := sc.Text()
		if line == "" {
			if err := deliver(event, data.String(), f); err != nil {
				return err
			}
			event = ""
			data.Reset()
			continue
		}
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "event":
			event = value
		case "data":
			if data.Len()+len(value) > maxMessage {
				return fmt.Errorf("a message of more than %d bytes in the stream", maxMessage)
			}
			if data.Len() > 0 {
				data.WriteByte('\n')
			}
			data.WriteString(value)
		}
	}
	return sc.Err()
}

func deliver(event, data string, f func(Change) error) error {
	var ch Change
	switch event {
	case "release":
		ch.Release = new(v1alpha1.Release)
		if err := json.Unmarshal([]byte(data), ch.Release); err != nil {
			return fmt.Errorf("a release in the stream: %w", err)
		}
	case "gone":
		var gone struct {
			Name string `json:"name"`
		}
		if err := json.Unmarshal([]byte(data), &gone); err != nil {
			return fmt.Errorf("a deletion in the stream: %w", err)
		}
		ch.Gone = gone.Name
	default:
		return nil
	}
	if err := f(ch); err != nil {
		return &stopped{err}
	}
	return nil
}
