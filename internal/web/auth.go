package web

import (
	"bufio"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/haldane-project/haldane/internal/store"
)

// Role says how much a token may do; each includes those before it.
type Role int

// The roles: look; ask (pause, promote, abort ...); apply and delete.
const (
	Viewer Role = iota + 1
	Operator
	Author
)

var roleNames = []string{"", "viewer", "operator", "author"}

// String is the role's name.
func (r Role) String() string { return roleNames[r] }

// ParseRole is the inverse of String.
func ParseRole(s string) (Role, error) {
	for i, n := range roleNames {
		if i > 0 && n == s {
			return Role(i), nil
		}
	}
	return 0, fmt.Errorf("role %q: expected viewer (look), operator (also pause, promote, abort) or author (also apply, delete)", s)
}

// Token is an accepted bearer token. Only the hash of its secret is kept.
type Token struct {
	Name string
	Role Role
	Hash [sha256.Size]byte
}

var tokenName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,62}$`)

// NewToken makes a token with a random secret of 256 bits. The secret is not
// kept anywhere: Line is what goes into the token file.
func NewToken(name string, role Role) (secret string, t Token, err error) {
	if !tokenName.MatchString(name) {
		return "", Token{}, fmt.Errorf("token name %q: expected 1 to 63 letters, digits, '.', '_', '@' or '-'", name)
	}
	b := make([]byte, 32)
	_, _ = rand.Read(b)
	secret = "hld_" + base64.RawURLEncoding.EncodeToString(b)
	return secret, Token{Name: name, Role: role, Hash: sha256.Sum256([]byte(secret))}, nil
}

// Line is the token's line in a token file: name, role, SHA-256 of the secret.
func (t Token) Line() string {
	return fmt.Sprintf("%s %s %s", t.Name, t.Role, hex.EncodeToString(t.Hash[:]))
}

// ParseTokens reads a token file: one Line per token, # starts a comment.
func ParseTokens(r io.Reader) ([]Token, error) {
	var out []Token
	sc := bufio.NewScanner(io.LimitReader(r, 1<<20))
	for n := 1; sc.Scan(); n++ {
		line, _, _ := strings.Cut(sc.Text(), "#")
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		t, err := parseToken(f)
		if err != nil {
			return nil, fmt.Errorf("token file, line %d: %w", n, err)
		}
		out = append(out, t)
	}
	return out, sc.Err()
}

func parseToken(f []string) (Token, error) {
	var t Token
	if len(f) != 3 {
		return t, fmt.Errorf("%d words: expected NAME ROLE SHA256, as `haldane token NAME ROLE` writes it", len(f))
	}
	if !tokenName.MatchString(f[0]) {
		return t, fmt.Errorf("name %q: expected 1 to 63 letters, digits, '.', '_', '@' or '-'", f[0])
	}
	role, err := ParseRole(f[1])
	if err != nil {
		return t, err
	}
	h, err := hex.DecodeString(f[2])
	if err != nil || len(h) != sha256.Size {
		return t, fmt.Errorf("hash of %s: expected 64 hex digits, the SHA-256 of the secret", f[0])
	}
	t.Name, t.Role = f[0], role
	copy(t.Hash[:], h)
	return t, nil
}

// person is who sent a request.
type person struct {
	store.Actor
	role    Role
	session string // hash of the session cookie; empty: none
}

const (
	sessionCookie   = "haldane-session"
	sessionLifetime = 12 * time.Hour
	maxSessions     = 1000
	maxAddresses    = 10_000
)

type session struct {
	token   Token
	expires time.Time
}

// authority knows the tokens and sessions.
type authority struct {
	tokens []Token
	local  string // who everyone is without tokens
	now    func() time.Time

	mu       sync.Mutex
	sessions map[string]session // by SHA-256 of the cookie
	tries    map[string]*rate.Limiter
}

func newAuthority(tokens []Token, local string, now func() time.Time) (*authority, error) {
	seen := map[string]bool{}
	for _, t := range tokens {
		if seen[t.Name] {
			return nil, fmt.Errorf("token %s: two tokens have this name, which the audit trail could not tell apart", t.Name)
		}
		if t.Role < Viewer || t.Role > Author || t.Hash == [sha256.Size]byte{} {
			return nil, fmt.Errorf("token %s: expected a role and the SHA-256 of its secret", t.Name)
		}
		seen[t.Name] = true
	}
	return &authority{tokens: tokens, local: local, now: now, sessions: map[string]session{}, tries: map[string]*rate.Limiter{}}, nil
}

// open: nobody needs to say who they are.
func (a *authority) open() bool { return len(a.tokens) == 0 }

// who identifies the sender; ok is false when nobody known sent the request.
func (a *authority) who(r *http.Request) (p person, ok bool) {
	from := address(r)
	if a.open() {
		return person{Actor: store.Actor{Subject: a.local, From: from}, role: Author}, true
	}
	if secret, found := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); found {
		t, ok := a.token(secret)
		return person{Actor: store.Actor{Subject: t.Name, From: from}, role: t.Role}, ok
	}
	c, err := r.Cookie(sessionCookie)
	if err != nil {
		return person{}, false
	}
	id := digest(c.Value)
	a.mu.Lock()
	s, ok := a.sessions[id]
	a.mu.Unlock()
	if !ok || a.now().After(s.expires) {
		return person{}, false
	}
	return person{Actor: store.Actor{Subject: s.token.Name, From: from}, role: s.token.Role, session: id}, true
}

// token finds a secret's token in constant time.
func (a *authority) token(secret string) (Token, bool) {
	sum := sha256.Sum256([]byte(secret))
	found := -1
	for i, t := range a.tokens {
		if subtle.ConstantTimeCompare(sum[:], t.Hash[:]) == 1 {
			found = i
		}
	}
	if found < 0 {
		return Token{}, false
	}
	return a.tokens[found], true
}

// login opens a session and returns its cookie's value.
func (a *authority) login(t Token) string {
	b := make([]byte, 32)
	_, _ = rand.Read(b)
	v := base64.RawURLEncoding.EncodeToString(b)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.forget()
	a.sessions[digest(v)] = session{token: t, expires: a.now().Add(sessionLifetime)}
	return v
}

// forget drops sessions that are over, and the oldest one when there are too many.
func (a *authority) forget() {
	var oldest string
	for id, s := range a.sessions {
		if a.now().After(s.expires) {
			delete(a.sessions, id)
		} else if oldest == "" || s.expires.Before(a.sessions[oldest].expires) {
			oldest = id
		}
	}
	if len(a.sessions) >= maxSessions {
		delete(a.sessions, oldest)
	}
}

func (a *authority) logout(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.sessions, id)
}

// mayTry reports whether an address may try another secret now: ten at once,
// then one in three seconds.
func (a *authority) mayTry(from string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	l := a.tries[from]
	if l == nil {
		if len(a.tries) >= maxAddresses {
			a.tries = map[string]*rate.Limiter{}
		}
		l = rate.NewLimiter(rate.Every(3*time.Second), 10)
		a.tries[from] = l
	}
	return l.AllowN(a.now(), 1)
}

func digest(s string) string {
	h := sha256.Sum256([]byte(s))
	return string(h[:])
}
