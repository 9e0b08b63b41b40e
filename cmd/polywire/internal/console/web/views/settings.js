// The configuration as it holds, and where each value came from.
import { el, setText } from "../dom.js";
import { count, visible } from "../format.js";
import { button, code, empty, failure, head, stranger, textField } from "../parts.js";
import { Poll } from "../poll.js";
import { remember } from "../router.js";

export class Settings {
  #poll;
  #settings = null;
  #filter;
  #list = el("ul", { class: "rows settings" });
  #trouble = el("div");
  #info = el("p", { class: "muted" });
  #none = el("div");

  constructor(app, { params }) {
    this.#filter = { q: params.get("q") ?? "", changed: params.get("changed") ?? "" };
    this.search = textField({ label: "Search settings", placeholder: "Key, value or description", type: "search", sign: "search", value: this.#filter.q, changed: (q) => this.#set({ q }) });
    const only = el("input", { type: "checkbox", checked: this.#filter.changed !== "", change: () => this.#set({ changed: only.checked ? "1" : "" }) });
    this.node = el(
      "div",
      { class: "view" },
      head("Settings", button("Read again", () => this.#poll.now())),
      el("div", { class: "tools", role: "search" }, this.search, el("label", { class: "check inline" }, only, "Only what was set")),
      this.#info,
      this.#trouble,
      this.#none,
      this.#list,
    );
    this.#poll = new Poll({
      ask: (signal) => app.api.get("settings", {}, signal),
      every: 0,
      shown: ({ settings }) => {
        this.#settings = settings;
        this.#show();
      },
      failed: (error) => this.#trouble.replaceChildren(failure(error, () => this.#poll.now())),
    });
    void this.#poll.now();
  }

  close() {
    this.#poll.stop();
  }

  #set(change) {
    Object.assign(this.#filter, change);
    remember(this.#filter);
    if (this.#settings) this.#show();
  }

  #show() {
    this.#trouble.replaceChildren();
    const words = this.#filter.q.toLowerCase();
    const shown = this.#settings.filter((s) => (!this.#filter.changed || s.source !== "default") && [s.key, s.value, s.doc, s.flag, s.variable].some((text) => text?.toLowerCase().includes(words)));
    const set = this.#settings.filter((s) => s.source !== "default").length;
    setText(this.#info, this.#settings.length ? `${count(shown.length, "setting")} shown, ${set} of ${this.#settings.length} set. Secrets are masked.` : "");
    this.#list.replaceChildren(...shown.map((s) => row(s)));
    this.#list.hidden = shown.length === 0;
    if (this.#settings.length === 0) this.#none.replaceChildren(empty("Nothing is configured here.", el("span", {}, "This is the demo: ", code("polywire serve"), " has settings.")));
    else this.#none.replaceChildren(shown.length ? "" : empty("No setting matches.", "Search for a part of a key, a flag or a description."));
  }
}

function row(s) {
  const own = s.source !== "default";
  return el(
    "li",
    {},
    el(
      "details",
      {},
      el("summary", {}, el("span", { class: "setting-key mono" }, s.key), el("span", { class: `setting-value mono ${own ? "" : "muted"}` }, valueOf(s.value)), el("span", { class: own ? "chip good" : "chip" }, stranger(s.source, { length: 48 }))),
      el(
        "div",
        { class: "detail" },
        el("p", {}, visible(s.doc ?? "", { lines: true })),
        el("dl", { class: "facts" }, pair("Value", valueOf(s.value, 2000)), pair("Default", valueOf(s.default, 2000)), pair("Accepts", s.accepts), pair("Flag", s.flag), pair("Variable", s.variable), pair("Changes", s.reload ? "by a reload (SIGHUP)" : "with a restart")),
      ),
    ),
  );
}

function valueOf(text, length = 80) {
  return text === "" || text === undefined ? el("span", { class: "muted" }, "empty") : stranger(text, { length });
}

const pair = (name, value) => (value ? el("div", {}, el("dt", {}, name), el("dd", { class: "mono" }, value)) : null);
