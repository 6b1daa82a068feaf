package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/compare"
	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/rollout"
)

// List is every list of the API.
type List[T any] struct {
	Items []T `json:"items"`
}

// ApplyOptions of Apply.
type ApplyOptions struct {
	DryRun bool   // nothing is kept; the answer says what would happen
	File   string // name of the manifest's file: stands in error positions, and relative paths of the manifest start at its folder
}

// Applied is the answer to an apply.
type Applied struct {
	Release v1alpha1.Release `json:"release"`
	Changed bool             `json:"changed" doc:"Whether the manifest differs from the one kept before."`
	Created bool             `json:"created" doc:"Whether there was no such release before."`
	Plan    []string         `json:"plan,omitempty" doc:"Dry run: what would happen, one sentence each."`
}

// Ask is what a person asks of a release.
type Ask struct {
	Verb        rollout.Verb `json:"verb" enum:"pause,resume,promote,promoteFull,abort,retry,rollback" doc:"What is asked."`
	Run         string       `json:"run,omitempty" maxLength:"253" doc:"Meant for this run only; empty for the current one."`
	Version     string       `json:"version,omitempty" maxLength:"253" doc:"Rollback: name or ID of the version to go back to; empty for the last earlier one."`
	Reason      string       `json:"reason,omitempty" maxLength:"1000" doc:"Why, for the history."`
	WaitSeconds int          `json:"waitSeconds,omitempty" minimum:"0" maximum:"60" doc:"Longest time to wait for the answer."`
}

// Answer is what became of an intent.
type Answer struct {
	ID       int64  `json:"id"`
	Answered bool   `json:"answered" doc:"Whether the controller has answered already."`
	Done     bool   `json:"done" doc:"Whether it was done."`
	Message  string `json:"message" doc:"What was done, or why not."`
}

// Logs are the last lines of instances.
type Logs struct {
	Text string `json:"text"`
}

// Version of a daemon.
type Version struct {
	Version string `json:"version"`
}

// Problem is an error answer, RFC 9457.
type Problem struct {
	Status int             `json:"status"`
	Title  string          `json:"title"`
	Detail string          `json:"detail"`
	Errors []ProblemDetail `json:"errors,omitempty"`
}

// ProblemDetail is one of several errors. Location is a field path, with the
// position in the manifest in front where it is known.
type ProblemDetail struct {
	Message  string `json:"message"`
	Location string `json:"location,omitempty"`
}

// Error is the detail, and every single error on a line of its own.
func (p *Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.Detail)
	if p.Detail == "" {
		fmt.Fprintf(&b, "%d %s", p.Status, p.Title)
	}
	for _, e := range p.Errors {
		b.WriteString("\n")
		if e.Location != "" {
			b.WriteString(e.Location + ": ")
		}
		b.WriteString(e.Message)
	}
	return b.String()
}

// Unreachable says that nothing listens where the daemon should be.
type Unreachable struct {
	Server string
	Err    error
}

func (u *Unreachable) Error() string {
	return fmt.Sprintf("no Haldane daemon answers at %s (%v): start one with `haldane serve`, or name another with --server", u.Server, u.Err)
}

// Unwrap returns the network's error.
func (u *Unreachable) Unwrap() error { return u.Err }

// IsNotFound reports whether the server knows no such thing.
func IsNotFound(err error) bool { return hasStatus(err, http.StatusNotFound) }

// IsUnauthorized reports whether a token is missing, wrong or has too small a role.
func IsUnauthorized(err error) bool {
	return hasStatus(err, http.StatusUnauthorized) || hasStatus(err, http.StatusForbidden)
}

// IsInvalid reports whether the manifest or another input was refused.
func IsInvalid(err error) bool {
	return hasStatus(err, http.StatusUnprocessableEntity) || hasStatus(err, http.StatusBadRequest)
}

func hasStatus(err error, status int) bool {
	var p *Problem
	return errors.As(err, &p) && p.Status == status
}

func problem(resp *http.Response, data []byte) error {
	p := &Problem{Status: resp.StatusCode, Title: http.StatusText(resp.StatusCode)}
	if !strings.HasPrefix(resp.Header.Get("Content-Type"), "application/problem+json") || json.Unmarshal(data, p) != nil {
		p.Detail = fmt.Sprintf("%s answered %s %s with %s", resp.Request.URL.Host, resp.Request.Method, resp.Request.URL.Path, resp.Status)
	}
	p.Status = resp.StatusCode
	return p
}

// Differences is what was found when requests were copied to a new version.
type Differences struct {
	compare.Report
	Dropped int64 `json:"dropped"` // copies that were not made, for want of budget
}

// Record is the judge's realised false alarms, over all runs that compared
// stable with itself.
type Record struct {
	judge.Record
	Rate         *judge.Interval `json:"rate,omitempty"` // share of alarms; nil: no run yet
	Contradicted bool            `json:"contradicted"`   // the interval lies above what was stated
	Message      string          `json:"message"`        // in words
}
