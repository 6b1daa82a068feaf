package interop

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"gonum.org/v1/gonum/mathext"

	"github.com/haldane-project/haldane/internal/proxy"
	"github.com/haldane-project/haldane/internal/release"
)

// patience is how long a test waits for something that must happen; it is no figure.
const patience = 10 * time.Minute

// TestChangesUnderLoad changes weights, promotes and restarts versions under
// mixed load and wants every request answered once, by a version that had a
// share while the request was under way, and each user kept by one version
// while the weight stays. HALDANE_CHANGES=1000 is the long form.
func TestChangesUnderLoad(t *testing.T) {
	changes := 100
	if s := os.Getenv("HALDANE_CHANGES"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatalf("HALDANE_CHANGES=%q: expected a number", s)
		}
		changes = n
	}
	y := newYard(t)
	stop := make(chan struct{})
	var load sync.WaitGroup
	for i, c := range []client{y.get(h1()), y.get(h1()), y.post(h1()), y.get(h2c()), y.post(h2c()), y.stream(h1()), y.stream(h2c()), y.socket()} {
		load.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
					y.one(t, c, i, n)
				}
			}
		})
	}
	weights := []release.Weight{500, 9500, 1000, 5000, 0, 10000, 2500}
	for i := range changes {
		y.set(t, weights[rand.IntN(len(weights))])
		y.pause(20)
		switch {
		case i%20 == 10:
			y.promote(t)
		case i%50 == 25:
			y.restart(t)
		}
	}
	close(stop)
	load.Wait()
	y.report(t, changes)
}

type client func(id string, user string) (version string, err error)

// yard is a proxy, its versions and the record of what happened.
type yard struct {
	proxy     *proxy.Proxy
	url, addr string

	mu       sync.Mutex
	rest     release.VersionID
	other    release.VersionID
	weight   release.Weight
	salt     int
	servers  map[release.VersionID]*http.Server
	address  map[release.VersionID]string
	history  []epoch
	seen     map[string]int // ids at the versions
	users    map[string]release.VersionID
	shares   map[release.Weight][2]int // canary's and all random requests, in one epoch each
	requests atomic.Int64
	failed   atomic.Int64
	promoted int
	restarts int
}

// epoch is a table and the time from which requests could follow it; the one
// before it ends when Set has returned.
type epoch struct {
	begin, settled time.Time
	rest, other    release.VersionID
	weight         release.Weight
	salt           int
}

func newYard(t *testing.T) *yard {
	y := &yard{
		rest: "v1", other: "v2", servers: map[release.VersionID]*http.Server{}, address: map[release.VersionID]string{},
		seen: map[string]int{}, users: map[string]release.VersionID{}, shares: map[release.Weight][2]int{},
	}
	y.proxy = proxy.New(proxy.Options{Name: "yard"})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	y.addr = l.Addr().String()
	y.url = "http://" + y.addr
	y.start(t, "v1")
	y.start(t, "v2")
	y.set(t, 0)
	go y.proxy.Serve(l)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := y.proxy.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		for _, s := range y.servers {
			s.Close()
		}
	})
	return y
}

// start starts a new instance of a version at a new address.
func (y *yard) start(t *testing.T, v release.VersionID) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: y.handler(v)}
	go s.Serve(l)
	y.mu.Lock()
	defer y.mu.Unlock()
	y.servers[v], y.address[v] = s, "http://"+l.Addr().String()
}

func (y *yard) handler(v release.VersionID) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		y.mu.Lock()
		y.seen[r.Header.Get("X-Id")]++
		y.mu.Unlock()
		w.Header().Set("X-Version", string(v))
		switch r.URL.Path {
		case "/stream":
			w.Header().Set("Content-Type", "text/event-stream")
			for i := range 5 {
				fmt.Fprintf(w, "data: %d\n\n", i)
				w.(http.Flusher).Flush()
			}
		case "/socket":
			c, err := websocket.Accept(w, r, nil)
			if err != nil {
				return
			}
			defer c.CloseNow()
			for {
				kind, b, err := c.Read(r.Context())
				if err != nil || c.Write(r.Context(), kind, b) != nil {
					return
				}
			}
		default:
			io.Copy(w, r.Body)
		}
	}
}

func (y *yard) set(t *testing.T, w release.Weight) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.weight = w
	y.apply(t)
}

func (y *yard) apply(t *testing.T) {
	e := epoch{begin: time.Now(), rest: y.rest, other: y.other, weight: y.weight, salt: y.salt}
	shares := []release.Share{{Version: y.rest, Weight: release.Full - y.weight}, {Version: y.other, Weight: y.weight}}
	if y.rest > y.other {
		shares[0], shares[1] = shares[1], shares[0]
	}
	r := proxy.Routing{
		Config: release.Embedded{Sticky: release.Sticky{Header: "X-User"}},
		Split:  release.Split{Salt: fmt.Sprint("yard-", y.salt), Rest: y.rest, Shares: shares},
	}
	for _, v := range []release.VersionID{"v1", "v2"} {
		r.Backends = append(r.Backends, release.Backend{Version: v, Addresses: []string{y.address[v]}})
	}
	if err := y.proxy.Set(r); err != nil {
		t.Error(err)
	}
	e.settled = time.Now()
	y.history = append(y.history, e)
}

// pause lets some requests come.
func (y *yard) pause(n int64) {
	until := y.requests.Load() + n
	for y.requests.Load() < until {
		time.Sleep(time.Millisecond)
	}
}

// promote makes the other version the rest, as a new run would.
func (y *yard) promote(t *testing.T) {
	y.set(t, release.Full)
	y.mu.Lock()
	y.rest, y.other, y.weight = y.other, y.rest, 0
	y.salt++
	y.promoted++
	y.apply(t)
	y.mu.Unlock()
	y.pause(20)
}

// restart takes the other version's traffic off, waits until its last request
// has left, stops it and starts it elsewhere.
func (y *yard) restart(t *testing.T) {
	y.set(t, 0)
	deadline := time.Now().Add(patience)
	for {
		n := int64(0)
		for _, f := range y.proxy.InFlight() {
			if f.Version == y.other {
				n = f.Count
			}
		}
		if n == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d requests never left %s", n, y.other)
		}
		time.Sleep(time.Millisecond)
	}
	y.servers[y.other].Close() // at once: nothing may be inside
	y.start(t, y.other)
	y.restarts++
}

// one sends a request and checks its answer against the history.
func (y *yard) one(t *testing.T, c client, worker, n int) {
	id, user := fmt.Sprintf("%d-%d", worker, n), ""
	if n%2 == 0 {
		user = fmt.Sprint("user-", rand.IntN(200))
	}
	begin := time.Now()
	version, err := c(id, user)
	end := time.Now()
	y.requests.Add(1)
	if err != nil {
		y.failed.Add(1)
		t.Errorf("request %s: %v", id, err)
		return
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.seen[id] != 1 {
		t.Errorf("request %s came %d times to the versions", id, y.seen[id])
	}
	delete(y.seen, id)
	y.place(t, release.VersionID(version), user, begin, end)
}

// place checks that the version had a share and that the user is where the
// user was.
func (y *yard) place(t *testing.T, v release.VersionID, user string, begin, end time.Time) {
	allowed, epochs := false, 0
	var last epoch
	for i := len(y.history) - 1; i >= 0; i-- {
		e := y.history[i]
		over := i+1 < len(y.history) && y.history[i+1].settled.Before(begin)
		if over {
			break
		}
		if e.begin.After(end) {
			continue
		}
		epochs++
		last = e
		allowed = allowed || (v == e.rest && e.weight < release.Full) || (v == e.other && e.weight > 0)
	}
	if !allowed {
		t.Errorf("misrouted: version %s had no share", v)
	}
	if epochs != 1 {
		return
	}
	if user != "" {
		k := fmt.Sprint(last.salt, "/", last.weight, "/", user)
		if before, known := y.users[k]; known && before != v {
			t.Errorf("user %s moved from %s to %s at the same weight", user, before, v)
		}
		y.users[k] = v
		return
	}
	s := y.shares[last.weight]
	if v == last.other {
		s[0]++
	}
	s[1]++
	y.shares[last.weight] = s
}

func (y *yard) report(t *testing.T, changes int) {
	t.Logf("%d requests, %d weight changes, %d promotions, %d restarts, %d failed", y.requests.Load(), changes, y.promoted, y.restarts, y.failed.Load())
	for w, s := range y.shares {
		p := float64(w) / float64(release.Full)
		if c := min(chance(s[0], s[1], p), chance(s[1]-s[0], s[1], 1-p)); c < fiveSigma {
			t.Errorf("weight %d: %d of %d, which comes with a chance of %.2g", w, s[0], s[1], c)
		}
	}
}

// fiveSigma is the chance of what lies as far out on one side, by the exact
// distribution: a weight has few requests, for which no normal one holds.
const fiveSigma = 2.9e-7

// chance is that of k or more of n, each drawn with probability p.
func chance(k, n int, p float64) float64 {
	switch {
	case k == 0 || p == 1:
		return 1
	case p == 0:
		return 0
	}
	return mathext.RegIncBeta(float64(k), float64(n-k+1), p)
}

func h1() *http.Client { return &http.Client{Transport: &http.Transport{}} }

func h2c() *http.Client {
	tr := &http.Transport{Protocols: new(http.Protocols)}
	tr.Protocols.SetUnencryptedHTTP2(true)
	return &http.Client{Transport: tr}
}

// ask sends a request and returns the version and the body of the answer.
func ask(c *http.Client, method, url, id, user, body string) (version, answer string, err error) {
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return "", "", err
	}
	r.Header.Set("X-Id", id)
	if user != "" {
		r.Header.Set("X-User", user)
	}
	res, err := c.Do(r)
	if err != nil {
		return "", "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d: %s", res.StatusCode, b)
	}
	return res.Header.Get("X-Version"), string(b), err
}

func (y *yard) get(c *http.Client) client {
	return func(id, user string) (string, error) {
		v, _, err := ask(c, "GET", y.url, id, user, "")
		return v, err
	}
}

func (y *yard) post(c *http.Client) client {
	return func(id, user string) (string, error) {
		v, b, err := ask(c, "POST", y.url, id, user, "body of "+id)
		if err == nil && b != "body of "+id {
			err = fmt.Errorf("the body came back as %q", b)
		}
		return v, err
	}
}

func (y *yard) stream(c *http.Client) client {
	return func(id, user string) (string, error) {
		v, b, err := ask(c, "GET", y.url+"/stream", id, user, "")
		n := 0
		for s := bufio.NewScanner(strings.NewReader(b)); s.Scan(); {
			if strings.HasPrefix(s.Text(), "data: ") {
				n++
			}
		}
		if err == nil && n != 5 {
			err = fmt.Errorf("%d of 5 events came", n)
		}
		return v, err
	}
}

func (y *yard) socket() client {
	return func(id, user string) (string, error) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		h := http.Header{"X-Id": {id}}
		if user != "" {
			h.Set("X-User", user)
		}
		c, res, err := websocket.Dial(ctx, "ws://"+y.addr+"/socket", &websocket.DialOptions{HTTPHeader: h})
		if err != nil {
			return "", err
		}
		defer c.CloseNow()
		for i := range 5 {
			m := fmt.Sprint(id, " ", i)
			if err := c.Write(ctx, websocket.MessageText, []byte(m)); err != nil {
				return "", err
			}
			if _, b, err := c.Read(ctx); err != nil || string(b) != m {
				return "", fmt.Errorf("message %q came back as %q: %w", m, b, err)
			}
		}
		return res.Header.Get("X-Version"), nil
	}
}
