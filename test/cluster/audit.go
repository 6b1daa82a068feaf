package cluster

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
)

const auditLog = "audit.log"

// Request is one request that the API server answered, or a watch that began.
type Request struct {
	User     string // as authenticated, such as system:serviceaccount:NS:NAME
	Agent    string // User-Agent
	Verb     string // get, list, watch, create, update, patch, delete, deletecollection
	Resource string // resource.group or resource.group/subresource; path for anything else
	Object   string // namespace/name
	Code     int    // HTTP status
}

// Write says whether the request changed, or tried to change, an object.
func (r Request) Write() bool {
	return slices.Contains([]string{"create", "update", "patch", "delete", "deletecollection"}, r.Verb)
}

func (r Request) String() string {
	return fmt.Sprintf("%s %s %s %d (%s)", r.Verb, r.Resource, r.Object, r.Code, r.User)
}

// Mark is a moment in the log of requests.
type Mark int64

var barriers atomic.Int64

// Mark is now: Requests since it has none that was answered before.
func (c *Cluster) Mark(t testing.TB) Mark {
	t.Helper()
	_, end := c.audit(t, 0)
	return end
}

// Requests are those answered since a mark, in order, that keep wants. Watches
// count once, when they begin.
func (c *Cluster) Requests(t testing.TB, since Mark, keep func(Request) bool) []Request {
	t.Helper()
	all, _ := c.audit(t, since)
	return slices.DeleteFunc(all, func(r Request) bool { return !keep(r) })
}

// ByUser keeps the requests of one user, or of all whose user agent begins so.
func ByUser(userOrAgent string) func(Request) bool {
	return func(r Request) bool { return r.User == userOrAgent || strings.HasPrefix(r.Agent, userOrAgent) }
}

// Tally counts requests by "verb resource".
func Tally(requests []Request) map[string]int {
	n := map[string]int{}
	for _, r := range requests {
		n[r.Verb+" "+r.Resource]++
	}
	return n
}

// audit reads the log from an offset up to a request of its own, since a line
// may be written after its answer was sent.
func (c *Cluster) audit(t testing.TB, from Mark) ([]Request, Mark) {
	t.Helper()
	p := c.own(t)
	config := rest.CopyConfig(c.Config)
	config.UserAgent = fmt.Sprintf("cluster-barrier/%d.%d", os.Getpid(), barriers.Add(1))
	client, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := client.RESTClient().Get().AbsPath("/version").Do(context.Background()).Error(); err != nil {
		t.Fatalf("read the audit log: %v", err)
	}
	var found []Request
	var end Mark
	err = wait(Patience, "the audit log", func() (err error) {
		found, end, err = readAudit(p.path(auditLog), from, config.UserAgent)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found, end
}

func readAudit(path string, from Mark, barrier string) ([]Request, Mark, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	if _, err := f.Seek(int64(from), io.SeekStart); err != nil {
		return nil, 0, err
	}
	var found []Request
	at := from
	for r := bufio.NewReaderSize(f, 1<<16); ; {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return nil, 0, fmt.Errorf("%s ends before the request of %s", path, barrier)
		}
		at += Mark(len(line))
		if bytes.Contains(line, []byte(barrier)) {
			return found, at, nil
		}
		if req, ok := parseAudit(line); ok {
			found = append(found, req)
		}
	}
}

func parseAudit(line []byte) (Request, bool) {
	var e struct {
		Stage, Verb, UserAgent, RequestURI string
		User                               struct{ Username string }
		ObjectRef                          *struct{ Resource, Subresource, APIGroup, Namespace, Name string }
		ResponseStatus                     struct{ Code int }
	}
	if err := json.Unmarshal(line, &e); err != nil || strings.HasPrefix(e.UserAgent, "cluster-barrier/") {
		return Request{}, false
	}
	if (e.Stage == "ResponseStarted") != (e.Verb == "watch") {
		return Request{}, false // the other half of a request that has two lines
	}
	r := Request{User: e.User.Username, Agent: e.UserAgent, Verb: e.Verb, Code: e.ResponseStatus.Code}
	if o := e.ObjectRef; o != nil {
		r.Resource, r.Object = o.Resource, o.Namespace+"/"+o.Name
		if o.APIGroup != "" {
			r.Resource += "." + o.APIGroup
		}
		if o.Subresource != "" {
			r.Resource += "/" + o.Subresource
		}
	} else {
		r.Resource, _, _ = strings.Cut(e.RequestURI, "?")
	}
	return r, true
}
