// Pieces that views are made of.
import { el, icon, setAttribute, setText } from "./dom.js";
import { absolute, clip, NONE, relative, visible } from "./format.js";

const SHOWN = 120; // characters of a name in a list
const TITLE = 600; // in what comes up below the mouse

/** A text of a stranger, shortened; all of it that is reasonable in the title. */
export function stranger(text, { length = SHOWN, mono = false } = {}) {
  if (text === undefined || text === null || text === "") return el("span", { class: "muted" }, NONE);
  const short = clip(text, length);
  const whole = clip(text, TITLE);
  return el("bdi", { class: mono ? "stranger mono" : "stranger", title: short === whole ? null : whole }, short);
}

/** A text of a stranger in full, as it is laid out. */
export function block(text, label) {
  return el("pre", { class: "block", tabindex: "0", role: "region", "aria-label": label }, visible(text, { lines: true }));
}

/** A time like "5 s ago", which goes on, with the whole of it as title. */
export function ago(iso) {
  const at = iso ? Date.parse(iso) : NaN;
  if (Number.isNaN(at)) return el("span", { class: "muted" }, NONE);
  return el("time", { class: "number", datetime: new Date(at).toISOString(), title: absolute(at), "data-relative": "" }, relative(at));
}

/** Sets the texts of all relative times anew. */
export function tick(root = document, now = Date.now()) {
  for (const node of root.querySelectorAll("time[data-relative]")) setText(node, relative(Date.parse(node.dateTime), now));
}

/** The head of a view. */
export function head(title, ...actions) {
  return el("header", { class: "head" }, el("h1", {}, title), actions.length ? el("div", { class: "head-actions" }, ...actions) : null);
}

/** A way back to a list above a title. */
export function crumb(href, text) {
  return el("a", { class: "crumb", href }, icon("back"), text);
}

/** @param look "primary", "warns", "little", ... */
export function button(text, act, { look = "", sign = null, ...attributes } = {}) {
  return el("button", { type: "button", class: `button ${look}`, click: act, ...attributes }, sign ? icon(sign) : null, text);
}

/** Pairs of a name and a value (text or node); a value of null leaves the pair out. */
export function facts(pairs, attributes = {}) {
  const shown = pairs.filter(([, value]) => value !== null && value !== undefined);
  return el("dl", { class: "facts", ...attributes }, shown.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}

/** Numbers worth seeing from afar; update(values) sets their texts. */
export class Tiles {
  #values;

  /** @param names what each is */
  constructor(names) {
    this.#values = names.map(() => el("dd", { class: "number" }, NONE));
    this.node = el("dl", { class: "tiles" }, names.map((name, i) => el("div", { class: "tile" }, el("dt", {}, name), this.#values[i])));
  }

  /** @param values texts, or [text, "good" | "warn" | "bad"] */
  show(values) {
    values.forEach((value, i) => {
      const [text, tone = ""] = [value].flat();
      setText(this.#values[i], text);
      setAttribute(this.#values[i], "class", `number ${tone}`);
    });
  }
}

/** What stands where nothing is: why, and what to do. */
export function empty(title, ...texts) {
  return el("div", { class: "empty" }, el("p", { class: "empty-title" }, title), texts.map((text) => el("p", {}, text)));
}

/** A line of a terminal or a file to copy. */
export const code = (text) => el("code", { class: "code" }, text);

/** An error with a way to try again. */
export function failure(error, retry) {
  return el("div", { class: "failure", role: "alert" }, el("span", {}, visible(error.message)), retry ? el("button", { type: "button", class: "text-button", click: retry }, "Try again") : null);
}

/** A labelled text field that tells of changes when typing rests. */
export function textField({ label, value = "", placeholder = "", sign = null, changed, ...attributes }) {
  let timer;
  const tell = (wait) => {
    clearTimeout(timer);
    timer = setTimeout(() => changed(input.value.trim()), wait);
  };
  const input = el("input", { value, placeholder, "aria-label": label, autocomplete: "off", spellcheck: "false", maxlength: "255", input: () => tell(250), change: () => tell(0), ...attributes });
  return el("div", { class: "field" }, sign ? icon(sign) : null, input);
}

/** A labelled choice. @param options [value, text] pairs */
export function selectField({ label, value = "", options, changed }) {
  const select = el("select", { "aria-label": label, change: () => changed(select.value) }, options.map(([v, text]) => el("option", { value: v, selected: v === value }, text)));
  return el("div", { class: "field" }, el("span", { "aria-hidden": "true" }, label), select);
}

/** One of few, all seen. @param options [value, text] pairs */
export function choices({ label, name, value, options, changed }) {
  return el("fieldset", { class: "choices" }, el("legend", { class: "hidden" }, label), options.map(([v, text]) => el("label", {}, el("input", { type: "radio", name, value: v, checked: v === value, change: () => changed(v) }), text)));
}

/** A filter that is set, and a way to take it off. */
export function filterChip(name, value, href) {
  return el("span", { class: "filter" }, el("span", { class: "muted" }, `${name} `), stranger(value, { length: 60 }), el("a", { href, "aria-label": `Without the filter ${name}` }, icon("close")));
}

/** Says that some nodes did not answer; null if all did. */
export function missing(nodes) {
  if (!nodes?.length) return null;
  return el("p", { class: "banner" }, el("span", {}, `Not complete: ${nodes.length === 1 ? "a node did" : `${nodes.length} nodes did`} not answer (`, stranger(nodes.join(", ")), ")."));
}
