package proxy

import (
	"net/http"
	"strings"
)

// admit looks for what is never passed on. It must see the header before it is
// cleaned. refusal, if not empty, says why the request is answered 400.
func admit(r *http.Request) (upgrade bool, refusal string) {
	switch {
	case r.Method == http.MethodConnect:
		return false, "CONNECT is not served here"
	case r.RequestURI == "*" && r.Method != http.MethodOptions:
		return false, "the target * is for OPTIONS only"
	case r.URL.Path != "*" && !strings.HasPrefix(r.URL.Path, "/") && r.URL.Path != "":
		return false, "the target must begin with a slash"
	}
	return isWebSocket(r), ""
}

// isWebSocket reports whether the request asks for the one upgrade that is
// passed on. Every other Upgrade field is dropped and the request goes on
// without it, as RFC 9110, 7.8 allows.
func isWebSocket(r *http.Request) bool {
	u := r.Header["Upgrade"]
	return r.ProtoMajor == 1 && r.Method == http.MethodGet && len(u) == 1 && strings.EqualFold(u[0], "websocket") &&
		hasToken(r.Header["Connection"], "upgrade") && r.Body == http.NoBody
}

func refuse(w http.ResponseWriter, r *http.Request, why string) {
	closeAfter(w, r)
	respondError(w, r, http.StatusBadRequest, why)
}

// closeAfter ends an HTTP/1 connection with this answer: what follows on it
// cannot be trusted to be the next request.
func closeAfter(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor == 1 {
		w.Header().Set("Connection", "close")
	}
}

var (
	upgradeToken   = []string{"Upgrade"}
	websocketToken = []string{"websocket"}
)
