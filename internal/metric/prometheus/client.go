package prometheus

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// Auth says how requests are authenticated: bearer token, or user and
// password, or not at all. Secrets are named, never written down: "env:NAME" is
// an environment variable, "file:/path" a file, "secret:NAME/KEY" what
// Options.Secret knows; they are read for every request, so that a changed
// secret counts at once.
type Auth struct {
	BearerFrom   string
	User         string
	PasswordFrom string
}

// TLS of the connection: where PEM blocks stand, named as secrets are. Empty
// fields mean the system's authorities and no certificate of our own.
type TLS struct {
	CAFrom, CertFrom, KeyFrom string
}

// maxAnswer bounds an answer.
const maxAnswer = 16 << 20

// client asks one server.
type client struct {
	base    *url.URL
	auth    Auth
	http    *http.Client
	timeout time.Duration
	stale   time.Duration
	secrets secrets
}

// secrets looks up what "secret:NAME/KEY" names; nil: nothing does.
type secrets func(name, key string) (string, error)

func newClient(o Options) (*client, error) {
	u, err := url.Parse(o.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, errors.New("expected a URL such as http://127.0.0.1:9090")
	}
	if u.User != nil {
		return nil, errors.New("credentials in the URL would be shown and logged: name them by auth (env:NAME or file:/path)")
	}
	c := &client{base: u, auth: o.Auth, timeout: o.Timeout, stale: o.Stale, secrets: o.Secret}
	if _, err := c.authorization(); err != nil {
		return nil, err
	}
	secure, err := o.TLS.config(c.secrets)
	if err != nil {
		return nil, err
	}
	transport := o.Transport
	if transport == nil {
		transport = &http.Transport{
			TLSClientConfig: secure, MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute,
			ResponseHeaderTimeout: o.Timeout, TLSHandshakeTimeout: o.Timeout, MaxResponseHeaderBytes: 64 << 10,
		}
	}
	// A redirect could take the credentials elsewhere.
	c.http = &http.Client{Transport: transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return c, nil
}

// Inside is a transport to a handler of this process, so that a store which
// serves the same API is read the same way.
func Inside(h http.Handler) http.RoundTripper { return inside{h} }

type inside struct{ http.Handler }

// RoundTrip implements http.RoundTripper.
func (h inside) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result(), r.Context().Err()
}

func (t TLS) config(from secrets) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if t.CAFrom != "" {
		pem, err := from.read(t.CAFrom)
		if err != nil {
			return nil, fmt.Errorf("the certificate authorities: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM([]byte(pem)) {
			return nil, fmt.Errorf("%s has no certificate in PEM form", t.CAFrom)
		}
	}
	if t.CertFrom != "" {
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			cert, err := from.read(t.CertFrom)
			if err != nil {
				return nil, err
			}
			key, err := from.read(t.KeyFrom)
			if err != nil {
				return nil, err
			}
			pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
			return &pair, err
		}
	}
	return c, nil
}

// authorization gives the header's value; empty: none.
func (c *client) authorization() (string, error) {
	switch {
	case c.auth.BearerFrom != "":
		token, err := c.secrets.read(c.auth.BearerFrom)
		return "Bearer " + token, err
	case c.auth.PasswordFrom != "":
		password, err := c.secrets.read(c.auth.PasswordFrom)
		r := http.Request{Header: http.Header{}}
		r.SetBasicAuth(c.auth.User, password)
		return r.Header.Get("Authorization"), err
	}
	return "", nil
}

// read gives what a reference names. Errors tell the reference, never the secret.
func (look secrets) read(ref string) (string, error) {
	if name, ok := strings.CutPrefix(ref, "env:"); ok {
		if v := os.Getenv(name); v != "" {
			return v, nil
		}
		return "", fmt.Errorf("the environment variable %s is empty or not set", name)
	}
	if path, ok := strings.CutPrefix(ref, "file:"); ok {
		b, err := os.ReadFile(path)
		if err != nil {
			return "", fmt.Errorf("read a secret: %w", err)
		}
		return strings.TrimSpace(string(b)), nil
	}
	if named, ok := strings.CutPrefix(ref, "secret:"); ok && look != nil {
		name, key, _ := strings.Cut(named, "/")
		v, err := look(name, key)
		return strings.TrimSpace(v), err
	}
	return "", errors.New("a secret is named as env:NAME, file:/path or, on Kubernetes, secret:NAME/KEY")
}

// query evaluates PromQL at one time.
func (c *client) query(ctx context.Context, promql string, at time.Time) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	form := url.Values{
		"query": {promql}, "time": {strconv.FormatFloat(float64(at.UnixMilli())/1000, 'f', 3, 64)},
		"timeout": {c.timeout.String()}, "lookback_delta": {strconv.FormatFloat(c.stale.Seconds(), 'f', -1, 64)},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base.JoinPath("api/v1/query").String(), strings.NewReader(form.Encode()))
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if value, err := c.authorization(); err != nil {
		return answer{}, err
	} else if value != "" {
		req.Header.Set("Authorization", value)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return answer{}, unreachable(err, c.timeout)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return answer{}, unreachable(err, c.timeout)
	case len(body) > maxAnswer:
		return answer{}, fmt.Errorf("the Prometheus server answered with more than %d MiB: make the query select less", maxAnswer>>20)
	}
	return decode(resp.StatusCode, body)
}

// unreachable says in words why there is no answer.
func unreachable(err error, timeout time.Duration) error {
	if errors.Is(err, context.DeadlineExceeded) || os.IsTimeout(err) {
		return fmt.Errorf("the Prometheus server did not answer within %s", timeout)
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return fmt.Errorf("the Prometheus server cannot be reached: %w", err)
}

// redacted is a URL without what may be secret in it.
func redacted(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "its URL"
	}
	u.RawQuery = ""
	return u.Redacted()
}
