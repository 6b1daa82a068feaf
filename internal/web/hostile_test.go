package web

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/store"
)

// run is what every payload tries to do; beacon is where it tries to send.
const (
	run    = "window.pwned=1;alert(1)"
	beacon = "http://evil.test/x"
)

// payloads are ways of getting a script run, a foreign request sent or the page
// redressed by text that should only be shown.
func payloads() []string {
	tags := []string{
		`<script>%s</script>`, `"><script>%s</script>`, `'><script>%s</script>`, `</script><script>%s</script>`, `</title><script>%s</script>`,
		`</textarea><script>%s</script>`, `</style><script>%s</script>`, `<scr<script>ipt>%s</scr</script>ipt>`, `<ScRiPt>%s</sCrIpT>`, `<script/x>%s</script>`,
		`<img src=x onerror="%s">`, `<img src=x onerror=%s>`, `"><img src=x onerror="%s">`, `'"><img src=x onerror="%s">`, "<img src=`x` onerror=\"%s\">",
		`<svg onload="%s">`, `<svg/onload=%s>`, `<svg><script>%s</script></svg>`, `<svg><animate onbegin="%s" attributeName=x dur=1s>`, `<svg><a xlink:href="javascript:%s"><text y=20>x</text></a></svg>`,
		`</text></svg><img src=x onerror="%s">`, `</path><image href=x onerror="%s">`, `<use href="data:image/svg+xml,<svg id=x onload=%s>#x">`, `<math><mtext><img src=x onerror="%s"></math>`, `<foreignObject><body onload="%s"></foreignObject>`,
		`<body onload="%s">`, `<details open ontoggle="%s">`, `<video><source onerror="%s"></video>`, `<audio src=x onerror="%s">`, `<input autofocus onfocus="%s">`,
		`" autofocus onfocus="%s" x="`, `' autofocus onfocus='%s' x='`, `" onmouseover="%s`, `" onload="%s`, "` onload=`%s`",
		`<iframe srcdoc="<script>%s</script>">`, `<iframe src="javascript:%s">`, `<object data="javascript:%s">`, `<embed src="javascript:%s">`, `<form><button formaction="javascript:%s">x</button></form>`,
		`<a href="javascript:%s">x</a>`, `javascript:%s`, `java&#x09;script:%s`, `data:text/html,<script>%s</script>`, `<marquee onstart="%s">x</marquee>`,
		`{{%s}}`, `${%s}`, `<template><script>%s</script></template>`, `<noscript><p title="</noscript><img src=x onerror=%s>">`, `<!--><img src=x onerror="%s">-->`,
		`]]><script>%s</script>`, `&lt;script&gt;%s&lt;/script&gt;`, "\u003cscript\u003e%s\u003c/script\u003e", `\"><script>%s</script>`, "</p\x00><script>%s</script>",
	}
	var out []string
	for _, t := range tags {
		if strings.Contains(t, "%s") {
			t = fmt.Sprintf(t, run)
		}
		out = append(out, t)
	}
	return append(out,
		`<link rel=stylesheet href="`+beacon+`">`, `<style>@import "`+beacon+`";*{display:none}</style>`, `<meta http-equiv=refresh content="0;url=`+beacon+`">`,
		`<base href="http://evil.test/">`, `<img src="`+beacon+`">`, `" style="background:url(`+beacon+`)" x="`,
		"\u202eevil\u2066", strings.Repeat("w", 3000))
}

// hostile fills every field that foreign text can reach with p.
func hostile(m *memory, name, p string) {
	live(m, name)
	rec := m.recs[name]
	v1, v2 := release.NewVersion(p, release.Workload{}), release.NewVersion(p+"2", release.Workload{})
	r := *rec.State.Run
	r.ID = name + "-run"
	r.From, r.To, r.Why = &v1, v2, p
	r.Plan.Steps = append([]release.Step(nil), r.Plan.Steps...)
	r.Plan.Steps[0].Name = p
	r.Paused = &rollout.Pause{Reason: p, Person: true}
	rep := reportAt(60, false)
	rep.Reason = p
	for i := range rep.Metrics {
		x := &rep.Metrics[i]
		x.Name, x.Reason, x.Margin, x.Unit = p+fmt.Sprint(i), p, p, p
	}
	look := store.Look{Run: r.ID, At: r.Started.Add(time.Minute), Weight: 1000, Seen: 0.1, Report: rep}
	rec.Look, rec.State.Stable, rec.State.Run = &look, &v1, &r
	rec.State.Earlier = []release.Version{v1}
	doc, _ := json.Marshal(map[string]any{"metadata": map[string]any{"name": p}, p: p})
	rec.Manifest = doc
	rec.Observed = store.Observed{At: now, Error: p, Fleet: []rollout.ObservedGroup{{Version: v1.ID, Error: p, Total: 1}, {Version: release.VersionID(p), Error: p}},
		Split: release.Split{Shares: []release.Share{{Version: v1.ID, Weight: 9000}, {Version: v2.ID, Weight: 1000}}}}
	m.looks[r.ID] = []store.Look{look, look}
	m.events = append(m.events, store.StoredEvent{ID: int64(len(m.events) + 1), Release: name,
		Event: rollout.Event{At: r.Started, Reason: p, Message: p, By: p, Run: r.ID, Warning: true}})
	m.audit = append(m.audit, store.Audit{ID: int64(len(m.audit) + 1), At: now, Actor: store.Actor{Subject: p, From: p}, Action: p, Release: p, Detail: p})
	m.runs = append(m.runs, store.RunRecord{Release: name, Run: r, Last: &rep})
	m.recs[name] = rec
}

// TestForeignTextStaysText shows every payload in every field on every page in
// a real browser: no script runs, no element appears, nothing is asked of
// another host.
func TestForeignTextStaysText(t *testing.T) {
	ctx := browser(t)
	list := payloads()
	if len(list) < 60 {
		t.Fatalf("only %d payloads", len(list))
	}
	m := newMemory()
	m.answers[1] = rollout.IntentAnswer{ID: 1, Message: strings.Join(list[:50], " ")}
	_, srv := start(t, m, func(o *Options) {
		o.Rates = busy
		o.Logs = func(context.Context, string, release.VersionID) (string, error) { return strings.Join(list, "\n"), nil }
	})
	var pages []string
	for i, p := range list {
		name := fmt.Sprintf("r%d", i)
		hostile(m, name, p)
		pages = append(pages, "/releases/"+name+"?asked=1", "/runs/"+name+"-run")
		if i%10 == 0 {
			pages = append(pages, "/releases/"+name+"/ask?verb=abort", "/releases/"+url.PathEscape(p), "/audit?release="+url.QueryEscape(p), "/login?next="+url.QueryEscape(p))
		}
	}
	pages = append(pages, "/", "/audit", "/releases/r0/logs")
	bad := watchFor(t, ctx, srv.URL)
	for _, path := range pages {
		if err := chromedp.Do(ctx, chromedp.Navigate(srv.URL+path)); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		found, err := chromedp.Run(ctx, chromedp.Evaluate[string](intruders))
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if found != "" {
			t.Errorf("%s: the page holds %s", path, found)
		}
	}
	for _, b := range bad() {
		t.Error(b)
	}
	t.Logf("%d payloads on %d pages", len(list), len(pages))
}

// intruders names what no page of ours has.
const intruders = `(() => {
  if (window.pwned) return 'a script that ran';
  const own = (u) => new URL(u, location.href).origin === location.origin;
  for (const e of document.querySelectorAll('*')) {
    if (/^(img|iframe|object|embed|video|audio|base|math|template|style|marquee|foreignobject|animate|image)$/i.test(e.localName)) return e.localName;
    if (e.localName === 'script' && !e.src.startsWith(location.origin + '/static/')) return 'a foreign script';
    if (e.localName === 'meta' && e.httpEquiv) return 'meta http-equiv';
    for (const a of e.attributes) {
      if (/^on/i.test(a.name)) return a.name;
      if (a.name === 'style') return 'a style attribute';
      if (/^(href|action|src|formaction)$/.test(a.name) && !a.value.startsWith('#') && !own(a.value)) return a.name + ' ' + a.value;
    }
  }
  return '';
})()`

// watchFor listens for dialogs and for requests to other hosts.
func watchFor(t *testing.T, ctx context.Context, own string) func() []string {
	t.Helper()
	if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var bad []string
	seen := 0
	err := chromedp.Listen(ctx, func(ev any) {
		mu.Lock()
		defer mu.Unlock()
		switch e := ev.(type) {
		case *page.EventJavascriptDialogOpening:
			bad = append(bad, "a dialog opened on "+e.URL)
		case *network.EventRequestWillBeSent:
			seen++
			if !strings.HasPrefix(e.Request.URL, own+"/") {
				bad = append(bad, "a request to "+e.Request.URL)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		if seen == 0 {
			return []string{"no request was seen at all, so foreign ones would not be either"}
		}
		return bad
	}
}

// TestPageFollowsTheRelease drives the live page: a change appears without a
// reload, a confirmation opens over it, and what is asked arrives.
func TestPageFollowsTheRelease(t *testing.T) {
	ctx := browser(t)
	m := newMemory()
	m.answer = "the traffic of v2 is off"
	rec := live(m, "hello")
	_, srv := start(t, m, nil)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	do := func(what string, steps ...chromedp.Action[chromedp.Void]) {
		t.Helper()
		if err := chromedp.Do(ctx, steps...); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	until := func(what, condition string) {
		t.Helper()
		if _, err := chromedp.Run(ctx, chromedp.Poll[bool](condition, chromedp.WithPollingTimeout(patience))); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	do("open", chromedp.Navigate(srv.URL+"/releases/hello"), chromedp.Func(func(ctx context.Context, tg *chromedp.Target) error {
		_, err := chromedp.Evaluate[chromedp.Void](`window.mark = document.getElementById('sentence')`)(ctx, tg)
		return err
	}))
	until("the stream opens", `document.getElementById('wire-word').textContent === 'live' && !document.getElementById('wire').hidden`)
	paused := *rec.State.Run
	paused.Paused = &rollout.Pause{Since: now, Reason: "lunch", Person: true}
	rec.State.Run = &paused
	m.set(rec)
	until("the change appears", `document.getElementById('sentence').textContent.includes('lunch') && document.querySelector('.hero .badge').textContent.includes('Paused')`)
	until("it was not a reload, and the sentence is the element that is read aloud", `window.mark === document.getElementById('sentence') && window.mark.isConnected`)
	do("ask", chromedp.Click(chromedp.CSS(`a[href$="verb=abort"]`)), chromedp.WaitVisible(chromedp.CSS("dialog #reason")))
	do("give a reason", chromedp.SendKeys(chromedp.CSS("dialog #reason"), "wrong day"))
	if _, err := chromedp.RunResponse(ctx, chromedp.Click(chromedp.CSS("dialog button"))); err != nil {
		t.Fatalf("confirm: %v", err)
	}
	until("the answer is told", `document.querySelector('.note')?.textContent.includes('the traffic of v2 is off')`)
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.asked) != 1 || m.asked[0].Verb != rollout.AskAbort || m.asked[0].Reason != "wrong day" || m.asked[0].Run != "hello-7" {
		t.Errorf("asked %+v", m.asked)
	}
}

// TestPagesEscapeWithoutABrowser is the part of the above that runs everywhere.
func TestPagesEscapeWithoutABrowser(t *testing.T) {
	m := newMemory()
	_, srv := start(t, m, nil)
	for i, p := range payloads() {
		if !strings.Contains(p, "<") {
			continue
		}
		name := fmt.Sprintf("r%d", i)
		hostile(m, name, p)
		for _, path := range []string{"/releases/" + name, "/runs/" + name + "-run", "/audit"} {
			resp, err := http.Get(srv.URL + path)
			if err != nil {
				t.Fatal(err)
			}
			if text := readAll(t, resp); resp.StatusCode != 200 || strings.Contains(text, p) {
				t.Errorf("%s: %s; %q stands there as it is", path, resp.Status, p)
			}
		}
		m.audit = m.audit[:0]
	}
}
