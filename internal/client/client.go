// Package client speaks the HTTP API of a Haldane daemon: it is what the
// command line uses, and any Go program may. It knows the wire (its types are
// the server's too, so the two cannot drift apart) and nothing of stores, passes
// or terminals.
//
// Read this file first (calls), then wire.go (what goes over the wire).
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/store"
)

// DefaultAddress is where the API of a local daemon listens.
const DefaultAddress = "127.0.0.1:7070"

// EvidenceCut is the header of evidence whose end is missing, because there was
// more than a run may keep.
const EvidenceCut = "Haldane-Evidence-Cut"

const (
	maxAnswer    = 64 << 20         // bytes of one answer
	callDeadline = 30 * time.Second // of a call that does not wait for anything
)

// Options of a client; the zero value suits a daemon on this machine.
type Options struct {
	Token string       // bearer token; empty: none
	HTTP  *http.Client // empty: one that uses no proxy for loopback and follows no redirect
}

// Client calls one daemon. It is safe for concurrent use.
type Client struct {
	base  *url.URL
	token string
	http  *http.Client
}

// New returns a client of the daemon at server: host:port or a URL.
func New(server string, o Options) (*Client, error) {
	if server == "" {
		server = DefaultAddress
	}
	if !strings.Contains(server, "://") {
		server = "http://" + server
	}
	u, err := url.Parse(server)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("server %q: expected host:port or an http(s) URL", server)
	}
	if u.User != nil {
		return nil, errors.New("server: a password in the URL would be shown in logs; give a token instead")
	}
	if o.HTTP == nil {
		o.HTTP = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	u.Path, u.RawQuery, u.Fragment = strings.TrimSuffix(u.Path, "/"), "", ""
	return &Client{base: u, token: o.Token, http: o.HTTP}, nil
}

// URL of a page or endpoint of the daemon, path such as "/releases/hello".
func (c *Client) URL(path string) string { return c.base.String() + path }

// List returns all releases, sorted by name.
func (c *Client) List(ctx context.Context) ([]v1alpha1.Release, error) {
	var l List[v1alpha1.Release]
	return l.Items, c.get(ctx, "/api/v1/releases", nil, &l)
}

// Get returns one release with its status.
func (c *Client) Get(ctx context.Context, name string) (v1alpha1.Release, error) {
	var r v1alpha1.Release
	return r, c.get(ctx, "/api/v1/releases/"+url.PathEscape(name), nil, &r)
}

// Apply creates or changes a release by a manifest, YAML or JSON.
func (c *Client) Apply(ctx context.Context, name string, manifest []byte, o ApplyOptions) (Applied, error) {
	q := url.Values{}
	if o.DryRun {
		q.Set("dryRun", "true")
	}
	if o.File != "" {
		q.Set("file", o.File)
	}
	ctx, cancel := context.WithTimeout(ctx, callDeadline)
	defer cancel()
	var a Applied
	err := c.do(ctx, http.MethodPut, "/api/v1/releases/"+url.PathEscape(name), q, "application/yaml", manifest, &a)
	return a, err
}

// Delete asks for a release to be taken down; it is gone some time later.
func (c *Client) Delete(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, callDeadline)
	defer cancel()
	return c.do(ctx, http.MethodDelete, "/api/v1/releases/"+url.PathEscape(name), nil, "", nil, nil)
}

// Ask records an intent and waits up to a.WaitSeconds for the answer.
func (c *Client) Ask(ctx context.Context, name string, a Ask) (Answer, error) {
	body, err := json.Marshal(a)
	if err != nil {
		return Answer{}, fmt.Errorf("ask %s of %s: %w", a.Verb, name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, callDeadline+time.Duration(a.WaitSeconds)*time.Second)
	defer cancel()
	var out Answer
	err = c.do(ctx, http.MethodPost, "/api/v1/releases/"+url.PathEscape(name)+"/intents", nil, "application/json", body, &out)
	return out, err
}

// Runs returns the runs of a release, newest first; limit 0: the server's default.
func (c *Client) Runs(ctx context.Context, name string, limit int) ([]v1alpha1.Run, error) {
	var l List[v1alpha1.Run]
	return l.Items, c.get(ctx, "/api/v1/releases/"+url.PathEscape(name)+"/runs", limited(limit), &l)
}

// Run returns one run.
func (c *Client) Run(ctx context.Context, id string) (v1alpha1.Run, error) {
	var r v1alpha1.Run
	return r, c.get(ctx, "/api/v1/runs/"+url.PathEscape(id), nil, &r)
}

// Record returns the judge's realised false alarms.
func (c *Client) Record(ctx context.Context) (Record, error) {
	var r Record
	return r, c.get(ctx, "/api/v1/judge/record", nil, &r)
}

// Looks returns the newest looks of a run, oldest first; limit 0: the server's default.
func (c *Client) Looks(ctx context.Context, run string, limit int) ([]store.Look, error) {
	var l List[store.Look]
	return l.Items, c.get(ctx, "/api/v1/runs/"+url.PathEscape(run)+"/looks", limited(limit), &l)
}

// Evidence returns what the judge took in during a run, JSON lines as they come;
// it must be closed.
func (c *Client) Evidence(ctx context.Context, run string) (store.Evidence, error) {
	resp, err := c.send(ctx, http.MethodGet, "/api/v1/runs/"+url.PathEscape(run)+"/evidence", nil, "", nil)
	if err != nil {
		return store.Evidence{}, err
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		data, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		return store.Evidence{}, problem(resp, data)
	}
	return store.Evidence{ReadCloser: resp.Body, Cut: resp.Header.Get(EvidenceCut) != ""}, nil
}

// Events returns events of a release with a number above after, oldest first.
func (c *Client) Events(ctx context.Context, name string, after int64, limit int) ([]store.StoredEvent, error) {
	q := limited(limit)
	q.Set("after", strconv.FormatInt(after, 10))
	var l List[store.StoredEvent]
	return l.Items, c.get(ctx, "/api/v1/releases/"+url.PathEscape(name)+"/events", q, &l)
}

// Audit returns the audit trail, newest first.
func (c *Client) Audit(ctx context.Context, limit int) ([]store.Audit, error) {
	var l List[store.Audit]
	return l.Items, c.get(ctx, "/api/v1/audit", limited(limit), &l)
}

// Logs returns the last output of a release's instances, of one version (name
// or ID) or of all.
func (c *Client) Logs(ctx context.Context, name, version string) (Logs, error) {
	q := url.Values{}
	if version != "" {
		q.Set("version", version)
	}
	var l Logs
	return l, c.get(ctx, "/api/v1/releases/"+url.PathEscape(name)+"/logs", q, &l)
}

// Differences returns what was found when requests of a release were copied.
func (c *Client) Differences(ctx context.Context, name string) (Differences, error) {
	var d Differences
	return d, c.get(ctx, "/api/v1/releases/"+url.PathEscape(name)+"/differences", nil, &d)
}

// Version returns the daemon's version.
func (c *Client) Version(ctx context.Context) (Version, error) {
	var v Version
	return v, c.get(ctx, "/api/v1/version", nil, &v)
}

func limited(n int) url.Values {
	q := url.Values{}
	if n > 0 {
		q.Set("limit", strconv.Itoa(n))
	}
	return q
}

func (c *Client) get(ctx context.Context, path string, q url.Values, out any) error {
	ctx, cancel := context.WithTimeout(ctx, callDeadline)
	defer cancel()
	return c.do(ctx, http.MethodGet, path, q, "", nil, out)
}

func (c *Client) do(ctx context.Context, method, path string, q url.Values, contentType string, body []byte, out any) error {
	resp, err := c.send(ctx, method, path, q, contentType, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read the answer of %s to %s %s: %w", c.base.Host, method, path, err)
	}
	if resp.StatusCode >= 300 {
		return problem(resp, data)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("%s answered %s %s with something that is not Haldane's JSON (is it a Haldane daemon?): %w", c.base.Host, method, path, err)
	}
	return nil
}

// send returns the open response whatever its status.
func (c *Client) send(ctx context.Context, method, path string, q url.Values, contentType string, body []byte) (*http.Response, error) {
	u := c.base.String() + path
	if len(q) > 0 {
		u += "?" + q.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, u, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	req.Header.Set("Accept", "application/json")
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreachable(err)
	}
	return resp, nil
}

func (c *Client) unreachable(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return &Unreachable{Server: c.base.Host, Err: op.Err}
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return fmt.Errorf("ask %s: %w", c.base.Host, err)
}
