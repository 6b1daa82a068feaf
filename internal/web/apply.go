package web

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/client"
	"github.com/haldane-project/haldane/internal/manifest"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/status"
	"github.com/haldane-project/haldane/internal/store"
)

type applyInput struct {
	NamePath
	DryRun  bool   `query:"dryRun" doc:"Keep nothing; say what would happen."`
	File    string `query:"file" maxLength:"4096" doc:"Name of the manifest's file, for error positions; relative paths in the manifest start at its folder."`
	RawBody []byte `contentType:"application/yaml"`
}

func applyOperation() huma.Operation {
	o := op("apply-release", "PUT", "/api/v1/releases/{name}", "Create or change a release by its manifest. A changed workload starts a run.", 409)
	o.MaxBodyBytes = maxManifest
	o.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
		"application/json": {},
		"application/yaml": {Schema: &huma.Schema{Type: "string", Format: "binary"}},
	}}
	return o
}

func (s *Server) applyRelease(ctx context.Context, in *applyInput) (*answer[client.Applied], error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	obj, rel, err := read(in)
	if err != nil {
		return nil, err
	}
	doc, err := manifest.Canonical(obj)
	if err != nil {
		return nil, s.problem(ctx, "keep the manifest of "+in.Name, err)
	}
	before, err := s.before(ctx, in.Name)
	if err != nil {
		return nil, err
	}
	if before != nil {
		rel.UID, rel.Generation = before.UID, before.Generation
	}
	if s.o.Check != nil {
		if err := s.o.Check(ctx, rel); err != nil {
			return nil, huma.Error422UnprocessableEntity(fmt.Sprintf("this daemon can not serve release %s: %v", in.Name, err))
		}
	}
	if in.DryRun {
		return s.dryRun(ctx, obj, rel, doc, before)
	}
	rec, err := s.o.Store.Apply(ctx, in.Name, doc, sender(ctx).Actor, s.o.Now())
	if err != nil {
		return nil, s.problem(ctx, "apply release "+in.Name, err)
	}
	return &answer[client.Applied]{client.Applied{Release: status.Of(rec), Created: before == nil,
		Changed: before == nil || rec.UID != before.UID || rec.Generation != before.Generation}}, nil
}

// read parses the manifest in the body.
func read(in *applyInput) (v1alpha1.Release, release.Release, error) {
	name := in.File
	if name == "" {
		name = "manifest"
	}
	var opts []manifest.Option
	if filepath.IsAbs(in.File) {
		opts = append(opts, manifest.WithDir(filepath.Dir(in.File)))
	}
	obj, rel, err := manifest.Parse(name, in.RawBody, opts...)
	var problems manifest.Errors
	switch {
	case errors.As(err, &problems):
		return obj, rel, refused(name, problems)
	case err != nil:
		return obj, rel, huma.Error422UnprocessableEntity(err.Error())
	case obj.Name != in.Name:
		return obj, rel, huma.Error422UnprocessableEntity(fmt.Sprintf("the manifest is of release %q, the address of %q; they must be the same", obj.Name, in.Name))
	}
	return obj, rel, nil
}

const maxDetails = 100

func refused(name string, problems manifest.Errors) error {
	details := make([]error, 0, min(len(problems), maxDetails))
	for _, p := range problems[:min(len(problems), maxDetails)] {
		at := p.Path
		if p.Line > 0 {
			at = fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, p.Path)
		}
		text := p.Message
		if p.Hint != "" {
			text += " (" + p.Hint + ")"
		}
		details = append(details, &huma.ErrorDetail{Message: text, Location: at})
	}
	detail := name + " has a problem"
	if len(problems) > 1 {
		detail = fmt.Sprintf("%s has %d problems", name, len(problems))
	}
	return huma.Error422UnprocessableEntity(detail, details...)
}

// before is the record that an apply would change; nil: none.
func (s *Server) before(ctx context.Context, name string) (*store.Record, error) {
	rec, err := s.o.Store.Get(ctx, name)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, s.problem(ctx, "read release "+name, err)
	}
	return &rec, nil
}

func (s *Server) dryRun(ctx context.Context, obj v1alpha1.Release, rel release.Release, doc []byte, before *store.Record) (*answer[client.Applied], error) {
	out := client.Applied{Release: obj, Created: before == nil, Changed: before == nil || !bytes.Equal(doc, before.Manifest)}
	out.Release.Status = v1alpha1.ReleaseStatus{}
	if before != nil {
		if before.Deleting {
			return nil, huma.Error409Conflict("release " + before.Name + " is being deleted; apply again when it is gone")
		}
		out.Release.Status = status.Of(*before).Status
	}
	if s.o.Plan != nil {
		plan, err := s.o.Plan(ctx, rel, before)
		if err != nil {
			return nil, s.problem(ctx, "plan release "+rel.Name, err)
		}
		out.Plan = plan
	}
	return &answer[client.Applied]{out}, nil
}
