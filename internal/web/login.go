package web

import (
	"net/http"
	"net/url"
	"strings"
)

func (s *Server) loginPage(w http.ResponseWriter, r *http.Request) {
	if _, known := s.auth.who(r); known {
		http.Redirect(w, r, local(r.URL.Query().Get("next")), http.StatusSeeOther)
		return
	}
	s.renderLogin(w, r, http.StatusOK, local(r.URL.Query().Get("next")), "")
}

func (s *Server) renderLogin(w http.ResponseWriter, r *http.Request, code int, next, problem string) {
	s.render(w, r, code, "login", frame{Title: "Log in", Version: s.o.Version,
		Page: map[string]any{"Next": next, "Problem": problem}})
}

func (s *Server) loginForm(w http.ResponseWriter, r *http.Request) {
	if s.auth.open() {
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return
	}
	next := local(r.PostFormValue("next"))
	if !s.auth.mayTry(address(r)) {
		w.Header().Set("Retry-After", "3")
		s.renderLogin(w, r, http.StatusTooManyRequests, next, "Too many tries from this address. Wait a few seconds.")
		return
	}
	t, ok := s.auth.token(strings.TrimSpace(r.PostFormValue("token")))
	if !ok {
		s.o.Log.Warn("login refused", "from", address(r))
		s.renderLogin(w, r, http.StatusUnauthorized, next, "This token is not known here.")
		return
	}
	if old, known := s.auth.who(r); known {
		s.auth.logout(old.session)
	}
	http.SetCookie(w, &http.Cookie{
		Name: sessionCookie, Value: s.auth.login(t), Path: "/", MaxAge: int(sessionLifetime.Seconds()),
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: s.o.TLS,
	})
	http.Redirect(w, r, next, http.StatusSeeOther)
}

func (s *Server) logoutForm(w http.ResponseWriter, r *http.Request) {
	s.auth.logout(sender(r.Context()).session)
	http.SetCookie(w, &http.Cookie{Name: sessionCookie, Path: "/", MaxAge: -1,
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: s.o.TLS})
	http.Redirect(w, r, "/login", http.StatusSeeOther)
}

// local keeps a redirection on this server: a path of its own, or "/".
func local(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil ||
		!strings.HasPrefix(u.Path, "/") || strings.HasPrefix(u.Path, "//") || strings.ContainsAny(next, "\\\r\n\t") {
		return "/"
	}
	return u.RequestURI()
}
