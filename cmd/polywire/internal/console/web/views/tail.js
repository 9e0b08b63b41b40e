// Messages as they pass, filtered by the server, paused by hand.
import { el, icon, setText, sync } from "../dom.js";
import { bytes, count, integer, latency, precise, pretty, time, visible } from "../format.js";
import { block, button, empty, head, selectField, stranger, textField } from "../parts.js";
import { href, remember } from "../router.js";
import { TailLog } from "../taillog.js";

const NEAR_BOTTOM_PX = 60;
const MAX_FILTER_BYTES = 255;
const TEXTS = [["kind", "Kind, as chat.*"], ["room", "Room"], ["conn", "Connection's id"], ["user", "User"]];

export class Tail {
  #app;
  #filter;
  #log = new TailLog();
  #frame = 0;
  #stick = true;
  #list = el("ol", { class: "rows tail", "aria-label": "Messages" });
  #box;
  #none = el("div");
  #info = el("p", { class: "muted number", role: "status" });
  #wrong = el("p", { class: "form-error" });
  #pause = button("Pause", () => this.toggle(), { sign: "pause", "aria-pressed": "false", title: "Pause or go on (p)" });

  constructor(app, { params }) {
    this.#app = app;
    this.#filter = Object.fromEntries(["kind", "room", "conn", "user", "wire", "dir"].map((name) => [name, params.get(name) ?? ""]));
    const texts = TEXTS.map(([name, label]) => textField({ label, placeholder: label, value: this.#filter[name], changed: (value) => this.#set({ [name]: value }) }));
    this.search = texts[0];
    const wires = [...new Set([...(app.now?.wires ?? []).map((w) => w.wire), this.#filter.wire])].filter((w) => w).map((w) => [w, w]);
    this.#box = el("div", { class: "tail-box", tabindex: "0", role: "region", "aria-label": "Messages, newest last" }, this.#none, this.#list);
    this.#box.addEventListener("scroll", () => (this.#stick = this.#box.scrollHeight - this.#box.scrollTop - this.#box.clientHeight < NEAR_BOTTOM_PX), { passive: true });
    this.node = el(
      "div",
      { class: "view tail-view" },
      head("Tail", button("Clear", () => this.#clear()), this.#pause),
      el(
        "div",
        { class: "tools filters", role: "search", "aria-label": "Filters" },
        texts,
        selectField({ label: "Wire", value: this.#filter.wire, options: [["", "all"], ...wires], changed: (wire) => this.#set({ wire }) }),
        selectField({ label: "Direction", value: this.#filter.dir, options: [["", "both"], ["in", "in"], ["out", "out"]], changed: (dir) => this.#set({ dir }) }),
      ),
      this.#wrong,
      this.#info,
      this.#box,
    );
    this.#ask();
    this.#draw();
  }

  close() {
    cancelAnimationFrame(this.#frame);
    this.#app.tail(null);
  }

  /** Messages have passed. */
  tail(event) {
    this.#log.add(event);
    this.#changed();
  }

  toggle() {
    const log = this.#log;
    if (log.paused) log.resume();
    else log.pause();
    this.#pause.setAttribute("aria-pressed", String(log.paused));
    this.#pause.replaceChildren(icon(log.paused ? "play" : "pause"), log.paused ? "Go on" : "Pause");
    this.#stick ||= !log.paused;
    this.#changed();
  }

  #clear() {
    this.#log.clear();
    this.#changed();
  }

  #set(change) {
    if (Object.entries(change).every(([name, value]) => this.#filter[name] === value)) return;
    Object.assign(this.#filter, change);
    remember(this.#filter);
    this.#ask();
  }

  #ask() {
    const encoder = new TextEncoder();
    const long = Object.entries(this.#filter).find(([, value]) => encoder.encode(value).length > MAX_FILTER_BYTES);
    setText(this.#wrong, long ? `The filter ${long[0]} is too long: at most ${MAX_FILTER_BYTES} bytes.` : "");
    if (long) return;
    this.#log.clear();
    this.#changed();
    this.#app.tail(this.#filter);
  }

  #changed() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#draw();
    });
  }

  #draw() {
    const { entries, waiting, paused, seen, dropped } = this.#log;
    sync(this.#list, entries, { key: (entry) => entry.key, create: (entry) => row(entry) });
    const parts = [paused ? `Paused, ${count(waiting.length, "message")} waiting` : count(seen, "message")];
    if (dropped > 0) parts.push(`${integer(dropped)} left out: too many at once`);
    setText(this.#info, parts.join(" · "));
    this.#list.hidden = entries.length === 0;
    if (entries.length > 0) this.#none.replaceChildren();
    else if (!this.#none.hasChildNodes()) this.#none.replaceChildren(empty("Waiting for messages.", "What passes and matches the filters appears here; nothing is kept. Bodies are cut at 2 KiB, credentials are left out."));
    if (this.#stick && !paused) this.#box.scrollTop = this.#box.scrollHeight;
  }
}

function row(entry) {
  const detail = el("div", { class: "detail" });
  const details = el(
    "details",
    {},
    el(
      "summary",
      {},
      el("span", { class: "tail-time number muted" }, time(entry.at_ms), el("span", { class: "tail-ms" }, precise(entry.at_ms).slice(8))),
      el("span", { class: `tail-dir ${entry.dir === "in" ? "is-in" : "is-out"}` }, icon(entry.dir === "in" ? "in" : "up"), el("span", { class: "hidden" }, entry.dir === "in" ? "in" : "out")),
      el("span", { class: "tail-kind" }, stranger(entry.kind, { length: 60 }), " ", el("span", { class: "muted small" }, visible(entry.what))),
      el("span", { class: "tail-who" }, who(entry)),
      el("span", { class: "tail-size number muted" }, entry.code ? el("span", { class: "bad" }, stranger(entry.code, { length: 30 })) : entry.took_ms === undefined ? bytes(entry.size) : latency(entry.took_ms)),
    ),
    detail,
  );
  details.addEventListener("toggle", () => details.open && !detail.hasChildNodes() && detail.append(...inside(entry)));
  return el("li", {}, details);
}

function who(entry) {
  if (entry.what === "broadcast") {
    const rooms = entry.rooms ?? (entry.room ? [entry.room] : []);
    return el("span", {}, rooms.length ? stranger(rooms.join(", "), { length: 60 }) : "everybody", el("span", { class: "muted" }, ` ${entry.receivers === undefined ? "" : `→ ${integer(entry.receivers)}`}`));
  }
  return entry.user ? stranger(entry.user, { length: 40 }) : stranger(entry.conn, { length: 40, mono: true });
}

function inside(entry) {
  const rooms = entry.rooms ?? (entry.room ? [entry.room] : []);
  const pairs = [
    ["Kind", stranger(entry.kind, { length: 600 })],
    ["Connection", entry.conn ? el("a", { class: "mono", href: href("connections", entry.conn) }, stranger(entry.conn)) : null],
    ["User", entry.user ? el("a", { href: href("connections", "", { user: entry.user }) }, stranger(entry.user, { length: 300 })) : null],
    ["Wire", entry.wire ? stranger(entry.wire) : null],
    ["Rooms", rooms.length ? el("span", { class: "chips" }, rooms.map((name) => el("a", { class: "chip", href: href("rooms", name) }, stranger(name, { length: 40 })))) : null],
    ["Receivers here", entry.receivers === undefined ? null : integer(entry.receivers)],
    ["Took", entry.took_ms === undefined ? null : latency(entry.took_ms)],
    ["Error", entry.code ? el("span", { class: "bad" }, failed(entry)) : null],
    ["Size", entry.size === undefined ? null : bytes(entry.size)],
    ["Type", entry.type ? stranger(entry.type) : null],
    ...Object.entries(entry.header ?? {}).map(([name, value]) => [`Header ${visible(name)}`, stranger(value, { length: 300 })]),
  ].filter(([, value]) => value !== null);
  const facts = el("dl", { class: "facts" }, pairs.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
  return [facts, ...bodyOf(entry)];
}

// Errors often begin with their code.
function failed({ code, error = "" }) {
  return visible(error.startsWith(code) ? error : error ? `${code}: ${error}` : code);
}

/** The body of a message or a dead letter, or why it is not shown. */
export function bodyOf(entry) {
  if (entry.hidden) return [el("p", { class: "muted" }, "The body is not shown: messages of this kind carry credentials.")];
  if (entry.omitted) return [el("p", { class: "muted" }, "The body is not shown: the server was too busy to encode it.")];
  if (!entry.body) return [el("p", { class: "muted" }, "The body is empty.")];
  const notes = [entry.base64 ? "Not text: shown as base64." : "", entry.cut ? `Cut: it has ${bytes(entry.size)}.` : ""].filter((text) => text);
  return [block(entry.base64 || entry.cut ? entry.body : pretty(entry.body), "Body"), notes.length ? el("p", { class: "muted small" }, notes.join(" ")) : null].filter((node) => node);
}
