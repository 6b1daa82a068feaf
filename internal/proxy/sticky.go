package proxy

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/haldane-project/haldane/internal/release"
)

// key is a request's sticky key as a hash salted with the split's salt.
type key struct {
	hash   uint64
	cohort uint64 // independent of hash: cohorts do not follow the split
	user   uint64 // the same in every run, where the release takes feedback
	set    bool
}

const (
	maxKey   = 256     // bytes of a sticky key
	maxToken = 8 << 10 // bytes of a bearer token that is looked into
)

// stickyKey finds the key of a request: field of the JSON body, which said is,
// header, JWT claim, cookie, client address, in this order. fresh is a new cookie value that the answer must set.
func (t *Table) stickyKey(r *http.Request, client, said string) (k key, fresh string) {
	s := &t.config.Sticky
	if said != "" {
		return t.keyOf(said), ""
	}
	if s.Header != "" {
		if v := r.Header.Get(s.Header); v != "" && len(v) <= maxKey {
			return t.keyOf(v), ""
		}
	}
	if s.JWT != "" {
		if v := claim(r.Header.Get("Authorization"), s.JWT); v != "" {
			return t.keyOf(v), ""
		}
	}
	if s.Cookie != "" {
		if v := cookieValue(r.Header, s.Cookie); v != "" && len(v) <= maxKey {
			return t.keyOf(v), ""
		}
		fresh = newCookieKey()
		return t.keyOf(fresh), fresh
	}
	if s.Client {
		return t.keyOf(client), ""
	}
	return key{}, ""
}

func (t *Table) keyOf(v string) key {
	h := hashString(t.seed, v)
	k := key{hash: mix(h) | 1, cohort: mix(h ^ 0x9e3779b97f4a7c15), set: true}
	if t.config.Feedback != nil {
		k.user = mix(hashString(userSeed, v)) | 1
	}
	return k
}

// The hash is FNV-1a (Fowler, Noll, Vo) over salt, a zero byte and key, with
// the finaliser of MurmurHash3 (Appleby) so that every bit depends on all of
// the input.
// userSeed is the salt of users as feedback names them: it is no run's, since what
// they say of an answer may come when the next run has begun.
var userSeed = hashSeed(rand.Text())

func hashSeed(salt string) uint64 {
	return hashString(14695981039346656037, salt+"\x00")
}

func hashString(h uint64, s string) uint64 {
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}

func mix(h uint64) uint64 {
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

// newCookieKey returns 128 random bits as text.
func newCookieKey() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// cookieValue finds a cookie without parsing the others.
func cookieValue(h http.Header, name string) string {
	for _, line := range h["Cookie"] {
		for part := range strings.SplitSeq(line, ";") {
			k, v, ok := strings.Cut(strings.Trim(part, " \t"), "=")
			if ok && k == name {
				return strings.Trim(v, `"`)
			}
		}
	}
	return ""
}

// setCookie adds the sticky cookie to an answer.
func setCookie(h http.Header, s release.Sticky, value string, secure bool) {
	c := http.Cookie{
		Name: s.Cookie, Value: value, Path: "/", MaxAge: int(s.TTL / time.Second),
		HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: secure,
	}
	h.Add("Set-Cookie", c.String())
}

// claim reads a claim of a bearer token without verifying the token: the value
// only groups requests.
func claim(authorization, name string) string {
	scheme, token, ok := strings.Cut(authorization, " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") || len(token) > maxToken {
		return ""
	}
	_, rest, ok := strings.Cut(strings.TrimSpace(token), ".")
	if !ok {
		return ""
	}
	payload, _, ok := strings.Cut(rest, ".")
	if !ok {
		return ""
	}
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(payload, "="))
	if err != nil {
		return ""
	}
	var claims map[string]json.RawMessage
	if json.Unmarshal(b, &claims) != nil {
		return ""
	}
	v := string(claims[name])
	var s string
	if json.Unmarshal(claims[name], &s) == nil {
		v = s
	}
	if len(v) > maxKey || v == "null" {
		return ""
	}
	return v
}
