package embedded

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/traffic"
)

// seen keeps observations.
type seen struct {
	mu   sync.Mutex
	list []release.Observation
	c    chan struct{}
}

func (s *seen) Observe(o *release.Observation) {
	s.mu.Lock()
	s.list = append(s.list, *o)
	s.mu.Unlock()
	s.c <- struct{}{}
}

// patience is how long a test waits for something that must happen; it is no figure.
const patience = 2 * time.Minute

// next waits for one more observation.
func (s *seen) next(t testing.TB) release.Observation {
	t.Helper()
	select {
	case <-s.c:
	case <-time.After(patience):
		t.Fatalf("no observation within %v", patience)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.list[len(s.list)-1]
}

// serveModel serves a release of one version whose requests go to backend.
func serveModel(t testing.TB, m *release.Model, rewrite *release.Rewrite, backend string) (url string, s *seen) {
	t.Helper()
	s = &seen{c: make(chan struct{}, 100_000)}
	r := New(Options{Observer: s, Drain: time.Second})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		r.Shutdown(ctx)
	})
	v := release.Version{ID: "v1", Name: "one"}
	rel := release.Release{Name: "chat", Version: v, Traffic: release.Traffic{Embedded: &release.Embedded{Listen: "127.0.0.1:0", Model: m}}}
	err := r.Apply(context.Background(), traffic.Target{Release: rel,
		Split:    release.Split{Salt: "s", Rest: "v1", Shares: []release.Share{{Version: "v1", Weight: release.Full}}},
		Backends: []release.Backend{{Version: "v1", Addresses: []string{backend}, Rewrite: rewrite}}})
	if err != nil {
		t.Fatal(err)
	}
	return "http://" + r.Address("chat"), s
}

// rawModel answers each connection's first request by the bytes of write, after
// it has read the request's header and body.
func rawModel(t testing.TB, write func(c net.Conn, body string)) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				r, err := http.ReadRequest(bufio.NewReader(c))
				if err != nil {
					return
				}
				body, _ := io.ReadAll(r.Body)
				write(c, string(body))
			}()
		}
	}()
	return "http://" + l.Addr().String()
}

func post(t testing.TB, url, body string) ([]byte, error) {
	t.Helper()
	req, err := http.NewRequest("POST", url+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept-Encoding", "gzip") // as it came, not unpacked
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	return io.ReadAll(res.Body)
}

const stream = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"

func chunk(content string) string {
	return fmt.Sprintf("data: {\"id\":\"1\",\"model\":\"m-1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":%q},\"finish_reason\":null}]}\n\n", content)
}

const (
	usageChunk = "data: {\"id\":\"1\",\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2}}\n\n"
	doneChunk  = "data: [DONE]\n\n"
)

// Whatever a model sends, in whatever pieces, the client gets the same bytes
// with and without reading along.
func TestBytesPassUnchanged(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	io.WriteString(z, `{"choices":[{"message":{"content":"Hi"}}]}`)
	z.Close()
	answers := map[string]string{
		"stream":            stream + chunk("Hello") + chunk(" world") + usageChunk + doneChunk,
		"no end":            stream + chunk("Hello"),
		"half an event":     stream + chunk("Hello") + "data: {\"choices\":[{\"del",
		"not UTF-8":         stream + chunk("Hello") + "data: {\"choices\":[{\"delta\":{\"content\":\"\xff\xfe\"}}]}\n\n" + doneChunk,
		"not JSON":          stream + "data: }{\n\n" + doneChunk,
		"a long line":       stream + "data: {\"x\":\"" + strings.Repeat("y", 1<<20) + "\"}\n\n" + doneChunk,
		"wrong type":        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>",
		"gzip":              fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", packed.Len(), packed.String()),
		"not gzip":          "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
		"br":                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: br\r\nContent-Length: 3\r\n\r\nabc",
		"an error":          "HTTP/1.1 500 Oops\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
		"cut within length": "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\nConnection: close\r\n\r\n{\"choices\":",
		"cut within chunks": "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n5\r\ndata:\r\n",
	}
	causes := map[string]string{"no end": "MissingEnd", "half an event": "MissingEnd", "not JSON": "BadResponse", "wrong type": "BadResponse",
		"an error": "Status5xx", "cut within length": "Truncated", "cut within chunks": "Truncated"}
	unread := map[string]release.Unread{"not JSON": "Invalid", "wrong type": "ContentType", "not gzip": "Encoding", "br": "Encoding",
		"an error": "Status", "cut within length": "Cut", "cut within chunks": "Cut"}
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			back := rawModel(t, func(c net.Conn, _ string) {
				for rest := answer; rest != ""; {
					n := min(len(rest), 1+rand.IntN(max(len(answer)/20, 3)))
					io.WriteString(c, rest[:n])
					rest = rest[n:]
				}
			})
			off, _ := serveModel(t, nil, nil, back)
			on, s := serveModel(t, &release.Model{}, nil, back)
			want, werr := post(t, off, `{"model":"m"}`)
			got, gerr := post(t, on, `{"model":"m"}`)
			if werr != nil {
				got = got[:min(len(got), len(want))] // of an answer that broke off more may have been sent by then
			}
			if !bytes.Equal(got, want) || (werr == nil) != (gerr == nil) {
				t.Errorf("the client got %.200q, %v; without reading %.200q, %v", got, gerr, want, werr)
			}
			o := s.next(t)
			if o.Cause != causes[name] || o.Answer == nil || o.Answer.Unread != unread[name] {
				t.Errorf("cause %q, answer %+v; want cause %q, unread %q", o.Cause, o.Answer, causes[name], unread[name])
			}
		})
	}
}

func TestUsageChunkThroughTheProxy(t *testing.T) {
	asked := make(chan string, 10)
	back := rawModel(t, func(c net.Conn, body string) {
		asked <- body
		io.WriteString(c, stream+chunk("Hello")+chunk(" world"))
		if strings.Contains(body, "include_usage") {
			io.WriteString(c, usageChunk)
		}
		io.WriteString(c, doneChunk)
	})
	url, s := serveModel(t, &release.Model{Usage: true, Prices: map[string]release.Price{"m-1": {Input: 1e6, Output: 2e6}}}, nil, back)
	want := chunk("Hello") + chunk(" world") + doneChunk
	if got, err := post(t, url, `{"model":"m","stream":true}`); string(got) != want || err != nil {
		t.Errorf("the client got %q, %v; want %q", got, err, want)
	}
	if body := <-asked; body != `{"model":"m","stream":true,"stream_options":{"include_usage":true}}` {
		t.Errorf("the model was asked %s", body)
	}
	if a := s.next(t).Answer; a.InputTokens != 5 || a.OutputTokens != 2 || a.Cost != 9 || a.Chunks != 2 || !a.Complete {
		t.Errorf("facts %+v", *a)
	}
	theirs := `{"stream":true,"stream_options":{"include_usage":true}}`
	if got, err := post(t, url, theirs); string(got) != chunk("Hello")+chunk(" world")+usageChunk+doneChunk || err != nil {
		t.Errorf("who asks for usage got %q, %v", got, err)
	}
	if body := <-asked; body != theirs {
		t.Errorf("the model was asked %s; want the client's bytes", body)
	}
}

// No event waits for the next one, with the usage chunk asked for and hidden or
// not: the model sends each only when the client has the one before.
func TestNoEventWaitsForTheNext(t *testing.T) {
	pieces := []string{
		"data: {\"id\":\"1\",\"choices\":[],\"prompt_filter_results\":[]}\n\n", "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\"}}]}\n\n",
		chunk("Hello"), chunk(" wor"), ": still here\n\n", chunk("ld"), "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\r\n\r\n",
	}
	for _, usage := range []bool{false, true} {
		got := make(chan struct{})
		back := rawModel(t, func(c net.Conn, _ string) {
			io.WriteString(c, stream)
			for _, p := range pieces {
				io.WriteString(c, p)
				if _, ok := <-got; !ok {
					return
				}
			}
			io.WriteString(c, usageChunk+doneChunk)
		})
		url, s := serveModel(t, &release.Model{Usage: usage}, nil, back)
		c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(time.Minute))
		const body = `{"stream":true}`
		fmt.Fprintf(c, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range pieces {
			b := make([]byte, len(p))
			if n, err := io.ReadFull(res.Body, b); string(b) != p {
				close(got)
				t.Fatalf("usage %v: of event %d came %q (%v) before the next was sent, want %q", usage, i, b[:n], err, p)
			}
			got <- struct{}{}
		}
		want := usageChunk + doneChunk
		if usage {
			want = doneChunk
		}
		if rest, err := io.ReadAll(res.Body); string(rest) != want || err != nil {
			t.Errorf("usage %v: the rest is %q, %v", usage, rest, err)
		}
		if a := s.next(t).Answer; a.OutputTokens != 2 {
			t.Errorf("usage %v: facts %+v", usage, *a)
		}
	}
}

// A client that leaves is its own fault; what had come is known.
func TestClientLeaves(t *testing.T) {
	gone := make(chan struct{})
	back := rawModel(t, func(c net.Conn, _ string) {
		io.WriteString(c, stream+chunk("Hello"))
		<-gone
		for { // an answer that never ends
			if _, err := io.WriteString(c, chunk("more")); err != nil {
				return
			}
		}
	})
	url, s := serveModel(t, &release.Model{}, nil, back)
	ctx, cancel := context.WithCancel(context.Background())
	req, _ := http.NewRequestWithContext(ctx, "POST", url+"/v1/chat/completions", strings.NewReader(`{"model":"m","stream":true}`))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(res.Body, make([]byte, len(chunk("Hello")))); err != nil {
		t.Fatal(err)
	}
	cancel()
	res.Body.Close()
	close(gone)
	o := s.next(t)
	if o.Outcome != release.ClientFault || o.Answer == nil || o.Answer.Unread != release.UnreadCut || o.Answer.Chunks == 0 || o.Answer.Complete {
		t.Errorf("outcome %v, answer %+v; want the client's fault with what had come", o.Outcome, o.Answer)
	}
}

// A line of 50 MiB in an answer passes whole, and is read along.
func TestALineOf50MiB(t *testing.T) {
	const size = 50 << 20
	piece := strings.Repeat("x", 64<<10)
	back := rawModel(t, func(c net.Conn, _ string) {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"+`data: {"choices":[{"delta":{"content":"`)
		for range size / len(piece) {
			io.WriteString(c, piece)
		}
		io.WriteString(c, `"},"finish_reason":"stop"}]}`+"\n\ndata: [DONE]\n\n")
	})
	url, s := serveModel(t, &release.Model{}, nil, back)
	res, err := http.Post(url+"/v1/chat/completions", "application/json", strings.NewReader(`{"model":"m","stream":true}`))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	n, err := io.Copy(io.Discard, res.Body)
	if err != nil || n < size {
		t.Errorf("%d bytes came, %v", n, err)
	}
	if o := s.next(t); o.Outcome != release.OK || o.Answer == nil || o.Answer.Characters != size || o.Answer.Finish != "stop" || !o.Answer.Complete {
		t.Errorf("outcome %v, answer %+v", o.Outcome, o.Answer)
	}
}

// A prompt is the version: the same server and model, asked differently.
func TestPromptRewrite(t *testing.T) {
	asked := make(chan string, 1)
	back := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		asked <- string(b)
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"choices":[{"message":{"content":"Hi"}}]}`)
	}))
	t.Cleanup(back.Close)
	url, _ := serveModel(t, &release.Model{}, &release.Rewrite{System: `Be "brief".`, SetJSON: map[string]any{"model": "b", "messages.1.name": "u"}}, back.URL)
	for in, out := range map[string]string{
		`{"model":"a","messages":[{"role":"user","content":"Hi"}]}`:                             `{"model":"b","messages":[{"role":"system","content":"Be \"brief\"."},{"role":"user","content":"Hi","name":"u"}]}`,
		`{"messages":[{"role":"system","content":"Old"},{"role":"user","content":"Hi"}],"n":1}`: `{"messages":[{"role":"system","content":"Be \"brief\"."},{"role":"user","content":"Hi","name":"u"}],"n":1,"model":"b"}`,
	} {
		if _, err := post(t, url, in); err != nil {
			t.Fatal(err)
		}
		if got := <-asked; got != out {
			t.Errorf("asked %s\nwant  %s", got, out)
		}
	}
}
