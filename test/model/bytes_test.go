package model

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// exchange sends a request over a socket of its own and returns the answer as
// its bytes say it: status, headers of the server, body, and whether it broke.
type exchange struct {
	status int
	kind   string // Content-Type
	length int64  // -1: chunked
	body   string
	broken bool
}

func raw(t *testing.T, address, method, path, body string) exchange {
	t.Helper()
	c, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(c, "%s %s HTTP/1.1\r\nHost: model.test\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", method, path, len(body), body)
	res, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		return exchange{broken: true}
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return exchange{res.StatusCode, res.Header.Get("Content-Type"), res.ContentLength, string(b), err != nil}
}

const ask = `"model":"ngram","messages":[{"role":"user","content":"What does a canary do in a mine?"}],"seed":1`

var requests = map[string][3]string{
	"chat":             {"POST", "/v1/chat/completions", `{` + ask + `}`},
	"chat, stream":     {"POST", "/v1/chat/completions", `{` + ask + `,"stream":true}`},
	"usage":            {"POST", "/v1/chat/completions", `{` + ask + `,"stream":true,"stream_options":{"include_usage":true}}`},
	"JSON":             {"POST", "/v1/chat/completions", `{` + ask + `,"stream":true,"response_format":{"type":"json_object"}}`},
	"completion":       {"POST", "/v1/completions", `{"model":"ngram","prompt":"Größe 🐤 \ud800 of a","seed":1}`},
	"response":         {"POST", "/v1/responses", `{"model":"ngram","input":"What is coal?","seed":1}`},
	"response, stream": {"POST", "/v1/responses", `{"model":"ngram","input":"What is coal?","seed":1,"stream":true}`},
	"embedding":        {"POST", "/v1/embeddings", `{"model":"ngram","input":["the lamp"]}`},
	"models":           {"GET", "/v1/models", ``},
	"no JSON":          {"POST", "/v1/chat/completions", `{"model"`},
	"no such model":    {"POST", "/v1/completions", `{"model":"none","prompt":"x"}`},
}

// counted is the traffic of models with nothing but facts read, and with the counts
// of tokens asked for.
var counted = []string{"{}", "{usage: true}"}

// What a model says passes the proxy byte for byte, also where it is at fault.
func TestTheProxyChangesNoByte(t *testing.T) {
	for name, fault := range map[string]map[string]string{
		"none": {}, "cut": {"CUT": "1"}, "abort": {"ABORT": "1"}, "error": {"STREAM_ERROR": "1"}, "empty": {"EMPTY": "1"}, "503": {"ERRORS": "1"},
	} {
		for _, model := range counted {
			t.Run(name+" "+model, func(t *testing.T) {
				env := map[string]string{"FIRST_TOKEN": "1ms", "PER_TOKEN": "100us"}
				maps.Copy(env, fault)
				s, d := server(t, env), start(t)
				d.behind(s, model)
				for what, r := range requests {
					want, got := raw(t, s.Listener.Addr().String(), r[0], r[1], r[2]), raw(t, d.front, r[0], r[1], r[2])
					if !strings.Contains(r[2], "include_usage") {
						// A server that is asked for counts says so in every chunk, as OpenAI's does.
						got.body, want.body = strings.ReplaceAll(got.body, `,"usage":null`, ""), strings.ReplaceAll(want.body, `,"usage":null`, "")
					}
					// How much of an answer arrives before its connection breaks is luck, but
					// for its first event, which came long before.
					first, _, events := strings.Cut(want.body, "\n\n")
					if !events {
						first = first[:min(len(first), 1)]
					}
					if want.broken && got.broken && first != "" && strings.HasPrefix(want.body, got.body) && strings.HasPrefix(got.body, first) {
						continue
					}
					if got != want || want.body == "" {
						t.Errorf("%s: straight %+v\nthrough the proxy %+v", what, want, got)
					}
				}
			})
		}
	}
}
