package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
)

// gateClient follows no redirect: a gate answers for itself.
var gateClient = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

const (
	gateTimeout = 10 * time.Second
	gateAnswer  = 1 << 10 // bytes of the answer that are shown
)

// question is the body that a webhook gate gets.
type question struct {
	Run     string `json:"run"`
	Step    int    `json:"step"` // from 0
	Gate    string `json:"gate"`
	Version string `json:"version"`
}

// askWebhook asks a gate by POST; 2xx is yes.
func askWebhook(ctx context.Context, run rollout.Run, g release.Gate) rollout.GateAnswer {
	answer := func(yes bool, format string, args ...any) rollout.GateAnswer {
		return rollout.GateAnswer{Gate: g.Name, Yes: yes, Reason: fmt.Sprintf(format, args...)}
	}
	timeout := g.Timeout
	if timeout == 0 {
		timeout = gateTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	body, err := json.Marshal(question{Run: run.ID, Step: run.Step, Gate: g.Name, Version: run.To.Name})
	if err != nil {
		return answer(false, "the question could not be written: %v", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, g.URL, bytes.NewReader(body))
	if err != nil {
		return answer(false, "it can not be asked: %v", withoutURL(err))
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := gateClient.Do(req)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return answer(false, "it did not answer within %v", timeout)
	case err != nil:
		return answer(false, "it did not answer: %v", withoutURL(err))
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, gateAnswer)) // a cut answer still has its status
	if resp.StatusCode/100 != 2 {
		return answer(false, "it answered %s", oneLine(append([]byte(resp.Status+" "), text...)))
	}
	return answer(true, "it answered %s", resp.Status)
}

// withoutURL is the cause of a failed request: the URL of a gate may hold a secret.
func withoutURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// oneLine makes foreign text fit into a sentence.
func oneLine(text []byte) string {
	return strings.Join(strings.Fields(strings.ToValidUTF8(string(text), "")), " ")
}
