package proxy

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/haldane-project/haldane/internal/release"
)

// FeedbackTaker is told what users said of answers. The error is a
// release.UnknownAnswer or a release.TakenFeedback where that is the matter.
type FeedbackTaker interface {
	Feedback(rel string, f release.Feedback, keep time.Duration) error
}

// maxFeedback bounds the bytes of one piece of feedback.
const maxFeedback = 4 << 10

// takesFeedback answers a request that is feedback on the release's answers.
func (p *Proxy) takesFeedback(w http.ResponseWriter, r *http.Request, client string) bool {
	t := p.table.Load()
	to := t.config.Feedback
	if to == nil || p.feedback == nil || r.URL.Path != to.Path {
		return false
	}
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		answerFeedback(w, http.StatusMethodNotAllowed, "feedback is sent by POST")
		return true
	}
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxFeedback))
	if err != nil {
		answerFeedback(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("feedback has at most %d bytes", maxFeedback))
		return true
	}
	f, session, err := release.ParseFeedback(b)
	if err != nil {
		answerFeedback(w, http.StatusBadRequest, err.Error())
		return true
	}
	if f.ID == "" && session == "" {
		if k, _ := t.stickyKey(r, client, ""); k.set {
			f.User = k.user
		}
	}
	err = p.Feedback(f, session)
	switch {
	case err == nil:
		w.WriteHeader(http.StatusNoContent)
	case errors.As(err, new(release.UnknownAnswer)):
		answerFeedback(w, http.StatusNotFound, err.Error())
	case errors.As(err, new(release.TakenFeedback)):
		answerFeedback(w, http.StatusConflict, err.Error())
	default:
		answerFeedback(w, http.StatusBadRequest, err.Error())
	}
	return true
}

// Feedback takes what was said of an answer: that of its ID, or the last one to
// the user of a session, the value of the sticky key. The error is a
// release.UnknownAnswer or a release.TakenFeedback where that is the matter.
func (p *Proxy) Feedback(f release.Feedback, session string) error {
	t := p.table.Load()
	to := t.config.Feedback
	if to == nil || p.feedback == nil {
		return fmt.Errorf("release %s takes no feedback; set spec.traffic.embedded.feedback", p.name)
	}
	if session != "" {
		f.User = t.keyOf(session).user
	}
	if f.ID == "" && (f.User == 0 || !t.config.Sticky.Enabled()) {
		return errors.New("feedback names the answer: id, its X-Request-Id or the id that it gives itself; or session, where traffic is sticky")
	}
	return p.feedback.Feedback(p.name, f, to.Keep)
}

func answerFeedback(w http.ResponseWriter, status int, why string) {
	b, _ := json.Marshal(map[string]string{"error": why}) // cannot fail
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // to a client that is gone
}

// maxRequestID bounds the bytes of an id that feedback can name.
const maxRequestID = 128

// requestID is the id of a request of a release that takes feedback; empty: it
// takes none.
func (x *exchange) requestID() string {
	if x.table.config.Feedback == nil {
		return ""
	}
	if ids := x.r.Header["X-Request-Id"]; len(ids) == 1 && len(ids[0]) <= maxRequestID {
		return ids[0]
	}
	return ""
}
