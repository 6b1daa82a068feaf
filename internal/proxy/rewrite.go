package proxy

import (
	"net/http"
	"strings"

	"github.com/haldane-project/haldane/internal/release"
)

// maxJSON bounds a request body whose fields are rewritten.
const maxJSON = 16 << 20

// rewrite is a compiled release.Rewrite.
type rewrite struct{ *release.Rewriter }

func compileRewrite(r *release.Rewrite) (*rewrite, error) {
	if r == nil {
		return nil, nil
	}
	c, err := release.NewRewriter(r)
	if err != nil {
		return nil, err
	}
	return &rewrite{c}, nil
}

// apply changes a request on its way to the version; the client's header map is
// left as it is, for another try may need it.
func (c *rewrite) apply(out *http.Request) {
	if c.Prefix != "" {
		u := out.URL
		if u.Opaque != "" {
			u.Opaque = c.Prefix + u.Opaque
		}
		if u.RawPath != "" {
			u.RawPath = c.Prefix + u.RawPath
		}
		u.Path = c.Prefix + u.Path
	}
	if len(c.Set)+len(c.Remove) > 0 {
		out.Header = out.Header.Clone()
		for _, name := range c.Remove {
			delete(out.Header, name)
		}
		for _, v := range c.Set {
			if v.Name == "Host" {
				out.Host = v.Value
				continue
			}
			out.Header[v.Name] = []string{v.Value}
		}
	}
}

// edits reports whether it changes bodies.
func (c *rewrite) edits() bool { return c != nil && c.EditsBody() }

// rewritesBody reports whether the body of this request is to be changed.
func (c *rewrite) rewritesBody(r *http.Request) bool { return c.edits() && unreadable(r) == "" }

// unreadable says why the body of a request can not be rewritten by anyone.
func unreadable(r *http.Request) release.Unfit {
	if r.Header.Get("Content-Encoding") != "" {
		return release.UnfitCompressed
	}
	kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	kind = strings.ToLower(strings.TrimSpace(kind))
	if kind != "application/json" && !strings.HasSuffix(kind, "+json") {
		return release.UnfitNotJSON
	}
	return ""
}

// unfit says why it can not be applied to a request, whole.
func (c *rewrite) unfit(r *http.Request) release.Unfit {
	if why := unreadable(r); why != "" {
		return why
	}
	switch path := r.URL.Path; {
	case r.ContentLength > maxJSON:
		return release.UnfitTooLarge
	case !c.SetsSystem(), strings.HasSuffix(path, "/chat/completions"):
	case strings.HasSuffix(path, "/completions"), strings.HasSuffix(path, "/embeddings"):
		return release.UnfitNoPrompt
	}
	return ""
}

// unfit says why some version's rewrite can not be applied to a request. It does
// not ask which version was drawn, so that what is left out of the comparison is
// left out of both sides.
func (t *Table) unfit(r *http.Request) release.Unfit {
	if r.Body == nil || r.Body == http.NoBody {
		return ""
	}
	for _, c := range t.editing {
		if why := c.unfit(r); why != "" {
			return why
		}
	}
	return ""
}

// checkFit leaves a request out of the comparison that a rewrite does not fit.
func (x *exchange) checkFit() {
	if x.pick.route != release.BySplit {
		return
	}
	if x.unfit = x.table.unfit(x.r); x.unfit != "" {
		x.pick.route = release.ByOriginal
	}
}

// outgrown notes that a request turned out to be too large to be rewritten.
func (x *exchange) outgrown(o *release.Observation) {
	if o.Route == release.BySplit && len(x.table.editing) > 0 && o.In > maxJSON {
		o.Route, o.Unfit = release.ByOriginal, release.UnfitTooLarge
	}
}
