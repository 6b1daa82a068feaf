package kube

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/store"
)

// What is asked is an annotation: intent.haldane.dev/NUMBER with the intent as
// JSON, as the command line writes it, or by hand
//
//	kubectl annotate hrel hello haldane.dev/promote=hello-7
//
// with the run that is meant, so that what stays in a file can not hit the next
// run; for pause and abort, which only lower the new version's share, any value
// means the current run, and for rollback the value is the version to go back to.
// The second form is turned into the first in one write, which gives it a number,
// so that it is answered once. Whoever may patch a Release may ask.
const (
	askPrefix  = "intent.haldane.dev/"
	maxWaiting = 100
)

var byHand = map[string]rollout.Verb{
	"haldane.dev/pause": rollout.AskPause, "haldane.dev/resume": rollout.AskResume,
	"haldane.dev/promote": rollout.AskPromote, "haldane.dev/promote-full": rollout.AskPromoteFull,
	"haldane.dev/abort": rollout.AskAbort, "haldane.dev/retry": rollout.AskRetry,
	"haldane.dev/rollback": rollout.AskRollback,
}

// asks reports whether an annotation asks something.
func asks(annotation string) bool {
	return strings.HasPrefix(annotation, askPrefix) || byHand[annotation] != ""
}

// number is the ID of an intent by its annotation.
func number(annotation string) int64 {
	text := strings.TrimPrefix(annotation, askPrefix)
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && n > 0 {
		return n
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(text)) // never fails
	return int64(h.Sum64() >> 1) //nolint:gosec // 63 bits
}

// Ask implements store.Store: one patch, which moves nothing that a pass saves.
func (s *Store) Ask(ctx context.Context, name string, i rollout.Intent, _ store.Actor) (int64, error) {
	key := s.key(name)
	obj, err := s.read(ctx, key)
	if err != nil {
		return 0, err
	}
	if n := len(waiting(obj)); n >= maxWaiting {
		return 0, fmt.Errorf("release %q has %d requests that wait for an answer; try again when they have one", name, n)
	}
	i.ID, i.Run = s.newID(), shortID(key.Namespace, i.Run)
	text, err := json.Marshal(i)
	if err != nil {
		return 0, err
	}
	_, err = s.patch(ctx, obj, map[string]any{"metadata": map[string]any{"annotations": map[string]any{askPrefix + strconv.FormatInt(i.ID, 10): string(text)}}})
	if err != nil {
		return 0, wrap(err, "ask %s of Release %s", i.Verb, key)
	}
	s.mu.Lock()
	s.asked[i.ID] = key
	s.mu.Unlock()
	s.Tell(key)
	return i.ID, nil
}

// Intents implements store.Store.
func (s *Store) Intents(ctx context.Context, name string) ([]rollout.Intent, error) {
	key := s.key(name)
	obj, err := s.read(ctx, key)
	if err != nil {
		return nil, err
	}
	if obj, err = s.numbered(ctx, obj); err != nil {
		return nil, err
	}
	out := waiting(obj)
	if !s.options.Short {
		for i := range out {
			if out[i].Run != "" {
				out[i].Run = key.Namespace + "/" + out[i].Run
			}
		}
	}
	return out, nil
}

// waiting are the intents without an answer, oldest first.
func waiting(obj *v1alpha1.Release) []rollout.Intent {
	var out []rollout.Intent
	for k, v := range obj.Annotations {
		id := number(k)
		if !strings.HasPrefix(k, askPrefix) || answered(obj, id) != nil {
			continue
		}
		var i rollout.Intent
		if err := json.Unmarshal([]byte(v), &i); err != nil {
			i = rollout.Intent{Verb: rollout.Verb(v[:min(len(v), 40)])} // answered as unknown
		}
		i.ID = id
		out = append(out, i)
	}
	slices.SortFunc(out, func(a, b rollout.Intent) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.ID, b.ID))
	})
	return out
}

var runName = regexp.MustCompile(`-[0-9]+$`)

// numbered turns annotations by hand into intents with a number, in one write
// that fails if the object moved.
func (s *Store) numbered(ctx context.Context, obj *v1alpha1.Release) (*v1alpha1.Release, error) {
	change := map[string]any{}
	for k, v := range obj.Annotations {
		verb, ok := byHand[k]
		if !ok {
			continue
		}
		i := rollout.Intent{ID: s.newID(), Verb: verb, Run: v, By: "annotation", At: s.options.Now().UTC()}
		lowers := verb == rollout.AskPause || verb == rollout.AskAbort
		switch {
		case verb == rollout.AskRollback:
			i.Run, i.Version = "", s.versionNamed(obj, v)
		case lowers && (!strings.HasPrefix(v, obj.Name+"-") || !runName.MatchString(v)):
			i.Run = ""
		case v == "":
			i.Run = "none" // answered with the name of the run that there is
		}
		text, err := json.Marshal(i)
		if err != nil {
			return nil, err
		}
		change[k], change[askPrefix+strconv.FormatInt(i.ID, 10)] = nil, string(text)
	}
	if len(change) == 0 {
		return obj, nil
	}
	next, err := s.patch(ctx, obj, map[string]any{"metadata": map[string]any{"resourceVersion": obj.ResourceVersion, "annotations": change}})
	if err != nil {
		return nil, wrap(err, "number what is asked of Release %s/%s", obj.Namespace, obj.Name)
	}
	return next, nil
}

// versionNamed is the ID of an earlier version by its name or ID.
func (s *Store) versionNamed(obj *v1alpha1.Release, name string) release.VersionID {
	if d, err := s.decode(obj); err == nil {
		for _, v := range d.internal.State.Earlier {
			if v.Name == name {
				return v.ID
			}
		}
	}
	return release.VersionID(name)
}

// answered finds the answer to an intent in the status.
func answered(obj *v1alpha1.Release, id int64) *v1alpha1.AnswerStatus {
	for i := range obj.Status.Answers {
		if obj.Status.Answers[i].ID == id {
			return &obj.Status.Answers[i]
		}
	}
	return nil
}

// answers are the newest answers after a save, and all whose question still
// stands in an annotation, so that none is answered twice.
func answers(obj *v1alpha1.Release, in store.Save, now time.Time) []v1alpha1.AnswerStatus {
	out := slices.Clone(obj.Status.Answers)
	open := map[int64]rollout.Intent{}
	for _, i := range waiting(obj) {
		open[i.ID] = i
	}
	for _, a := range in.Consumed {
		i, ok := open[a.ID]
		if !ok {
			i.At = now
		}
		out = append(out, v1alpha1.AnswerStatus{ID: a.ID, Asked: string(i.Verb), By: i.By, Reason: i.Reason,
			At: metav1.NewMicroTime(i.At), Done: a.Done, Message: a.Message})
	}
	stands := map[int64]bool{}
	for k := range obj.Annotations {
		stands[number(k)] = true
	}
	var kept []v1alpha1.AnswerStatus
	for n, a := range out {
		if len(out)-n <= keepAnswers || stands[a.ID] {
			kept = append(kept, a)
		}
	}
	return kept
}

// consumed takes answered questions away. What can not be taken away stays
// answered and goes with the next answer.
func (s *Store) consumed(ctx context.Context, obj *v1alpha1.Release) {
	gone := map[string]any{}
	for k := range obj.Annotations {
		if strings.HasPrefix(k, askPrefix) && answered(obj, number(k)) != nil {
			gone[k] = nil
		}
	}
	if len(gone) == 0 {
		return
	}
	if _, err := s.patch(ctx, obj, map[string]any{"metadata": map[string]any{"annotations": gone}}); err != nil && !apierrors.IsNotFound(err) {
		s.options.Log.Warn("answered requests could not be taken off the Release", "release", s.name(client.ObjectKeyFromObject(obj)), "error", err)
	}
}

// Answer implements store.Store.
func (s *Store) Answer(ctx context.Context, id int64) (rollout.IntentAnswer, bool, error) {
	s.mu.Lock()
	key, known := s.asked[id]
	s.mu.Unlock()
	if known {
		obj, err := s.read(ctx, key)
		if errors.Is(err, store.ErrNotFound) {
			return rollout.IntentAnswer{ID: id, Message: "the release was deleted"}, true, nil
		}
		if err != nil {
			return rollout.IntentAnswer{}, false, err
		}
		return answerIn(obj, id)
	}
	objs, err := s.list(ctx)
	if err != nil {
		return rollout.IntentAnswer{}, false, err
	}
	for i := range objs {
		if a, ok, err := answerIn(&objs[i], id); err == nil {
			return a, ok, nil
		}
	}
	return rollout.IntentAnswer{}, false, fmt.Errorf("request %d: %w", id, store.ErrNotFound)
}

// answerIn looks for an intent in one object.
func answerIn(obj *v1alpha1.Release, id int64) (rollout.IntentAnswer, bool, error) {
	if a := answered(obj, id); a != nil {
		return rollout.IntentAnswer{ID: id, Done: a.Done, Message: a.Message}, true, nil
	}
	for k := range obj.Annotations {
		if strings.HasPrefix(k, askPrefix) && number(k) == id {
			return rollout.IntentAnswer{}, false, nil
		}
	}
	return rollout.IntentAnswer{}, false, fmt.Errorf("request %d: %w", id, store.ErrNotFound)
}
