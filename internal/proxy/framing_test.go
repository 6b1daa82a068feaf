package proxy

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/haldane-project/haldane/internal/release"
)

// What a framing case must end in. In every case the origin sees strict
// requests only, never one that the client did not send, and no client fault is
// answered 5xx (501 for an unknown transfer coding and 505 apart).
type framing int

const (
	bad framing = iota // answered 4xx or closed; the origin sees no whole request
	one                // one request at the origin
	two
	either // bad or one
	waits  // the proxy waits for more; the origin sees no whole request
)

// h completes a request whose first line and fields are given.
func h(lines ...string) string { return strings.Join(lines, "\r\n") + "\r\n\r\n" }

const host = "Host: a.example"

var framingCases = []struct {
	name string
	raw  string
	want framing
}{
	// plain
	{"GET", h("GET / HTTP/1.1", host), one},
	{"two GETs in one write", h("GET /1 HTTP/1.1", host) + h("GET /2 HTTP/1.1", host), two},
	{"POST with a length", h("POST / HTTP/1.1", host, "Content-Length: 3") + "abc", one},
	{"POST, then GET", h("POST / HTTP/1.1", host, "Content-Length: 3") + "abc" + h("GET /2 HTTP/1.1", host), two},
	{"POST in chunks", h("POST / HTTP/1.1", host, "Transfer-Encoding: chunked") + "3\r\nabc\r\n0\r\n\r\n", one},
	{"chunks end the connection", h("POST / HTTP/1.1", host, "Transfer-Encoding: chunked") + "3\r\nabc\r\n0\r\n\r\n" + h("GET /smuggled HTTP/1.1", host), one},
	{"upper-case chunked", h("POST / HTTP/1.1", host, "Transfer-Encoding: CHUNKED") + "3\r\nabc\r\n0\r\n\r\n", one},
	{"length zero", h("POST / HTTP/1.1", host, "Content-Length: 0"), one},
	{"POST without framing", h("POST / HTTP/1.1", host), one},
	{"GET with a body", h("GET / HTTP/1.1", host, "Content-Length: 3") + "abc", one},
	{"HTTP/1.0 with Host", h("GET / HTTP/1.0", host), one},
	{"absolute form", h("GET http://a.example/x HTTP/1.1", host), one},
	{"OPTIONS *", h("OPTIONS * HTTP/1.1", host), one},
	{"empty line before the request", "\r\n" + h("GET / HTTP/1.1", host), either},
	{"unknown method", h("BREW / HTTP/1.1", host), one},
	{"lower-case field names", h("GET / HTTP/1.1", "host: a.example", "accept: x"), one},
	{"tab after the colon", h("GET / HTTP/1.1", "Host:\ta.example"), one},
	{"no space after the colon", h("GET / HTTP/1.1", "Host:a.example"), one},
	{"trailing space in a value", h("GET / HTTP/1.1", host, "X-A: b  "), one},
	{"empty value", h("GET / HTTP/1.1", host, "X-A:"), one},
	{"obs-text in a value", h("GET / HTTP/1.1", host, "X-A: \xe9"), one},
	{"chunk extension", h("POST / HTTP/1.1", host, "Transfer-Encoding: chunked") + "3;a=b\r\nabc\r\n0\r\n\r\n", either},
	{"trailer", h("POST / HTTP/1.1", host, "Transfer-Encoding: chunked", "Trailer: X-Sum") + "3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n", one},
	{"trailer that was not announced", h("POST / HTTP/1.1", host, "Transfer-Encoding: chunked") + "0\r\nX-Sum: 1\r\n\r\n", one},
	{"forbidden trailers", h("POST / HTTP/1.1", host, "Transfer-Encoding: chunked", "Trailer: X-Forwarded-For") + "0\r\nX-Forwarded-For: 6.6.6.6\r\nHost: evil\r\n\r\n", either},

	// length and coding against each other
	{"CL and TE", h("POST / HTTP/1.1", host, "Content-Length: 5", "Transfer-Encoding: chunked") + "0\r\n\r\n" + h("GET /smuggled HTTP/1.1", host), either},
	{"TE and CL", h("POST / HTTP/1.1", host, "Transfer-Encoding: chunked", "Content-Length: 5") + "0\r\n\r\n", either},
	{"TE and CL zero", h("POST / HTTP/1.1", host, "Transfer-Encoding: chunked", "Content-Length: 0") + "0\r\n\r\n" + h("GET /smuggled HTTP/1.1", host), either},
	{"two equal lengths", h("POST / HTTP/1.1", host, "Content-Length: 3", "Content-Length: 3") + "abc", either},
	{"two lengths", h("POST / HTTP/1.1", host, "Content-Length: 3", "Content-Length: 0") + "abc", bad},
	{"length list, equal", h("POST / HTTP/1.1", host, "Content-Length: 3, 3") + "abc", bad},
	{"length list", h("POST / HTTP/1.1", host, "Content-Length: 3, 0") + "abc", bad},
	{"empty length", h("POST / HTTP/1.1", host, "Content-Length:") + h("GET /smuggled HTTP/1.1", host), bad},
	{"length +3", h("POST / HTTP/1.1", host, "Content-Length: +3") + "abc", bad},
	{"length -1", h("POST / HTTP/1.1", host, "Content-Length: -1"), bad},
	{"length 0x3", h("POST / HTTP/1.1", host, "Content-Length: 0x3") + "abc", bad},
	{"length 3 3", h("POST / HTTP/1.1", host, "Content-Length: 3 3") + "abc", bad},
	{"length 3.0", h("POST / HTTP/1.1", host, "Content-Length: 3.0") + "abc", bad},
	{"length 1_0", h("POST / HTTP/1.1", host, "Content-Length: 1_0") + "abc", bad},
	{"length 2^64", h("POST / HTTP/1.1", host, "Content-Length: 18446744073709551616"), bad},
	{"length 2^63", h("POST / HTTP/1.1", host, "Content-Length: 9223372036854775808"), bad},
	{"length in Arabic digits", h("POST / HTTP/1.1", host, "Content-Length: \xd9\xa3") + "abc", bad},
	{"length with NUL", h("POST / HTTP/1.1", host, "Content-Length: 3\x00") + "abc", bad},
	{"space before the colon of the length", h("POST / HTTP/1.1", host, "Content-Length : 3") + "abc", bad},
	{"space before the colon of the coding", h("POST / HTTP/1.1", host, "Transfer-Encoding : chunked") + "0\r\n\r\n", bad},
	{"folded coding", h("POST / HTTP/1.1", host, "Transfer-Encoding:\r\n chunked") + "0\r\n\r\n", either},
	{"coding identity", h("POST / HTTP/1.1", host, "Transfer-Encoding: identity") + "abc", bad},
	{"coding gzip", h("POST / HTTP/1.1", host, "Transfer-Encoding: gzip") + "abc", bad},
	{"coding gzip, chunked", h("POST / HTTP/1.1", host, "Transfer-Encoding: gzip, chunked") + "0\r\n\r\n", bad},
	{"coding chunked, chunked", h("POST / HTTP/1.1", host, "Transfer-Encoding: chunked, chunked") + "0\r\n\r\n", bad},
	{"coding chunked twice", h("POST / HTTP/1.1", host, "Transfer-Encoding: chunked", "Transfer-Encoding: chunked") + "0\r\n\r\n", bad},
	{"coding chunked and identity", h("POST / HTTP/1.1", host, "Transfer-Encoding: chunked", "Transfer-Encoding: identity") + "0\r\n\r\n", bad},
	{"coding xchunked", h("POST / HTTP/1.1", host, "Transfer-Encoding: xchunked") + "0\r\n\r\n", bad},
	{"coding chunked;q=1", h("POST / HTTP/1.1", host, "Transfer-Encoding: chunked;q=1") + "0\r\n\r\n", bad},
	{"quoted coding", h("POST / HTTP/1.1", host, `Transfer-Encoding: "chunked"`) + "0\r\n\r\n", bad},
	{"coding with vertical tab", h("POST / HTTP/1.1", host, "Transfer-Encoding: \x0bchunked") + "0\r\n\r\n", bad},
	{"empty coding", h("POST / HTTP/1.1", host, "Transfer-Encoding:") + "0\r\n\r\n", bad},
	{"coding in HTTP/1.0", h("POST / HTTP/1.0", host, "Transfer-Encoding: chunked") + "0\r\n\r\n", either},
	{"twin coding", h("POST / HTTP/1.1", host, "Content-Length: 3", "Transfer_Encoding: chunked") + "abc", one},
	{"twin length", h("POST / HTTP/1.1", host, "Content_Length: 9", "Content-Length: 3") + "abc", one},

	// chunks
	{"bare LF after the size", h("POST / HTTP/1.1", host, "Transfer-Encoding: chunked") + "3\nabc\r\n0\r\n\r\n", bad},
	{"bare LF after the data", h("POST / HTTP/1.1", host, "Transfer-Encoding: chunked") + "3\r\nabc\n0\r\n\r\n", bad},
	{"bare CR after the size", h("POST / HTTP/1.1", host, "Transfer-Encoding: chunked") + "3\rabc\r\n0\r\n\r\n", bad},
	{"size -1", h("POST / HTTP/1.1", host, "Transfer-Encoding: chunked") + "-1\r\nabc\r\n0\r\n\r\n", bad},
	{"size 0x3", h("POST / HTTP/1.1", host, "Transfer-Encoding: chunked") + "0x3\r\nabc\r\n0\r\n\r\n", bad},
	{"size +3", h("POST / HTTP/1.1", host, "Transfer-Encoding: chunked") + "+3\r\nabc\r\n0\r\n\r\n", bad},
	{"size with a space before", h("POST / HTTP/1.1", host, "Transfer-Encoding: chunked") + " 3\r\nabc\r\n0\r\n\r\n", bad},
	{"size with a space after", h("POST / HTTP/1.1", host, "Transfer-Encoding: chunked") + "3 \r\nabc\r\n0\r\n\r\n", either},
	{"empty size", h("POST / HTTP/1.1", host, "Transfer-Encoding: chunked") + "\r\nabc\r\n0\r\n\r\n", bad},
	{"size zz", h("POST / HTTP/1.1", host, "Transfer-Encoding: chunked") + "zz\r\nabc\r\n0\r\n\r\n", bad},
	{"size 1_0", h("POST / HTTP/1.1", host, "Transfer-Encoding: chunked") + "1_0\r\nabc\r\n0\r\n\r\n", bad},
	{"size of 17 digits", h("POST / HTTP/1.1", host, "Transfer-Encoding: chunked") + "10000000000000003\r\nabc\r\n0\r\n\r\n", bad},
	{"data longer than the size", h("POST / HTTP/1.1", host, "Transfer-Encoding: chunked") + "3\r\nabcd\r\n0\r\n\r\n", bad},
	{"data shorter than the size", h("POST / HTTP/1.1", host, "Transfer-Encoding: chunked") + "5\r\nabc\r\n0\r\n\r\n", bad},
	{"no end of chunks", h("POST / HTTP/1.1", host, "Transfer-Encoding: chunked") + "3\r\nabc\r\n", waits},
	{"bad trailer", h("POST / HTTP/1.1", host, "Transfer-Encoding: chunked") + "0\r\nno colon\r\n\r\n", bad},
	{"bare LF in an extension", h("POST / HTTP/1.1", host, "Transfer-Encoding: chunked") + "3;a\nabc\r\n0\r\n\r\n", bad},
	{"CR in an extension", h("POST / HTTP/1.1", host, "Transfer-Encoding: chunked") + "3;a\rb\r\nabc\r\n0\r\n\r\n", either},
	{"an endless extension", h("POST / HTTP/1.1", host, "Transfer-Encoding: chunked") + "3;" + strings.Repeat("a", 100_000) + "\r\nabc\r\n0\r\n\r\n", bad},

	// lines and fields
	{"bare LF lines", "GET / HTTP/1.1\nHost: a.example\n\n", either},
	{"bare LF before the end", "GET / HTTP/1.1\r\nHost: a.example\n\r\n", either},
	{"bare CR in a value", h("GET / HTTP/1.1", host, "X-A: b\rX-B: c"), bad},
	{"bare CR as a line end", "GET / HTTP/1.1\rHost: a.example\r\r", waits},
	{"NUL in a value", h("GET / HTTP/1.1", host, "X-A: b\x00c"), bad},
	{"NUL in a name", h("GET / HTTP/1.1", host, "X\x00A: b"), bad},
	{"DEL in a value", h("GET / HTTP/1.1", host, "X-A: b\x7fc"), bad},
	{"control byte in a value", h("GET / HTTP/1.1", host, "X-A: b\x01c"), bad},
	{"folded value", h("GET / HTTP/1.1", host, "X-A: b\r\n c"), either},
	{"folded first field", h("GET / HTTP/1.1", " Host: a.example", "Host: b.example"), bad},
	{"no colon", h("GET / HTTP/1.1", host, "X-A b"), bad},
	{"empty name", h("GET / HTTP/1.1", host, ": b"), bad},
	{"space in a name", h("GET / HTTP/1.1", host, "X A: b"), bad},
	{"space before the colon", h("GET / HTTP/1.1", host, "X-A : b"), bad},
	{"tab before the colon", h("GET / HTTP/1.1", host, "X-A\t: b"), bad},
	{"brackets in a name", h("GET / HTTP/1.1", host, "X(A): b"), bad},
	{"obs-text in a name", h("GET / HTTP/1.1", host, "X-\xe9: b"), bad},
	{"underscore twin", h("GET / HTTP/1.1", host, "X_Forwarded_For: 6.6.6.6"), one},
	{"a header of 100 KiB", h("GET / HTTP/1.1", host, "X-A: "+strings.Repeat("b", 100<<10)), bad},
	{"a header of 3,000 fields", h("GET / HTTP/1.1", host, strings.Repeat("X-A: "+strings.Repeat("b", 30)+"\r\n", 3000)+"X-B: c"), bad},
	{"a target of 100 KiB", h("GET /"+strings.Repeat("a", 100<<10)+" HTTP/1.1", host), bad},

	// request line and host
	{"no Host", h("GET / HTTP/1.1"), bad},
	{"two Hosts", h("GET / HTTP/1.1", host, "Host: b.example"), bad},
	{"two equal Hosts", h("GET / HTTP/1.1", host, host), bad},
	{"empty Host", h("GET / HTTP/1.1", "Host:"), either},
	{"Host with a path", h("GET / HTTP/1.1", "Host: a.example/x"), bad},
	{"Host with a user", h("GET / HTTP/1.1", "Host: u@a.example"), bad},
	{"Host with a space", h("GET / HTTP/1.1", "Host: a b"), bad},
	{"Host with a comma", h("GET / HTTP/1.1", "Host: a,b"), either},
	{"HTTP/0.9", "GET /\r\n\r\n", waits},
	{"HTTP/1.2", h("GET / HTTP/1.2", host), either},
	{"HTTP/2.0 in text", h("GET / HTTP/2.0", host), bad},
	{"HTTP/3.0 in text", h("GET / HTTP/3.0", host), bad},
	{"HTTP/01.1", h("GET / HTTP/01.1", host), bad},
	{"lower-case version", h("GET / http/1.1", host), bad},
	{"no version number", h("GET / HTTP/", host), bad},
	{"two spaces after the method", h("GET  / HTTP/1.1", host), bad},
	{"two spaces after the target", h("GET /  HTTP/1.1", host), bad},
	{"tab in the request line", h("GET\t/ HTTP/1.1", host), bad},
	{"space before the method", h(" GET / HTTP/1.1", host), bad},
	{"space in the target", h("GET /a b HTTP/1.1", host), bad},
	{"NUL in the target", h("GET /a\x00 HTTP/1.1", host), bad},
	{"control byte in the target", h("GET /a\x01 HTTP/1.1", host), bad},
	{"GET *", h("GET * HTTP/1.1", host), bad},
	{"target without a slash", h("GET a HTTP/1.1", host), bad},
	{"CONNECT", h("CONNECT a.example:443 HTTP/1.1", host), bad},
	{"bad method", h("G@T / HTTP/1.1", host), bad},
	{"bracket method", h("GET() / HTTP/1.1", host), bad},
	{"bad percent in the path", h("GET /%zz HTTP/1.1", host), bad},
	{"garbage", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", bad},
	{"PRI without its frame", "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", bad},

	// Expect and Upgrade
	{"Expect: 100-continue", h("POST / HTTP/1.1", host, "Content-Length: 3", "Expect: 100-continue") + "abc", one},
	{"Expect in capitals", h("POST / HTTP/1.1", host, "Content-Length: 3", "Expect: 100-CONTINUE") + "abc", one},
	{"unknown Expect", h("POST / HTTP/1.1", host, "Content-Length: 3", "Expect: 200-maybe") + "abc", bad},
	{"Upgrade: h2c", h("GET / HTTP/1.1", host, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"), one},
	{"Upgrade: unknown", h("GET / HTTP/1.1", host, "Connection: Upgrade", "Upgrade: foo"), one},
	{"Upgrade list", h("GET / HTTP/1.1", host, "Connection: Upgrade", "Upgrade: websocket, h2c"), one},
	{"WebSocket by POST", h("POST / HTTP/1.1", host, "Connection: Upgrade", "Upgrade: websocket", "Content-Length: 3") + "abc", one},
	{"WebSocket without Connection", h("GET / HTTP/1.1", host, "Upgrade: websocket"), one},
	{"Connection: close, X-Forwarded-For", h("GET / HTTP/1.1", host, "Connection: close, X-Forwarded-For", "X-Forwarded-For: 6.6.6.6"), one},
	{"Connection: Host", h("GET / HTTP/1.1", host, "Connection: Host"), one},
	{"Connection: Content-Length", h("POST / HTTP/1.1", host, "Connection: Content-Length", "Content-Length: 3") + "abc", one},
	{"Connection: Transfer-Encoding", h("POST / HTTP/1.1", host, "Connection: Transfer-Encoding", "Transfer-Encoding: chunked") + "3\r\nabc\r\n0\r\n\r\n", one},
}

func TestFraming(t *testing.T) {
	t.Logf("%d cases", len(framingCases))
	origin := newStrictOrigin(t)
	w := newWorld(t, Options{})
	w.set(t, Routing{
		Config: release.Embedded{Timeouts: release.Timeouts{Header: patience}}, // what takes no time must not be a matter of it
		Split:  shares(0), Backends: backends("http://"+origin.addr, ""),
	})
	for _, c := range framingCases {
		t.Run(c.name, func(t *testing.T) {
			want := map[framing]int{one: 1, two: 2, either: 1}[c.want]
			statuses := converse(t, w.addr, c.raw, max(want, 1), c.want == waits)
			got, violations := origin.take()
			for _, v := range violations {
				t.Errorf("the origin got %s", v)
			}
			checkFraming(t, c.want, want, statuses, got)
		})
	}
	for _, o := range w.seen.list {
		if o.Outcome == release.Failed {
			t.Errorf("a client's fault counts against version %s: %+v", o.Version, o)
		}
	}
}

func checkFraming(t *testing.T, kind framing, want int, statuses []int, got []strictRequest) {
	for _, s := range statuses {
		if s >= 500 && s != 501 && s != 505 {
			t.Errorf("answered %d", s)
		}
	}
	passed := kind == one || kind == two || (kind == either && len(got) > 0)
	switch {
	case passed && len(got) != want:
		t.Errorf("the origin got %d requests, answers %v: want %d", len(got), statuses, want)
	case passed && (len(statuses) != want || statuses[want-1] != 200):
		t.Errorf("answers %v: want %d times 200", statuses, want)
	case !passed && len(got) > 0:
		t.Errorf("the origin got %+v: want none", got)
	case !passed && len(statuses) > 0 && statuses[0] < 400:
		t.Errorf("answers %v: want a refusal", statuses)
	}
	for _, q := range got {
		if strings.Contains(q.target, "smuggled") {
			t.Errorf("a smuggled request came through: %+v", q)
		}
		for name := range q.header {
			if strings.Contains(name, "_") || name == "upgrade" || name == "http2-settings" {
				t.Errorf("field %s came through", name)
			}
		}
		if f := q.header["x-forwarded-for"]; len(f) != 1 || f[0] != "127.0.0.1" {
			t.Errorf("X-Forwarded-For %q", f)
		}
	}
}

// converse sends raw bytes and returns the statuses of at most n answers.
func converse(t *testing.T, addr, raw string, n int, waits bool) (statuses []int) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	wait := patience
	if waits {
		wait = 50 * time.Millisecond
	}
	c.SetDeadline(time.Now().Add(wait))
	go io.WriteString(c, raw) // a proxy that refuses early need not read all of it
	r := bufio.NewReader(c)
	for len(statuses) < n {
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			return statuses
		}
		io.Copy(io.Discard, res.Body)
		if res.StatusCode != http.StatusContinue {
			statuses = append(statuses, res.StatusCode)
		}
	}
	return statuses
}
