// The pages work without this. With it they follow the daemon: an event stream
// says that something changed, the page is fetched again, and the parts that
// differ take the place of the old ones. Nothing is ever parsed from a string
// (the browser itself parses the fetched page), so Trusted Types can be enforced.
'use strict';

(() => {
  const watch = document.body.dataset.watch;
  const wire = document.getElementById('wire');
  const word = document.getElementById('wire-word');

  const load = (url) => new Promise((resolve, reject) => {
    const x = new XMLHttpRequest();
    x.open('GET', url);
    x.responseType = 'document';
    x.timeout = 15000;
    x.onload = () => (x.status === 200 && x.response ? resolve(x.response) : reject(new Error(String(x.status))));
    x.onerror = x.ontimeout = () => reject(new Error('network'));
    x.send();
  });

  const parts = (doc) => [...doc.querySelectorAll('[data-live]')];
  const ids = (list) => list.map((e) => e.id).join(' ');

  // swap puts a new element in place, keeping what the reader had opened and focused.
  const swap = (old, fresh) => {
    const next = document.importNode(fresh, true);
    for (const d of old.querySelectorAll('details[id][open]')) {
      const same = next.querySelector('#' + CSS.escape(d.id));
      if (same) same.open = true;
    }
    const scrolled = [...old.querySelectorAll('.scroll')].map((e) => e.scrollLeft);
    const held = old.contains(document.activeElement) ? [...old.querySelectorAll('a, button, summary')].indexOf(document.activeElement) : -1;
    const label = held >= 0 ? document.activeElement.textContent : '';
    old.replaceWith(next);
    next.querySelectorAll('.scroll').forEach((e, i) => { e.scrollLeft = scrolled[i] || 0; });
    if (held >= 0) {
      const all = [...next.querySelectorAll('a, button, summary')];
      const again = all[held] && all[held].textContent === label ? all[held] : all.find((e) => e.textContent === label);
      if (again) again.focus({ preventScroll: true });
    }
  };

  const update = (doc) => {
    const old = parts(document);
    const fresh = parts(doc);
    if (ids(old) !== ids(fresh)) {
      swap(document.getElementById('main'), doc.getElementById('main'));
      return;
    }
    // Inner parts first: a sentence that is read aloud stays the same element.
    old.forEach((e, i) => {
      if (e.dataset.live === 'text' && e.textContent !== fresh[i].textContent) e.textContent = fresh[i].textContent;
    });
    old.forEach((e, i) => {
      if (e.dataset.live === 'text' || !e.isConnected || e.outerHTML === fresh[i].outerHTML) return;
      if (!e.querySelector('[data-live]')) { swap(e, fresh[i]); return; }
      [...e.children].forEach((c, k) => {
        const n = fresh[i].children[k];
        if (n && !c.matches('[data-live]') && c.outerHTML !== n.outerHTML) swap(c, n);
      });
      if (e.children.length !== fresh[i].children.length) swap(e, fresh[i]);
    });
  };

  let due = 0;
  let busy = false;
  let again = false;
  const address = location.pathname + (location.search.includes('asked=') ? '' : location.search);
  const refresh = async () => {
    if (busy || document.hidden) { again = true; return; }
    if (document.querySelector('dialog[open]')) { again = true; return; }
    busy = true;
    again = false;
    try { update(await load(address)); } catch { again = true; }
    busy = false;
    due = Date.now() + 1000;
    if (again) later();
  };
  let timer = 0;
  const later = () => {
    clearTimeout(timer);
    timer = setTimeout(refresh, Math.max(0, due - Date.now()));
  };

  if (watch && window.EventSource) {
    const url = '/api/v1/watch' + (watch === '*' ? '' : '?release=' + encodeURIComponent(watch));
    const stream = new EventSource(url);
    const show = (on) => {
      wire.hidden = false;
      wire.classList.toggle('off', !on);
      word.textContent = on ? 'live' : 'reconnecting';
    };
    stream.onopen = () => { show(true); later(); };
    stream.onerror = () => show(false);
    stream.addEventListener('release', later);
    stream.addEventListener('gone', later);
    document.addEventListener('visibilitychange', () => { if (!document.hidden) later(); });
    setInterval(later, 15000); // times on the page go on
  }

  // A confirmation opens over the page instead of being a page.
  document.addEventListener('click', async (e) => {
    const link = e.target.closest('a[data-dialog]');
    if (!link || e.metaKey || e.ctrlKey || !window.HTMLDialogElement) return;
    e.preventDefault();
    try {
      const form = (await load(link.href)).getElementById('ask');
      if (!form) throw new Error('no form');
      const dialog = document.createElement('dialog');
      dialog.append(document.importNode(form, true));
      dialog.setAttribute('aria-label', form.querySelector('h1').textContent);
      document.body.append(dialog);
      dialog.addEventListener('close', () => { dialog.remove(); link.focus(); if (again) later(); });
      dialog.addEventListener('click', (c) => {
        if (c.target === dialog || c.target.closest('[data-close]')) { c.preventDefault(); dialog.close(); }
      });
      dialog.showModal();
    } catch { location.href = link.href; }
  });

  // A second click on the same form asks nothing new.
  document.addEventListener('submit', (e) => {
    for (const b of e.target.querySelectorAll('button')) setTimeout(() => { b.disabled = true; }, 0);
  });
})();
