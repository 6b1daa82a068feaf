package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/client"
	"github.com/haldane-project/haldane/internal/status"
	"github.com/haldane-project/haldane/internal/store"
)

// answer is a JSON body.
type answer[T any] struct{ Body T }

// objectMeta is what the API documents of metadata.
type objectMeta struct {
	Name              string            `json:"name"`
	UID               string            `json:"uid,omitempty" readOnly:"true"`
	ResourceVersion   string            `json:"resourceVersion,omitempty" readOnly:"true"`
	Generation        int64             `json:"generation,omitempty" readOnly:"true"`
	CreationTimestamp *time.Time        `json:"creationTimestamp,omitempty" readOnly:"true"`
	Labels            map[string]string `json:"labels,omitempty"`
	Annotations       map[string]string `json:"annotations,omitempty"`
}

// apiRoutes registers the API and writes its OpenAPI document.
func (s *Server) apiRoutes(mux *http.ServeMux) {
	reg := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	reg.RegisterTypeAlias(reflect.TypeFor[metav1.ObjectMeta](), reflect.TypeFor[objectMeta]())
	reg.RegisterTypeAlias(reflect.TypeFor[metav1.Time](), reflect.TypeFor[time.Time]())
	reg.RegisterTypeAlias(reflect.TypeFor[metav1.Duration](), reflect.TypeFor[string]())
	reg.RegisterTypeAlias(reflect.TypeFor[intstr.IntOrString](), reflect.TypeFor[any]())
	cfg := huma.DefaultConfig("Haldane", s.o.Version)
	cfg.Info.Description = "Releases, their runs and what a person can ask of them. Errors are RFC 9457 problems. Roles: viewers read, operators also ask, authors also apply and delete."
	cfg.Components.Schemas = reg
	cfg.Components.SecuritySchemes = map[string]*huma.SecurityScheme{"token": {Type: "http", Scheme: "bearer"}}
	cfg.Security = []map[string][]string{{"token": {}}, {}}
	cfg.OpenAPIPath, cfg.DocsPath, cfg.SchemasPath, cfg.CreateHooks = "", "", "", nil
	cfg.RejectUnknownQueryParameters = true
	api := humago.New(mux, cfg)
	s.releaseRoutes(api)
	s.runRoutes(api)
	s.evidenceRoute(mux, api)
	s.feedbackRoute(api)
	s.watchRoute(mux, api)
	doc, err := json.Marshal(api.OpenAPI())
	if err != nil {
		panic("web: the OpenAPI document does not marshal: " + err.Error())
	}
	s.openapi = doc
	mux.HandleFunc("GET /openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/openapi+json")
		_, _ = w.Write(s.openapi)
	})
}

// NamePath is the release in an address.
type NamePath struct {
	Name string `path:"name" maxLength:"253" doc:"Name of the release."`
}

func (s *Server) releaseRoutes(api huma.API) {
	huma.Register(api, op("list-releases", "GET", "/api/v1/releases", "All releases, by name."), s.listReleases)
	huma.Register(api, op("get-release", "GET", "/api/v1/releases/{name}", "One release with its status.", 404), s.getRelease)
	huma.Register(api, applyOperation(), s.applyRelease)
	del := op("delete-release", "DELETE", "/api/v1/releases/{name}", "Take a release down; it is gone some time later.", 404)
	del.DefaultStatus = http.StatusAccepted
	huma.Register(api, del, s.deleteRelease)
	ask := op("ask", "POST", "/api/v1/releases/{name}/intents", "Ask something of a release: pause, resume, promote, promoteFull, abort, retry, rollback.", 404)
	ask.MaxBodyBytes = maxForm
	huma.Register(api, ask, s.ask)
	huma.Register(api, op("get-logs", "GET", "/api/v1/releases/{name}/logs", "The last output of a release's instances.", 404, 501), s.getLogs)
	s.differenceRoutes(api)
	huma.Register(api, op("get-version", "GET", "/api/v1/version", "The daemon's version."), s.getVersion)
}

func op(id, method, path, summary string, errs ...int) huma.Operation {
	return huma.Operation{OperationID: id, Method: method, Path: path, Summary: summary,
		BodyReadTimeout: -1, // the guard has read the body
		Errors:          append([]int{401, 403}, errs...)}
}

func (s *Server) listReleases(ctx context.Context, _ *struct{}) (*answer[client.List[v1alpha1.Release]], error) {
	recs, err := s.o.Store.List(ctx)
	if err != nil {
		return nil, s.problem(ctx, "list the releases", err)
	}
	out := client.List[v1alpha1.Release]{Items: make([]v1alpha1.Release, 0, len(recs))}
	for _, r := range recs {
		out.Items = append(out.Items, status.Of(r))
	}
	return &answer[client.List[v1alpha1.Release]]{out}, nil
}

func (s *Server) getRelease(ctx context.Context, in *NamePath) (*answer[v1alpha1.Release], error) {
	rec, err := s.o.Store.Get(ctx, in.Name)
	if err != nil {
		return nil, s.problem(ctx, "read release "+in.Name, err)
	}
	return &answer[v1alpha1.Release]{status.Of(rec)}, nil
}

func (s *Server) deleteRelease(ctx context.Context, in *NamePath) (*struct{}, error) {
	if err := s.o.Store.Delete(ctx, in.Name, sender(ctx).Actor, s.o.Now()); err != nil {
		return nil, s.problem(ctx, "delete release "+in.Name, err)
	}
	return nil, nil
}

func (s *Server) getVersion(context.Context, *struct{}) (*answer[client.Version], error) {
	return &answer[client.Version]{client.Version{Version: s.o.Version}}, nil
}

type logsInput struct {
	NamePath
	Version string `query:"version" maxLength:"253" doc:"Name or ID of a version; empty: all."`
}

func (s *Server) getLogs(ctx context.Context, in *logsInput) (*answer[client.Logs], error) {
	text, err := s.logs(ctx, in.Name, in.Version)
	if err != nil {
		return nil, err
	}
	return &answer[client.Logs]{client.Logs{Text: text}}, nil
}

// logs returns the output of a version by name or ID; "" is all.
func (s *Server) logs(ctx context.Context, name, version string) (string, error) {
	if s.o.Logs == nil {
		return "", huma.Error501NotImplemented("this daemon keeps no output of instances")
	}
	rec, err := s.o.Store.Get(ctx, name)
	if err != nil {
		return "", s.problem(ctx, "read release "+name, err)
	}
	id, err := versionOf(rec, version)
	if err != nil {
		return "", huma.Error422UnprocessableEntity(err.Error())
	}
	text, err := s.o.Logs(ctx, name, id)
	if err != nil {
		return "", s.problem(ctx, "read the output of "+name, err)
	}
	return text, nil
}

// problem is the answer to an error of the store or of another port. What is
// the daemon's own fault is logged here, because the answer ends it.
func (s *Server) problem(ctx context.Context, what string, err error) error {
	switch {
	case errors.Is(err, store.ErrNotFound):
		return huma.Error404NotFound(what + ": there is none of that name")
	case errors.Is(err, store.ErrDenied):
		return huma.Error403Forbidden(what + ": " + err.Error())
	case errors.Is(err, store.ErrConflict):
		return huma.Error409Conflict(what + ": " + err.Error())
	case ctx.Err() != nil:
		return huma.Error503ServiceUnavailable(what + ": the request was given up before the answer was there")
	}
	s.o.Log.Error("request failed", "what", what, "error", err)
	return huma.Error500InternalServerError(fmt.Sprintf("%s: %v", what, err))
}

// fail answers before or outside the API's own handlers: a problem for
// programs, a page for people.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, code int, detail string) {
	if isPage(r) {
		s.pages.fail(w, r, code, detail)
		return
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(client.Problem{Status: code, Title: http.StatusText(code), Detail: detail})
}

func (s *Server) notFound(w http.ResponseWriter, r *http.Request) {
	if !safe(r.Method) {
		s.fail(w, r, http.StatusMethodNotAllowed, fmt.Sprintf("nothing takes %s at this address; /openapi.json lists what there is", r.Method))
		return
	}
	s.fail(w, r, http.StatusNotFound, "there is nothing at this address")
}
