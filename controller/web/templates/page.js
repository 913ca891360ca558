// Keeps an open page up to date. After an event of the server the script fetches the page and replaces the parts that
// differ. So sorting, filtering and escaping are done in one place, the server. Without this script the browser reloads
// the whole page.
"use strict";

(() => {
  const options = document.currentScript.dataset;
  const announcement = document.getElementById("announcement");
  const freshness = document.getElementById("freshness");
  const LEAST_REST = 500; // ms between two requests
  const RESTS_PER_REQUEST = 10; // the same as a multiple of the duration of the last request, to spare a busy server
  const QUIET = 10_000; // ms between two announcements
  const RETRY = 30_000; // ms until the next attempt after a refused stream
  let main = document.getElementById("main");
  let summary = main.dataset.summary;
  let said = -Infinity;
  let busy = false;
  let again = false;
  let stream = null;

  function renew() {
    if (busy) {
      again = true;
      return;
    }
    busy = true;
    const asked = location.href;
    const started = performance.now();
    const request = new XMLHttpRequest();
    request.open("GET", asked);
    request.responseType = "document";
    request.timeout = 10_000;
    request.onloadend = () => {
      const fresh = request.response?.getElementById("main");
      if (fresh && asked === location.href) show(request.response, fresh);
      tellFreshness(!fresh);
      const rest = Math.max(LEAST_REST, RESTS_PER_REQUEST * (performance.now() - started));
      setTimeout(rested, asked === location.href ? rest : 0);
    };
    request.send();
  }

  function rested() {
    busy = false;
    if (again) {
      again = false;
      renew();
    }
  }

  function show(page, fresh) {
    const focused = document.activeElement;
    morph(main, fresh);
    morph(document.getElementById("now"), page.getElementById("now"));
    document.title = page.title;
    document.querySelector("link[rel=icon]").href = page.querySelector("link[rel=icon]").href;
    if (focused !== document.activeElement && focused?.isConnected) focused.focus({ preventScroll: true });
    announce();
  }

  function tellFreshness(stale) {
    if (document.body.classList.contains("stale") === stale) return;
    document.body.classList.toggle("stale", stale);
    if (stale) {
      document.title = `(?) ${document.title}`;
      const icon = document.querySelector("link[rel=icon]");
      icon.href = icon.href.replace(/fill='%23\w{6}'/, "fill='%23999999'");
    }
    freshness.textContent = stale ? "No answer from the controller. Last seen" : "As of";
    announcement.textContent = stale ? "No answer from the controller" : "The controller answers again";
  }

  // Announces changed totals to a screen reader, at most once per QUIET.
  function announce() {
    if (main.dataset.summary === summary) return;
    const wait = said + QUIET - performance.now();
    if (wait > 0) {
      setTimeout(announce, wait);
      return;
    }
    summary = main.dataset.summary;
    said = performance.now();
    announcement.textContent = summary;
  }

  // Makes `old` equal to `fresh` and keeps equal parts: focus, scrolling and selections stay.
  function morph(old, fresh) {
    if (old.isEqualNode(fresh)) return;
    if (old.nodeName !== fresh.nodeName) {
      old.replaceWith(document.importNode(fresh, true));
    } else if (old.nodeType !== Node.ELEMENT_NODE) {
      old.nodeValue = fresh.nodeValue;
    } else {
      morphAttributes(old, fresh);
      morphChildren(old, fresh);
    }
  }

  function morphAttributes(old, fresh) {
    for (const { name } of [...old.attributes]) {
      if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name); // the user opened it
    }
    for (const { name, value } of fresh.attributes) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
  }

  // Children with an id are matched by id, the others by position.
  function morphChildren(old, fresh) {
    const known = new Map([...old.children].filter((child) => child.id).map((child) => [child.id, child]));
    let at = old.firstChild;
    for (const child of [...fresh.childNodes]) {
      const likely = at && !at.id && !child.id && at.nodeName === child.nodeName ? at : null;
      const same = child.id ? known.get(child.id) : likely;
      if (same === at && same) at = at.nextSibling;
      else old.insertBefore(same ?? document.importNode(child, true), at);
      if (same) morph(same, child);
    }
    while (at) {
      const next = at.nextSibling;
      at.remove();
      at = next;
    }
  }

  // The number of streams is limited, so only a visible page has one.
  function listen() {
    stream?.close();
    stream = null;
    if (document.hidden) return;
    stream = new EventSource(options.events);
    stream.addEventListener("change", (event) => {
      if (event.lastEventId !== main.dataset.mark) renew();
    });
    stream.addEventListener("error", () => {
      if (stream?.readyState === EventSource.CLOSED) setTimeout(listen, RETRY);
    });
  }

  function filter(form) {
    const wanted = [...new FormData(form)].filter(([, value]) => value);
    history.replaceState(null, "", `${location.pathname}?${new URLSearchParams(wanted)}`);
    said = -Infinity; // the user waits for the result
    renew();
  }

  document.addEventListener("input", (event) => {
    if (event.target.form?.id === "search") filter(event.target.form);
  });
  // "/" goes to the search field, the arrows go from row to row, and Enter opens the row's link.
  function steer(event) {
    if (event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented) return;
    const { key, target } = event;
    const search = document.querySelector("input[type=search]");
    const writes = target.matches("input, textarea, select");
    if (key === "/" && search && !writes) {
      search.focus();
      search.select();
    } else if (!["ArrowDown", "ArrowUp"].includes(key) || !goBy(key === "ArrowDown" ? 1 : -1, target, search)) {
      return;
    }
    event.preventDefault();
  }

  // Returns whether the focus has moved. Elsewhere than in the list, the arrows scroll.
  function goBy(step, from, search) {
    const rows = [...document.querySelectorAll("tbody th[role=rowheader] a")];
    const at = rows.indexOf(from);
    if (at < 0 && (step < 0 || ![search, document.body, main].includes(from))) return false;
    const next = at + step < 0 ? search : rows[at + step];
    next?.focus();
    return Boolean(next);
  }

  document.addEventListener("keydown", steer);
  document.addEventListener("visibilitychange", () => {
    listen();
    if (!document.hidden) renew();
  });
  setInterval(() => document.hidden || renew(), 1000 * options.refresh);
  listen();
})();
