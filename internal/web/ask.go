package web

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/haldane-project/haldane/internal/client"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/store"
)

type askInput struct {
	NamePath
	Body client.Ask
}

func (s *Server) ask(ctx context.Context, in *askInput) (*answer[client.Answer], error) {
	a, err := s.record(ctx, in.Name, in.Body)
	if err != nil {
		return nil, err
	}
	return &answer[client.Answer]{a}, nil
}

// record keeps an intent and waits for what becomes of it.
func (s *Server) record(ctx context.Context, name string, a client.Ask) (client.Answer, error) {
	rec, err := s.o.Store.Get(ctx, name)
	if err != nil {
		return client.Answer{}, s.problem(ctx, "read release "+name, err)
	}
	version, err := versionOf(rec, a.Version)
	if err != nil {
		return client.Answer{}, huma.Error422UnprocessableEntity(err.Error())
	}
	// Watching begins before asking, so that no answer can slip through.
	wait, cancel := context.WithTimeout(ctx, time.Duration(a.WaitSeconds)*time.Second)
	defer cancel()
	changed := s.o.Store.Watch(wait)
	by := sender(ctx).Actor
	id, err := s.o.Store.Ask(ctx, name, rollout.Intent{
		Verb: a.Verb, Run: a.Run, Version: version, By: by.Subject, Reason: a.Reason, At: s.o.Now(),
	}, by)
	if err != nil {
		return client.Answer{}, s.problem(ctx, fmt.Sprintf("ask %s of %s", a.Verb, name), err)
	}
	for {
		got, ok, err := s.o.Store.Answer(ctx, id)
		if err != nil {
			return client.Answer{}, s.problem(ctx, fmt.Sprintf("read the answer to %s of %s", a.Verb, name), err)
		}
		if ok {
			return client.Answer{ID: id, Answered: true, Done: got.Done, Message: got.Message}, nil
		}
		select {
		case <-changed:
		case <-wait.Done():
			return client.Answer{ID: id, Message: "recorded; the controller has not answered yet"}, nil
		case <-s.stopped.Done():
			return client.Answer{ID: id, Message: "recorded; the daemon is stopping and will answer when it runs again"}, nil
		}
	}
}

// versionOf finds a version of a release by name or ID; "" stays "".
func versionOf(rec store.Record, s string) (release.VersionID, error) {
	if s == "" {
		return "", nil
	}
	known := versions(rec)
	var names []string
	for _, v := range known {
		if string(v.ID) == s {
			return v.ID, nil
		}
	}
	for _, v := range known {
		if v.Name == s {
			return v.ID, nil
		}
		names = append(names, v.Name)
	}
	return "", fmt.Errorf("release %s has no version %q; known are: %s", rec.Name, s, strings.Join(names, ", "))
}

// versions lists what is known of a release, newest first, each once.
func versions(rec store.Record) []release.Version {
	var out []release.Version
	add := func(v *release.Version) {
		if v == nil {
			return
		}
		for _, x := range out {
			if x.ID == v.ID {
				return
			}
		}
		out = append(out, *v)
	}
	if run := rec.State.Run; run != nil {
		add(&run.To)
		add(run.From)
	}
	add(rec.State.Stable)
	for i := range rec.State.Earlier {
		add(&rec.State.Earlier[i])
	}
	return out
}
