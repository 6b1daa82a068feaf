// Package evaluate is the engine that asks evaluators about a sample of answers:
// an HTTP endpoint, or a model behind an OpenAI-compatible API. An answer is
// asked about alone (is it bad, how good is it?) or beside the other version's answer to the
// same request, in both orders (which is better?). What users and models wrote
// is data to the evaluator, never an instruction, and what the evaluator writes
// counts only where it is the JSON that was asked for. It knows the words of
// package release and no proxy, no run and no statistics. Whatever an evaluator
// does, no request and no release waits for it.
//
// Read this file first, then ask.go (what is said to an evaluator) and
// recorder.go (what becomes evidence).
package evaluate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/haldane-project/haldane/internal/release"
)

// maxVerdict bounds an evaluator's answer.
const maxVerdict = 1 << 20

// errNoVerdict is an answer that is not what was asked for.
var errNoVerdict = errors.New("no verdict")

// verdict is what an evaluator says; one field is set.
type verdict struct {
	Bad    *bool    `json:"bad"`
	Score  *float64 `json:"score"`  // 0 (bad) to 1
	Better string   `json:"better"` // first, second or tie
	Reason string   `json:"reason"` // for people; not used
}

// client asks one evaluator. It follows no redirect: a key must not travel.
var client = &http.Client{
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: 16},
}

// isBad asks about one answer.
func isBad(ctx context.Context, e *release.Evaluator, q subject) (bad bool, cost float64, err error) {
	v, cost, err := ask(ctx, e, q)
	switch {
	case err != nil:
		return false, cost, err
	case v.Bad != nil && v.Score == nil && v.Better == "":
		return *v.Bad, cost, nil
	case v.score():
		return *v.Score < e.Below, cost, nil
	}
	return false, cost, errNoVerdict
}

// scoreOf asks how good one answer is, from 0 to 1.
func scoreOf(ctx context.Context, e *release.Evaluator, q subject) (score, cost float64, err error) {
	v, cost, err := ask(ctx, e, q)
	if err == nil && !v.score() {
		err = errNoVerdict
	}
	if err != nil {
		return 0, cost, err
	}
	return *v.Score, cost, nil
}

// score reports whether the verdict is a score, and nothing else.
func (v *verdict) score() bool {
	return v.Score != nil && v.Bad == nil && v.Better == "" && *v.Score >= 0 && *v.Score <= 1
}

// better asks which of two answers is the better one, in both orders: -1 the
// first, 1 the second, 0 neither. An evaluator that changes its mind with the
// order has none.
func better(ctx context.Context, e *release.Evaluator, q subject) (who int, cost float64, err error) {
	one, cost, err := prefers(ctx, e, q)
	if err != nil {
		return 0, cost, err
	}
	q.First, q.Second = q.Second, q.First
	two, more, err := prefers(ctx, e, q)
	if err != nil {
		return 0, cost + more, err
	}
	if one == -two {
		return one, cost + more, nil
	}
	return 0, cost + more, nil
}

func prefers(ctx context.Context, e *release.Evaluator, q subject) (int, float64, error) {
	v, cost, err := ask(ctx, e, q)
	if err != nil {
		return 0, cost, err
	}
	if v.Bad != nil || v.Score != nil {
		return 0, cost, errNoVerdict
	}
	switch v.Better {
	case "first":
		return -1, cost, nil
	case "second":
		return 1, cost, nil
	case "tie":
		return 0, cost, nil
	}
	return 0, cost, errNoVerdict
}

// ask asks once and reads the answer strictly.
func ask(ctx context.Context, e *release.Evaluator, q subject) (v verdict, cost float64, err error) {
	ctx, cancel := context.WithTimeout(ctx, e.Timeout)
	defer cancel()
	to, body := e.URL, q.endpoint()
	if e.Model != "" {
		to, body = strings.TrimSuffix(e.URL, "/")+"/chat/completions", q.chat(e.Model)
	}
	data, err := send(ctx, to, e.Key, body)
	if err != nil {
		return v, 0, err
	}
	if e.Model != "" {
		var said completion
		if json.Unmarshal(data, &said) != nil || len(said.Choices) == 0 {
			return v, 0, errNoVerdict
		}
		cost = (float64(said.Usage.Input)*e.Price.Input + float64(said.Usage.Output)*e.Price.Output) / 1e6
		data = []byte(said.Choices[0].Message.Content)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if d.Decode(&v) != nil {
		return verdict{}, cost, errNoVerdict
	}
	if _, err := d.Token(); err != io.EOF {
		return verdict{}, cost, errNoVerdict
	}
	return v, cost, nil
}

// completion is what is read of a chat completion.
type completion struct {
	Choices []struct {
		Message struct {
			Content string `json:"content"`
		} `json:"message"`
	} `json:"choices"`
	Usage struct {
		Input  int64 `json:"prompt_tokens"`
		Output int64 `json:"completion_tokens"`
	} `json:"usage"`
}

func send(ctx context.Context, to, key string, body []byte) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	if key != "" {
		secret, err := secretOf(key)
		if err != nil {
			return nil, err
		}
		r.Header.Set("Authorization", "Bearer "+secret)
	}
	res, err := client.Do(r)
	if err != nil {
		if at := (*url.Error)(nil); errors.As(err, &at) {
			err = at.Err // the address may hold what is nobody's business
		}
		return nil, fmt.Errorf("ask the evaluator: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the evaluator answered %s", res.Status)
	}
	data, err := io.ReadAll(io.LimitReader(res.Body, maxVerdict+1))
	if err != nil {
		return nil, fmt.Errorf("read the evaluator's answer: %w", err)
	}
	if len(data) > maxVerdict {
		return nil, errNoVerdict
	}
	return data, nil
}

// secretOf resolves a reference; errors never hold the secret.
func secretOf(ref string) (string, error) {
	kind, name, _ := strings.Cut(ref, ":")
	switch kind {
	case "env":
		if v := os.Getenv(name); v != "" {
			return v, nil
		}
		return "", fmt.Errorf("the evaluator's key: the environment variable %s is not set", name)
	case "file":
		b, err := os.ReadFile(name)
		if err != nil {
			return "", fmt.Errorf("read the evaluator's key: %w", err)
		}
		return strings.TrimSpace(string(b)), nil
	}
	return "", fmt.Errorf("the evaluator's key is no env:NAME or file:/path")
}
