package interop

import (
	"encoding/xml"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/haldane-project/haldane/internal/proxy"
	"github.com/haldane-project/haldane/internal/release"
)

// allowed are the cases of h2spec in which the standard library's HTTP/2
// differs from RFC 7540 on purpose: it answers 400 where the RFC wants a stream
// error (8.1.2.2, which RFC 9113, 8.1.1 allows), closes on duplicate settings
// (6.5.3) and takes a header frame over the size (4.2).
var allowed = []string{"http2/8.1.2.2", "http2/6.5.3", "http2/4.2"}

// TestH2Spec runs the h2spec program, whose path is in HALDANE_H2SPEC:
//
//	(cd test/tools && go build -o ../../bin/h2spec github.com/summerwind/h2spec/cmd/h2spec)
//	HALDANE_H2SPEC=$PWD/bin/h2spec go test -run H2Spec -v ./test/interop
func TestH2Spec(t *testing.T) {
	program := os.Getenv("HALDANE_H2SPEC")
	if program == "" {
		t.Skip("skipped: HALDANE_H2SPEC names no h2spec program")
	}
	back := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(make([]byte, 128)) }))
	defer back.Close()
	certs := newCertificate(t)
	for name, c := range map[string]struct {
		tls     *release.TLS
		args    []string
		allowed []string
	}{
		"h2c": {nil, nil, append(slices.Clone(allowed), "http2/3.5")}, // closes on a bad preface after an HTTP/1 answer
		"tls": {&certs.files, []string{"-t", "-k"}, allowed},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{}
			w.proxy = proxy.New(proxy.Options{Name: "h2spec"})
			w.routing = proxy.Routing{
				Config: release.Embedded{TLS: c.tls}, Split: split(0),
				Backends: []release.Backend{{Version: "a", Addresses: []string{back.URL}}},
			}
			w.listen(t)
			_, port, err := net.SplitHostPort(w.address)
			if err != nil {
				t.Fatal(err)
			}
			report := filepath.Join(t.TempDir(), "report.xml")
			args := append([]string{"-h", "127.0.0.1", "-p", port, "-o", "3", "-j", report}, c.args...)
			out, err := exec.Command(program, args...).CombinedOutput()
			if failed := (*exec.ExitError)(nil); err != nil && !errors.As(err, &failed) {
				t.Fatal(err)
			}
			checkReport(t, report, c.allowed, out)
		})
	}
}

func checkReport(t *testing.T, file string, allowed []string, out []byte) {
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var report struct {
		Suites []struct {
			Cases []struct {
				Package string  `xml:"package,attr"`
				Name    string  `xml:"classname,attr"`
				Failure *string `xml:"failure"`
				Error   *string `xml:"error"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(b, &report); err != nil {
		t.Fatal(err)
	}
	total, failed := 0, 0
	for _, s := range report.Suites {
		for _, c := range s.Cases {
			total++
			if c.Failure == nil && c.Error == nil {
				continue
			}
			failed++
			if !slices.Contains(allowed, c.Package) {
				t.Errorf("%s %s", c.Package, c.Name)
			}
		}
	}
	if total < 100 {
		t.Errorf("h2spec ran %d cases only: %s", total, strings.TrimSpace(string(out)))
	}
	if failed > len(allowed)+1 { // 8.1.2.2 has two cases
		t.Errorf("%d cases failed: more than are allowed", failed)
	}
	t.Logf("%d cases, %d failed, all among those allowed: %v", total, failed, !t.Failed())
}
