// The dashboard's script. Without it every page and every form works, and nothing changes by itself.
"use strict";
(() => {
  const $ = (selector, within = document) => within.querySelector(selector);
  const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];
  const make = (name, fields) => Object.assign(document.createElement(name), fields);
  const now = Date.now, root = document.documentElement, main = $("#main"), data = main.dataset;
  root.classList.add("scripted");

  // --- Morph: what is shown becomes what was read. Keyed by id. ---
  function attributes(from, to) {
    const keeps = (name) => name === "open" && from.nodeName === "DETAILS";
    for (const { name, value } of [...to.attributes])
      if (from.getAttribute(name) !== value && !keeps(name)) from.setAttribute(name, value);
    for (const { name } of [...from.attributes]) if (!to.hasAttribute(name) && !keeps(name)) from.removeAttribute(name);
  }
  function morph(from, to) {
    if (from.nodeType !== 1) {
      if (from.nodeValue !== to.nodeValue) from.nodeValue = to.nodeValue;
      return;
    }
    // What a person is typing or has ticked is theirs.
    if (from === document.activeElement && /^(INPUT|TEXTAREA|SELECT)$/.test(from.nodeName)) return;
    if (from.hasAttribute("data-keep")) return;
    if (from.nodeName === "TIME" && from.getAttribute("datetime") === to.getAttribute("datetime")) return;
    attributes(from, to);
    children(from, to);
  }
  function children(from, to) {
    const keyed = new Map([...from.children].filter((one) => one.id).map((one) => [one.id, one]));
    let at = from.firstChild;
    for (const wanted of [...to.childNodes]) {
      const found = wanted.id ? keyed.get(wanted.id) : at;
      if (!found || found.nodeName !== wanted.nodeName || found.id !== wanted.id) {
        from.insertBefore(wanted, at);
        if (wanted.id) wanted.classList.add("fresh");
        continue;
      }
      if (found !== at) from.insertBefore(found, at);
      else at = at.nextSibling;
      morph(found, wanted);
    }
    while (at) { const next = at.nextSibling; at.remove(); at = next; }
  }

  // --- Times: relative; the absolute one stays in the title. ---
  const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto", style: "short" });
  const units = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];
  function times(within = document) {
    for (const time of $$("time[datetime]", within)) {
      const at = Date.parse(time.getAttribute("datetime")), seconds = Math.round((at - now()) / 1000);
      const [unit, size] = units.find(([, size]) => Math.abs(seconds) >= size) || units[3];
      const text = time.classList.contains("since")
        ? `${Math.trunc(Math.abs(seconds) / size)} ${{ day: "d", hour: "h", minute: "min", second: "s" }[unit]}`
        : relative.format(Math.trunc(seconds / size), unit);
      if (time.textContent !== text) time.textContent = text;
    }
  }

  // --- Reading the page again ---
  let tag = `W/"${data.tag}"`, lastRead = now(), busy, again, held, paused, failed;
  const pill = $("#live");
  function say(state, text) {
    if (!pill || pill.textContent === text) return;
    pill.hidden = false; pill.dataset.state = state; pill.textContent = text;
  }
  function banner(id, text, act) {
    let bar = $("#" + id);
    if (!text) return bar?.remove();
    if (!bar) $("#said").append(bar = make("div", { id, className: act ? "banner" : "banner bad", role: "status" }));
    bar.replaceChildren(text);
    if (act) bar.append(make("button", { textContent: "Show", onclick: act }));
  }
  // Rows must not move under a person who has selected something or confirms.
  function isBusy() {
    const selection = getSelection();
    return $("dialog[open], details.act[open], [data-keep]:checked")
      || (selection && !selection.isCollapsed && main.contains(selection.anchorNode));
  }
  function show(html) {
    const next = make("main", { innerHTML: html });
    if (isBusy()) {
      const newer = $$("[data-row]", next).filter((row) => !document.getElementById(row.id)).length;
      held = html;
      say("held", "held");
      return banner("held", newer ? `${newer} newer rows` : "News", release);
    }
    held = null;
    banner("held");
    children(main, next);
    times(main);
  }
  function release() {
    const html = held;
    getSelection().removeAllRanges();
    for (const one of $$("details.act[open], [data-keep]:checked")) one.open = one.checked = false;
    show(html);
  }
  async function refresh() {
    if (busy) { again = true; return; }
    busy = true;
    try {
      const headers = { "X-Fragment": "1", "X-Of-Tenant": data.tenant, "If-None-Match": tag };
      const answer = await fetch(location.href, { headers, cache: "no-store", signal: AbortSignal.timeout(4000) });
      const { ok, status } = answer;
      if (/^40[134]$/.test(status)) return location.reload();
      if (status === 409) {
        paused = true;
        say("held", "held");
        return banner("moved", `This page is of ${data.tenant}: you work elsewhere by now.`, () => location.reload());
      }
      if (ok || status === 304) {
        lastRead = now();
        const [readings, ms, at] = answer.headers.get("X-Cost").split(" ");
        $("#cost-readings").textContent = readings;
        $("#cost-ms").textContent = ms;
        $("#cost-at time").setAttribute("datetime", at);
      }
      if (ok) { tag = answer.headers.get("ETag"); show(await answer.text()); }
      failed = !ok && status !== 304;
    } catch { failed = true; } finally {
      busy = false;
      if (again) { again = false; setTimeout(refresh, 900); }
    }
  }

  // --- Live: one connection for all tabs of a browser, held by the tab that has the lock. ---
  const own = (data.live || "").split(",").filter(Boolean), poll = +data.poll || 0;
  let heard = now(), connected, due;
  function tick(topic) {
    if (paused || document.hidden) { due = 1; return; }
    if (topic && !own.includes(topic)) return;
    clearTimeout(due);
    due = setTimeout(refresh, 150);
  }
  function hear({ state, topic }) {
    heard = now();
    connected = state === "up";
    // A dead server is known within seconds.
    if (topic || !connected) tick(topic);
  }
  function follow() {
    const channel = new BroadcastChannel("gristmill"), others = new Map(), me = Math.random();
    let source, watched = "";
    const post = (message) => { channel.postMessage(message); hear(message); };
    const mine = () => (document.hidden ? [] : own);
    const wants = () => channel.postMessage({ tab: me, topics: mine() });
    function connect() {
      for (const [tab, { at }] of others) if (now() - at > 30000) others.delete(tab);
      const all = [...others.values()].flatMap((one) => one.topics).concat(mine());
      const topics = [...new Set(all)].sort().slice(0, 100).join(",");
      if (topics === watched && source && source.readyState !== 2) return;
      source?.close();
      watched = topics; source = null;
      if (!topics) return;
      source = new EventSource(`/api/v1/live?topics=${encodeURIComponent(topics)}`);
      source.onopen = () => post({ state: "up" });
      source.onerror = () => post({ state: "down" });
      for (const kind of ["queues", "workers", "batches", "batch", "job"])
        source.addEventListener(kind, (event) => post({ state: "up", topic: JSON.parse(event.data).topic }));
      source.addEventListener("beat", () => post({ state: "up" }));
      source.addEventListener("end", () => { source.close(); location.reload(); });
    }
    let leads;
    const renew = () => { wants(); if (leads) connect(); };
    channel.onmessage = ({ data }) => {
      if (!data.tab) return hear(data);
      others.set(data.tab, { topics: data.topics, at: now() });
      if (leads) connect();
    };
    setInterval(renew, 10000);
    document.addEventListener("visibilitychange", () => { renew(); if (!document.hidden && due) tick(); });
    wants();
    navigator.locks.request("gristmill-live", () => { leads = true; connect(); return new Promise(() => {}); });
  }
  const shares = own.length && navigator.locks && window.BroadcastChannel;
  if (shares) follow();
  if (own.length || poll) {
    const every = poll ? poll * 1000 : 5000;
    setInterval(() => {
      if (document.hidden || paused) return;
      const stream = shares && connected && now() - heard < 40000, age = now() - lastRead;
      const stale = failed && age > 3000;
      if ((!stream || poll || failed) && age >= (failed ? 1500 : every)) refresh();
      if (stale) say("stale", "stale");
      else if (!held) say(stream ? "live" : "poll", stream ? "live" : `every ${every / 1000} s`);
      banner("stale", stale ? `No answer. This is as of ${Math.round(age / 1000)} s ago.` : "");
    }, 1000);
  }
  setInterval(times, 1000);
  times();

  // --- Keys, copying, theme ---
  const help = $("#help"), keys = $("#help input");
  const keysWork = () => localStorage.getItem("keys") !== "off";
  if (keys) {
    keys.checked = keysWork();
    keys.onchange = () => localStorage.setItem("keys", keys.checked ? "on" : "off");
  }
  function step(by) {
    const rows = $$("[data-row]"), at = rows.findIndex((row) => row.contains(document.activeElement));
    $("a, button", rows[Math.max(0, Math.min(rows.length - 1, at + by))] || main)?.focus();
  }
  function cell(event) {
    const heat = event.target.closest(".heat"), cells = $$("a", heat), columns = Number(heat.dataset.columns);
    const by = { Left: -1, Right: 1, Up: -columns, Down: columns }[event.key.slice(5)];
    if (!by) return;
    cells[cells.indexOf(event.target.closest("a")) + by]?.focus();
    event.preventDefault();
  }
  let going = 0;
  addEventListener("keydown", (event) => {
    if (event.target.closest(".heat a")) cell(event);
    const { key } = event;
    if (key === "Escape") for (const one of $$("details.act[open]")) { one.open = false; $("summary", one).focus(); }
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select, dialog")) return;
    if (key === "?") return help?.showModal();
    if (!keysWork()) return;
    if (going && now() - going < 1500) {
      going = 0;
      return $(`.side a[data-key="${CSS.escape(key)}"]`)?.click();
    }
    if (key === "g") going = now();
    else if (key === "/") { event.preventDefault(); $("#filters .field input")?.focus(); }
    else if (key === "x") $("[data-row]:focus-within input[type=checkbox]")?.click();
    else if (key === "j" || key === "k") step(key === "j" ? 1 : -1);
    else if (key === "p") { paused = !paused; say("held", paused ? "paused" : "…"); if (!paused) refresh(); }
    else if (key === "t") choose(root.dataset.theme === "dark" ? "light" : "dark");
    else if (/^[a-z]$/.test(key)) $(`[aria-keyshortcuts="${key}"]`)?.click();
  });
  function choose(theme) {
    root.dataset.theme = theme;
    document.cookie = `gristmill-theme=${theme}; path=/; max-age=31536000; samesite=strict`;
    $$("#themes button").forEach((one) => one.setAttribute("aria-pressed", one.value === theme));
  }
  addEventListener("click", async (event) => {
    const button = event.target.closest("button, summary");
    for (const open of $$("details.act[open]")) if (!open.contains(event.target)) open.open = false;
    if (!button) return;
    if (button.closest("#themes")) { event.preventDefault(); choose(button.value); }
    if (button.dataset.copy) {
      await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    }
  });
  // A form that is under way is not sent twice.
  const disable = (within, disabled) => $$("button", within).forEach((one) => { one.disabled = disabled; });
  addEventListener("submit", (event) => setTimeout(disable, 0, event.target, true));
  addEventListener("pageshow", () => disable(document, false));

  // The secret of a link follows the `#`, which no browser sends.
  const link = $("#link-form");
  if (link && location.hash.length > 1) {
    link.elements.link.value = location.hash.slice(1);
    history.replaceState(null, "", location.pathname);
    link.requestSubmit();
  }
})();
