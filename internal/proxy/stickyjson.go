package proxy

import (
	"bytes"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"strings"
)

// maxStickyBody bounds the body that is read for the sticky key before its
// version is chosen. One that is longer has no key.
const maxStickyBody = 1 << 20

// readSticky reads the field of a JSON body that says who the user is, and puts
// the body back. It is read before the request is under way: a client that is slow
// to send it holds up nobody's evidence.
func (t *Table) readSticky(r *http.Request) string {
	path := t.config.Sticky.JSON
	if path == "" || r.Body == nil || r.Body == http.NoBody || r.ContentLength > maxStickyBody || !isJSON(r.Header) {
		return ""
	}
	b, err := io.ReadAll(io.LimitReader(r.Body, maxStickyBody+1))
	rest := io.Reader(r.Body)
	if err != nil {
		rest = failing{err}
	}
	r.Body = &putBack{Reader: io.MultiReader(bytes.NewReader(b), rest), Closer: r.Body}
	if err != nil || len(b) > maxStickyBody {
		return ""
	}
	return jsonWord(b, path)
}

// jsonWord is the text or number at a dotted path; empty: there is none.
func jsonWord(b []byte, path string) string {
	for name := range strings.SplitSeq(path, ".") {
		var fields map[string]json.RawMessage
		if json.Unmarshal(b, &fields) != nil {
			return ""
		}
		b = fields[name]
	}
	var s string
	if json.Unmarshal(b, &s) == nil && len(s) <= maxKey {
		return s
	}
	var n json.Number
	if json.Unmarshal(b, &n) != nil || len(n) > maxKey {
		return ""
	}
	return n.String()
}

func isJSON(h http.Header) bool {
	kind, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	return err == nil && (kind == "application/json" || strings.HasSuffix(kind, "+json")) && h.Get("Content-Encoding") == ""
}

// putBack is a body of which a part was read already.
type putBack struct {
	io.Reader
	io.Closer
}

// failing is a body whose reading failed.
type failing struct{ err error }

// Read implements io.Reader.
func (f failing) Read([]byte) (int, error) { return 0, f.err }
