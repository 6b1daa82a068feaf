package web

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/haldane-project/haldane/internal/client"
	"github.com/haldane-project/haldane/internal/compare"
	"github.com/haldane-project/haldane/internal/release"
)

// browser starts a headless Chromium. Tests with it run when HALDANE_E2E is
// set (`make e2e`); then a missing browser fails them under CI.
func browser(t *testing.T) context.Context {
	t.Helper()
	if os.Getenv("HALDANE_E2E") == "" {
		t.Skip("browser tests run with HALDANE_E2E=1 (make e2e)")
	}
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			path = p
			break
		}
	}
	if path == "" && os.Getenv("CI") != "" {
		t.Fatal("no Chromium on this machine: install the package chromium")
	}
	if path == "" {
		t.Skip("no Chromium on this machine: install the package chromium")
	}
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.WindowSize(1280, 900))
	alloc, cancel := chromedp.NewExecAllocator(context.Background(), opts...)
	t.Cleanup(cancel)
	ctx, cancel := chromedp.NewContext(alloc)
	t.Cleanup(cancel)
	return ctx
}

// TestScreens opens every page at two widths and in both colour schemes. With
// HALDANE_SCREENS=DIR it keeps the pictures.
func TestScreens(t *testing.T) {
	ctx := browser(t)
	m := newMemory()
	_, empty := start(t, newMemory(), nil)
	_, srv := start(t, m, func(o *Options) {
		o.Rates = busy
		o.Logs = func(context.Context, string, release.VersionID) (string, error) {
			return strings.Repeat("10:14:59 GET /hello 200 12 ms\n", 40), nil
		}
		o.Differences = differing
	})
	_, closed := start(t, m, func(o *Options) { o.Tokens = []Token{{Name: "ada", Role: Author, Hash: [32]byte{1}}} })
	showcase(m)
	for _, p := range []struct{ name, url string }{
		{"empty", empty.URL + "/"}, {"releases", srv.URL + "/"}, {"release", srv.URL + "/releases/hello"}, {"idle", srv.URL + "/releases/search"},
		{"run", srv.URL + "/runs/hello-3"}, {"ask", srv.URL + "/releases/hello/ask?verb=abort"}, {"audit", srv.URL + "/audit"}, {"model", srv.URL + "/releases/recommender"}, {"differences", srv.URL + "/releases/hello/differences"}, {"logs", srv.URL + "/releases/hello/logs"}, {"login", closed.URL + "/"}, {"missing", srv.URL + "/releases/nobody"},
	} {
		for _, size := range []struct {
			name   string
			width  int64
			height int64
			dark   bool
		}{{"wide", 1280, 900, false}, {"dark", 1280, 900, true}, {"phone", 360, 740, false}} {
			scheme := "light"
			if size.dark {
				scheme = "dark"
			}
			media := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}
			err := chromedp.Do(ctx,
				chromedp.EmulateViewport(size.width, size.height),
				chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
					_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, media)
					return err
				}),
				chromedp.Navigate(p.url))
			if err != nil {
				t.Fatalf("%s %s: %v", p.name, size.name, err)
			}
			overflow, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`document.documentElement.scrollWidth > innerWidth ||
				innerWidth > 1200 && [...document.querySelectorAll('.scroll')].some(e => e.clientWidth && e.scrollWidth > e.clientWidth + 1)`))
			if err != nil {
				t.Fatal(err)
			}
			faults, err := chromedp.Run(ctx, chromedp.Evaluate[string](accessibility))
			if err != nil || faults != "" {
				t.Errorf("%s %s: %s %v", p.name, size.name, faults, err)
			}
			shot, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
			if err != nil {
				t.Fatal(err)
			}
			if overflow {
				t.Errorf("%s at %d px scrolls sideways", p.name, size.width)
			}
			if dir := os.Getenv("HALDANE_SCREENS"); dir != "" {
				if err := os.WriteFile(filepath.Join(dir, p.name+"-"+size.name+".png"), shot, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

// differing are answers of two versions to some requests, short and long.
func differing(string) client.Differences {
	pair := func(why string, how release.CompareBy, request, stable, canary string) compare.Pair {
		return compare.Pair{At: now.Add(-90 * time.Second), Stable: testVersion("v1").ID, Canary: testVersion("v2").ID, Method: "POST", Path: "/v1/chat/completions", Why: why, How: how, Request: request,
			Answers: [2]string{stable, canary}, Status: [2]int{200, 200}}
	}
	long := "A canary warned the miners of gas, since it fell from its perch long before they felt anything at all. "
	noisy := pair("verdict: \"cat\" and \"dog\"", release.CompareJSON, `{"text": "hello", "password": "[masked]"}`, "{\n  \"verdict\": \"cat\",\n  \"email\": \"[masked]\"\n}", "{\n  \"verdict\": \"dog\",\n  \"email\": \"[masked]\"\n}")
	noisy.Noisy = true
	return client.Differences{Dropped: 12, Report: compare.Report{
		Counts: compare.Counts{Copies: 4210, Compared: 4100, Differ: 96, Again: 820, Noise: 9, Skipped: map[string]int64{"a version failed": 80, "longer than 256 KiB": 30}},
		Pairs: []compare.Pair{
			pair("the words are 41 % alike", release.CompareText, "What does a canary do in a mine?", long, strings.Repeat(long, 6)+strings.Repeat("x", 300)), noisy,
		}}}
}

// accessibility names what keeps people with a keyboard, a screen reader or a
// large finger from using a page (WCAG 2.2: 1.1.1, 1.3.1, 2.4.6, 2.5.8, 4.1.2).
const accessibility = `(() => {
  const out = [];
  const ids = new Set();
  for (const e of document.querySelectorAll('[id]')) { if (ids.has(e.id)) out.push('id twice: ' + e.id); ids.add(e.id); }
  if (document.querySelectorAll('h1').length !== 1) out.push('not one h1');
  for (const e of document.querySelectorAll('input:not([type=hidden]), select')) if (!e.labels.length) out.push('no label: ' + e.name);
  for (const e of document.querySelectorAll('a, button, summary')) {
    if (!e.textContent.trim() && !e.ariaLabel) out.push('no words: ' + e.outerHTML.slice(0, 60));
    const r = e.getBoundingClientRect();
    if (e.matches('button, .button') && r.height && r.height < 24) out.push('small: ' + e.textContent.trim());
  }
  for (const e of document.querySelectorAll('[role=img]')) if (!e.getAttribute('aria-label')) out.push('picture without words');
  for (const e of document.querySelectorAll('svg:not([role=img]):not([aria-hidden])')) out.push('picture that is neither hidden nor named');
  for (const e of document.querySelectorAll('[aria-labelledby]')) if (!document.getElementById(e.getAttribute('aria-labelledby'))) out.push('label missing: ' + e.id);
  return out.join('; ');
})()`
