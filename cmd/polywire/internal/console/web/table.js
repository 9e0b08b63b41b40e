// Tables that stay where they are while their numbers change, and pages of lists.
import { el, setText, sync } from "./dom.js";
import { Poll } from "./poll.js";
import { button, failure } from "./parts.js";

/**
 * columns: { label, class, cell(row) => text or node }. class may be "number",
 * "mid", "wide", "wider" (left out on pages that are narrow, more or less). A row leads to where the first link in it does.
 */
export class Table {
  #columns;
  #key;
  #body = el("tbody");

  constructor({ label, columns, key }) {
    this.#columns = columns;
    this.#key = key;
    this.#body.addEventListener("click", (e) => follow(e));
    const heads = columns.map((c) => el("th", { scope: "col", class: c.class }, c.label));
    this.node = el("div", { class: "table-box" }, el("table", { "aria-label": label }, el("thead", {}, el("tr", {}, heads)), this.#body));
  }

  show(rows) {
    sync(this.#body, rows, {
      key: this.#key,
      create: () => el("tr", {}, this.#columns.map((c) => el("td", { class: c.class }))),
      update: (node, row) => this.#columns.forEach((c, i) => put(node.children[i], c.cell(row))),
    });
  }
}

// What is equal stays: it may have the focus, or be selected.
function put(cell, content) {
  if (typeof content === "string") setText(cell, content);
  else if (!(cell.childNodes.length === 1 && cell.firstChild.isEqualNode(content))) cell.replaceChildren(content);
}

function follow(event) {
  if (event.target.closest("a, button, input") || getSelection().toString()) return;
  event.target.closest("tr")?.querySelector("a")?.click();
}

/** Moves the focus among the rows of lists: by 1 or -1. */
export function moveRow(root, by) {
  const rows = [...root.querySelectorAll("tbody tr a:first-of-type, .rows summary")].filter((a, i, all) => all.findIndex((b) => b.closest("tr, li") === a.closest("tr, li")) === i);
  if (rows.length === 0) return;
  const at = rows.findIndex((a) => a.closest("tr, li").contains(document.activeElement));
  const to = at < 0 ? (by > 0 ? 0 : rows.length - 1) : Math.min(Math.max(at + by, 0), rows.length - 1);
  rows[to].focus();
  rows[to].scrollIntoView({ block: "nearest" });
}

/**
 * A list in pages, read again and again. options:
 *   ask(after, signal) => Promise of { next, ... }
 *   show(answer) puts rows into body, and returns how many there are
 *   body, empty() => node, every (ms), info(answer) => text or node
 */
export class Pages {
  #o;
  #poll;
  #after = []; // the cursors of the pages up to this one
  #next;
  #info = el("span", { class: "muted number" });
  #back = button("Previous", () => this.#turn(() => this.#after.pop()), { look: "little" });
  #on = button("Next", () => this.#turn(() => this.#after.push(this.#next)), { look: "little" });
  #trouble = el("div");
  #none = el("div");
  #pager;

  constructor(options) {
    this.#o = options;
    this.#pager = el("nav", { class: "pager", "aria-label": "Pages" }, this.#info, el("span", { class: "spacer" }), this.#back, this.#on);
    this.#pager.hidden = true;
    options.body.hidden = true;
    this.node = el("div", { class: "pages", "aria-busy": "true" }, this.#trouble, this.#none, options.body, this.#pager);
    this.#poll = new Poll({
      ask: (signal) => options.ask(this.#after.at(-1), signal),
      every: options.every ?? 0,
      shown: (answer) => this.#shown(answer),
      failed: (error) => this.#failed(error),
    });
  }

  /** Reads this page again. */
  now() {
    return this.#poll.now();
  }

  /** Reads from the first page on. */
  restart() {
    this.#after = [];
    this.node.setAttribute("aria-busy", "true");
    return this.#poll.now();
  }

  stop() {
    this.#poll.stop();
  }

  #turn(change) {
    change();
    this.node.setAttribute("aria-busy", "true");
    void this.#poll.now();
  }

  #shown(answer) {
    const { body } = this.#o;
    const rows = this.#o.show(answer);
    if (rows === 0 && this.#after.length > 0) return this.#turn(() => this.#after.pop()); // what was on this page is gone
    this.#next = answer.next;
    this.node.setAttribute("aria-busy", "false");
    this.#trouble.replaceChildren();
    const none = rows > 0 ? "" : this.#o.empty();
    if (none === "" || !this.#none.firstChild?.isEqualNode(none)) this.#none.replaceChildren(none);
    body.hidden = rows === 0;
    this.#back.disabled = this.#after.length === 0;
    this.#on.disabled = this.#next === undefined;
    this.#back.hidden = this.#on.hidden = this.#back.disabled && this.#on.disabled;
    this.#pager.hidden = rows === 0;
    const info = this.#o.info?.(answer, this.#after.length + 1) ?? "";
    if (typeof info === "string") setText(this.#info, info);
    else this.#info.replaceChildren(info);
  }

  #failed(error) {
    this.node.setAttribute("aria-busy", "false");
    const again = document.activeElement && this.#trouble.contains(document.activeElement);
    this.#trouble.replaceChildren(failure(error, () => this.now()));
    if (again) this.#trouble.querySelector("button").focus();
  }
}
