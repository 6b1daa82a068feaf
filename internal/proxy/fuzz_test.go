package proxy

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"127.0.0.1:80", "h2c://[::1]:80", "https://a:443/", "http://u@a:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := parseAddress(s)
		if err != nil {
			return
		}
		if b, err := parseAddress(a.String()); err != nil || a != b {
			t.Errorf("%q is %v, which is %v (%v)", s, a, b, err)
		}
	})
}

func FuzzHeader(f *testing.F) {
	f.Add("Connection", "close, X-Forwarded-For", "a=b; haldane=x", "5S")
	f.Fuzz(func(t *testing.T, name, connection, cookie, timeout string) {
		h := http.Header{"Connection": {connection}, "Cookie": {cookie}, "Grpc-Timeout": {timeout}, name: {"v"}}
		if v := cookieValue(h, "haldane"); len(v) > len(cookie) {
			t.Errorf("cookie %q", v)
		}
		if d := grpcTimeout(h); d < 0 || d > 1000*time.Hour {
			t.Errorf("timeout %v of %q", d, timeout)
		}
		cleanRequest(h, false)
		for n := range h {
			if strings.Contains(n, "_") || n == "Connection" || claimsOrigin(n) {
				t.Errorf("%q was kept", n)
			}
		}
	})
}
