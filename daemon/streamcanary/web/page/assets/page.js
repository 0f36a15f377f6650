// Makes the page live. Everything works without it: links, forms, and times as they were when the page was sent.
"use strict";

const page = document.documentElement;
const byId = (id) => document.getElementById(id);

// ---- times: relative ones tick, clocks are in the time zone of the reader

function age(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return minutes % 60 && hours < 10 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  const days = Math.floor(hours / 24);
  return hours % 24 && days < 10 ? `${days} d ${hours % 24} h` : `${days} d`;
}

const two = (number) => String(number).padStart(2, "0");
const date = (moment) => `${moment.getFullYear()}-${two(moment.getMonth() + 1)}-${two(moment.getDate())}`;
const minute = (moment) => `${two(moment.getHours())}:${two(moment.getMinutes())}`;

const forms = {
  age: (moment, now) => age((now - moment) / 1000),
  until: (moment, now) => (moment > now ? `in ${age((moment - now) / 1000)}` : "due"),
  clock: (moment, now) => (Math.abs(now - moment) < 72e6 ? "" : `${date(moment)} `) + minute(moment),
  hour: (moment) => minute(moment),
  time: (moment) => `${minute(moment)}:${two(moment.getSeconds())}`,
  seconds: (moment) => `${date(moment)} ${minute(moment)}:${two(moment.getSeconds())}`,
};

// The clock of the server, by which the times were written.
const asOf = document.querySelector("footer time");
const ahead = asOf ? new Date(asOf.dateTime) - Date.now() : 0;
const offset = Math.abs(ahead) > 30_000 ? ahead : 0;
const serverNow = () => new Date(Date.now() + offset);

function tick(root = document) {
  const now = serverNow();
  for (const time of root.querySelectorAll("time[data-form]")) {
    const text = forms[time.dataset.form]?.(new Date(time.dateTime), now);
    if (text && time.textContent !== text) time.textContent = text;
    if (!time.title) time.title = time.dateTime;
  }
}

// ---- live updates

const live = byId("live");
let lastEvent = Date.now();
let lostSince = null;
let refusals = 0; // of the stream, one after the other: too many read events, or something on the way refuses streams

function showConnection() {
  if (!live) return;
  live.hidden = false;
  live.classList.toggle("lost", lostSince !== null);
  const how = refusals ? "not live" : "reconnecting";
  const text = lostSince === null ? "live" : `${how}, last update ${age((Date.now() - lastEvent) / 1000)} ago`;
  if (live.textContent !== text) live.textContent = text;
}

// The numbers in the navigation.
function showCounts(summary) {
  for (const name of ["firing", "silenced"]) {
    const badge = byId(`n-${name}`);
    if (!badge) continue;
    badge.hidden = !summary[name];
    badge.textContent = summary[name];
  }
}

function replace(id, markup) {
  const old = byId(id);
  if (!old) return;
  const template = document.createElement("template");
  template.innerHTML = markup;
  const fresh = template.content.firstElementChild;
  if (!fresh) return;
  tick(template.content);
  if (fresh.outerHTML === old.outerHTML) return;
  keepSame(old, fresh);
  const focused = old.contains(document.activeElement) ? document.activeElement : null;
  const selector = focused && (focused.id ? `#${CSS.escape(focused.id)}` : focused.getAttribute("href") && `a[href="${CSS.escape(focused.getAttribute("href"))}"]`);
  if (old.hasAttribute("aria-live")) {  // screen readers announce what changes in an element that stays
    for (const { name, value } of fresh.attributes) old.setAttribute(name, value);
    old.replaceChildren(...fresh.childNodes);
  } else old.replaceWith(fresh);
  if (selector) byId(id).querySelector(selector)?.focus({ preventScroll: true });
}

// Rows that look the same stay; changed ones are shown to have changed.
function keepSame(old, fresh) {
  for (const row of fresh.querySelectorAll("tr[id]")) {
    const before = byId(row.id);
    if (!before || !old.contains(before)) continue;
    if (before.classList.contains("current")) row.classList.add("current");
    if (before.dataset.state !== row.dataset.state) row.classList.add("changed");
  }
}

function apply(update) {
  if (update.title) document.title = update.title;
  const icon = byId("favicon");
  if (icon && update.icon && icon.getAttribute("href") !== update.icon) icon.href = update.icon;
  for (const [id, markup] of Object.entries(update.parts ?? {})) replace(id, markup);
  const order = [...document.querySelectorAll(".group")].map((group) => group.id);
  const isOther = update.order && update.order.join() !== order.join();
  if (isOther || update.is_stale || (update.version && update.version !== page.dataset.version)) refresh();
  filterRows();
}

// Reads the page again, and replaces the parts that differ. Pages with the same change do so one after the other.
let refreshTimer = 0;
function refresh() {
  refreshTimer ||= setTimeout(async () => {
    const answer = await fetch(location.pathname + location.search).catch(() => null);
    refreshTimer = 0;
    if (answer?.status === 401) location.reload();
    if (!answer?.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    tick(fresh);
    lastEvent = Date.now();
    for (const part of fresh.querySelectorAll("[data-part]")) {
      if (byId(part.id) && byId(part.id).outerHTML !== part.outerHTML) replace(part.id, part.outerHTML);
      else if (!byId(part.id)) return location.reload();
    }
    page.dataset.version = fresh.documentElement.dataset.version ?? "";
    filterRows();
  }, 200 + 1300 * Math.random());
}

const MAX_SILENCE = 35_000;  // milliseconds; the server sends a heartbeat after 15 s without another event
let source = null;
let connectedAt = 0;
function connect() {
  connectedAt = Date.now();
  const query = new URLSearchParams({ html: page.dataset.live, page: location.search.slice(1) });
  source = new EventSource(`/api/v1/events?${query}`);
  const alive = () => { lastEvent = Date.now(); lostSince = null; refusals = 0; showConnection(); };
  source.addEventListener("open", () => { if (lostSince !== null) refresh(); alive(); });
  source.addEventListener("summary", (event) => { alive(); showCounts(JSON.parse(event.data)); });
  source.addEventListener("html", (event) => { alive(); apply(JSON.parse(event.data)); });
  source.addEventListener("reload", () => { alive(); refresh(); });
  source.addEventListener("heartbeat", alive);
  source.addEventListener("error", () => {
    lostSince ??= Date.now();
    // The browser does not open a refused stream again. The page reads itself instead, every half a minute at last.
    if (source.readyState === EventSource.CLOSED) {
      const seconds = Math.min(30, 5 * 2 ** refusals++) * (0.8 + 0.4 * Math.random());
      setTimeout(() => {
        if (document.hidden || source.readyState !== EventSource.CLOSED) return;  // it became visible meanwhile
        connect();
        refresh();
      }, 1000 * seconds);
    }
    showConnection();
  });
}

// A connection that stays open without a heartbeat is lost, which the browser does not detect.
function watchSilence() {
  if (!source || source.readyState === EventSource.CLOSED) return;
  if (Date.now() - Math.max(lastEvent, connectedAt) <= MAX_SILENCE) return;
  lostSince ??= Date.now();
  source.close();
  connect();
}

// A page that nobody looks at needs no connection.
if (page.dataset.live && window.EventSource) {
  connect();
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) source.close();
    else if (source.readyState === EventSource.CLOSED) { connect(); refresh(); }
  });
}

setInterval(() => { tick(); watchSilence(); if (page.dataset.live) showConnection(); }, 1000);
tick();

// ---- filter as you type

const filter = byId("q");
function filterRows() {
  if (!filter) return;
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const row of document.querySelectorAll("tr[data-canary]")) {
    const text = `${row.textContent} ${row.closest("[data-group]").dataset.group}`.toLowerCase();
    row.hidden = !words.every((word) => text.includes(word));
  }
  for (const group of document.querySelectorAll(".group")) {
    const rows = [...group.querySelectorAll("tr[data-canary]")];
    group.hidden = words.length > 0 && rows.length > 0 && rows.every((row) => row.hidden) && !group.querySelector(".more");
  }
}
filter?.addEventListener("input", filterRows);

// ---- keyboard: / filters, j and k move, Enter opens

function move(step) {
  const rows = [...document.querySelectorAll("tr[tabindex]")].filter((row) => !row.hidden);
  if (!rows.length) return;
  const at = rows.findIndex((row) => row.classList.contains("current"));
  const next = rows[Math.min(Math.max(at + step, 0), rows.length - 1)];
  rows[at]?.classList.remove("current");
  next.classList.add("current");
  next.focus({ preventScroll: true });
  next.scrollIntoView({ block: "nearest" });
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const on = event.target instanceof Element ? event.target : document.body;
  const typing = on.matches("input, textarea, select");
  if (event.key === "Escape" && event.target === filter) { filter.value = ""; filterRows(); filter.blur(); }
  if (typing) return;
  if (event.key === "/" && filter) { event.preventDefault(); filter.focus(); filter.select(); }
  else if (event.key === "j") move(1);
  else if (event.key === "k") move(-1);
  else if (event.key === "Enter" && on.matches("tr")) on.querySelector("a")?.click();
});

// ---- what a silence would match

const match = byId("match");
if (match) {
  let timer = 0, asked = 0;
  match.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(async () => {
      const number = ++asked;
      const answer = await fetch(`/silences/preview?match=${encodeURIComponent(match.value)}`).catch(() => null);
      if (number !== asked) return;
      const markup = answer?.ok ? await answer.text() : "";
      byId("preview").innerHTML = match.value.trim() ? markup : "";
    }, 250);
  });
}
