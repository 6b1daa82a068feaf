package release

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Feedback is what a user, or a person who knows better, said of one answer.
type Feedback struct {
	ID     string  // of the request (X-Request-Id) or of the answer
	User   uint64  // in place of ID: the last answer to this user (Observation.User); 0: none
	Vote   Vote    // empty: none
	Score  float64 // 0 (bad) to 1
	Scored bool    // Score is set
	Label  string  // what a class should have been; empty: none
	// Regenerated: the user asked the same once more, so that this answer was not
	// what they wanted.
	Regenerated bool
}

// Vote is a thumb.
type Vote string

// The votes.
const (
	VoteUp   Vote = "up"
	VoteDown Vote = "down"
)

// voteRegenerate is how a client says that an answer was regenerated.
const voteRegenerate Vote = "regenerate"

// TakesFeedback says how a release is told of answers.
type TakesFeedback struct {
	Path string        // on the address of the release, by POST
	Keep time.Duration // how long after a request feedback is taken
}

// UnknownAnswer is the error of feedback on an answer that is not known.
type UnknownAnswer struct{ Why string }

// Error implements error.
func (e UnknownAnswer) Error() string { return e.Why }

// TakenFeedback is the error of feedback that differs from what was said before.
type TakenFeedback struct{ Why string }

// Error implements error.
func (e TakenFeedback) Error() string { return e.Why }

// maxSaid bounds the bytes of an id, a session and a label.
const maxSaid = 256

// ParseFeedback reads {"id": ..., "session": ..., "vote": "up", "score": 0.9,
// "label": ...}: an id or a session, and at least one of the others. The vote
// "regenerate" says that the user asked once more.
func ParseFeedback(b []byte) (f Feedback, session string, err error) {
	var in struct {
		ID, Session, Label string
		Vote               Vote
		Score              *float64
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil {
		return f, "", fmt.Errorf(`this is no feedback, expected {"id": "...", "vote": "up", "down" or "regenerate", "score": 0 to 1, "label": "..."}: %w`, err)
	}
	f = Feedback{ID: in.ID, Vote: in.Vote, Label: in.Label}
	if in.Score != nil {
		f.Score, f.Scored = *in.Score, true
	}
	if f.Vote == voteRegenerate {
		f.Vote, f.Regenerated = "", true
	}
	switch {
	case f.Vote != "" && f.Vote != VoteUp && f.Vote != VoteDown:
		err = fmt.Errorf("the vote is %q, expected up, down or regenerate", f.Vote)
	case f.Scored && !(f.Score >= 0 && f.Score <= 1):
		err = fmt.Errorf("the score is %v, expected 0 (bad) to 1", f.Score)
	case f.Vote == "" && !f.Scored && f.Label == "" && !f.Regenerated:
		err = errors.New("nothing is said, expected a vote, a score or a label")
	case f.ID != "" && in.Session != "":
		err = errors.New("an id and a session are named, expected one of them")
	case len(f.ID) > maxSaid || len(in.Session) > maxSaid || len(f.Label) > maxSaid:
		err = fmt.Errorf("an id, a session or a label is too long, expected at most %d bytes", maxSaid)
	}
	return f, in.Session, err
}
