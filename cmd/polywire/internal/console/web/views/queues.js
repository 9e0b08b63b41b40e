// Queues, and the dead letters of one.
import { confirm, notice } from "../dialogs.js";
import { el } from "../dom.js";
import { count, duration, integer, NONE, rate, visible } from "../format.js";
import { ago, block, button, code, crumb, empty, facts, head, selectField, stranger, textField, Tiles } from "../parts.js";
import { Poll } from "../poll.js";
import { href, remember } from "../router.js";
import { Pages, Table } from "../table.js";
import { bodyOf } from "./tail.js";

const EVERY_MS = 3000;
const LETTERS = 20;

const number = (n) => (n === undefined ? NONE : integer(n));

/** What stands where queues would be. */
const none = () => empty("This server has no queues.", el("span", {}, "They are there with ", code("--data-dir DIR"), ", ", code("--nats URL"), " or ", code("--amqp URL"), " and a rule such as ", code("--queue-in 'order.*=orders'"), "."));

export class Queues {
  #pages;
  #state = el("div");
  #tiles = new Tiles(["Published", "Rate", "Errors", "Broker", "Reconnects"]);

  constructor(app) {
    const table = new Table({
      label: "Queues",
      key: (q) => q.name,
      columns: [
        { label: "Queue", cell: (q) => el("div", { class: "main-cell" }, el("a", { href: href("queues", q.name) }, stranger(q.name)), q.handler?.paused ? el("span", { class: "chip warn" }, "paused") : null, q.error || q.handler?.trouble ? el("div", { class: "sub always bad" }, stranger(q.error || q.handler.trouble)) : null) },
        { label: "Waiting", class: "number", cell: (q) => number(q.waiting) },
        { label: "Delayed", class: "number wide", cell: (q) => number(q.delayed) },
        { label: "In hand", class: "number wide", cell: (q) => number(q.unacked) },
        { label: "Oldest", class: "number wide", cell: (q) => ago(q.oldest) },
        { label: "Done", class: "number wide", cell: (q) => (q.handler ? rate(q.handler.done_rate) : NONE) },
        { label: "Dead", class: "number", cell: (q) => (q.dead ? el("span", { class: "chip bad" }, integer(q.dead)) : number(q.dead)) },
      ],
    });
    this.#tiles.node.hidden = true;
    this.#pages = new Pages({
      body: table.node,
      every: EVERY_MS,
      ask: (after, signal) => app.api.get("queues", { limit: 50, after }, signal),
      show: (answer) => {
        this.#show(answer);
        table.show(answer.queues ?? []);
        return answer.queues?.length ?? 0;
      },
      info: ({ queues, next }, page) => (page === 1 && next === undefined ? count(queues.length, "queue") : `Page ${page}`),
      empty: none,
    });
    this.node = el("div", { class: "view" }, head("Queues"), this.#state, this.#tiles.node, this.#pages.node);
    void this.#pages.now();
  }

  close() {
    this.#pages.stop();
  }

  #show(answer) {
    this.#tiles.node.hidden = !answer.available;
    if (!answer.available) return;
    const { state, reason, reconnects } = answer.connection;
    this.#tiles.show([integer(answer.published), rate(answer.publish_rate), [integer(answer.publish_errors), answer.publish_errors ? "warn" : ""], [visible(state), state === "connected" ? "good" : "bad"], integer(reconnects)]);
    this.#state.replaceChildren(reason ? el("p", { class: "banner" }, stranger(reason, { length: 300 })) : "");
  }
}

const REASONS = [["", "all"], ["attempts", "attempts used up"], ["discarded", "discarded by the handler"], ["lost", "lost"], ["broker", "the broker's"]];

export class Queue {
  #app;
  #name;
  #poll;
  #queue = null;
  #filter;
  #pages;
  #list = el("ul", { class: "rows letters" });
  #tiles = new Tiles(["Waiting", "Delayed", "In hand", "Dead", "Done", "Failed", "Oldest"]);
  #trouble = el("div");
  #replayAll = button("Replay all…", () => this.#all("replay"), { disabled: true });
  #discardAll = button("Discard all…", () => this.#all("discard"), { look: "warns", disabled: true });

  constructor(app, { id, params }) {
    this.#app = app;
    this.#name = id;
    this.#filter = Object.fromEntries(["kind", "reason", "error"].map((name) => [name, params.get(name) ?? ""]));
    this.#pages = new Pages({
      body: this.#list,
      every: 0,
      ask: (after, signal) => app.api.get("queue/dead", { queue: id, ...this.#filter, limit: LETTERS, after }, signal),
      show: ({ letters }) => this.#show(letters),
      info: ({ letters, next }, page) => (page === 1 && next === undefined ? count(letters.length, "dead letter") : `Page ${page}`),
      empty: () => (this.#narrowed() ? empty("No dead letter matches.", "Kind and reason match as they are, the error by a part of its text.") : empty("No dead letters.", "Messages come here when their handler gives them up, or fails too often.")),
    });
    this.#poll = new Poll({ ask: (signal) => find(app, id, signal), every: EVERY_MS, shown: (queue) => this.#figures(queue), failed: (error) => this.#trouble.replaceChildren(el("p", { class: "banner" }, visible(error.message))) });
    this.search = textField({ label: "Kind", placeholder: "Kind", value: this.#filter.kind, changed: (kind) => this.#set({ kind }) });
    this.node = el(
      "div",
      { class: "view" },
      crumb(href("queues"), "Queues"),
      head(stranger(id, { length: 80 })),
      this.#trouble,
      this.#tiles.node,
      el("div", { class: "head section" }, el("h2", {}, "Dead letters"), el("div", { class: "head-actions" }, button("Read again", () => this.#again()), this.#replayAll, this.#discardAll)),
      el(
        "div",
        { class: "tools", role: "search" },
        this.search,
        textField({ label: "Part of the error", placeholder: "Part of the error", value: this.#filter.error, changed: (error) => this.#set({ error }) }),
        selectField({ label: "Reason", value: this.#filter.reason, options: REASONS, changed: (reason) => this.#set({ reason }) }),
      ),
      this.#pages.node,
    );
    this.#again();
  }

  close() {
    this.#poll.stop();
    this.#pages.stop();
  }

  #again() {
    void this.#poll.now();
    void this.#pages.now();
  }

  #set(change) {
    if (Object.entries(change).every(([name, value]) => this.#filter[name] === value)) return;
    Object.assign(this.#filter, change);
    remember(this.#filter);
    void this.#pages.restart();
  }

  #narrowed() {
    return Object.values(this.#filter).some((value) => value);
  }

  #figures(q) {
    const changed = this.#queue !== null && q?.dead !== this.#queue.dead;
    this.#queue = q;
    const trouble = q === null ? "The broker knows no queue of this name." : q.error || q.handler?.trouble;
    this.#trouble.replaceChildren(trouble ? el("p", { class: "banner" }, stranger(trouble, { length: 300 })) : "");
    this.#tiles.show([number(q?.waiting), number(q?.delayed), number(q?.unacked), [number(q?.dead), q?.dead ? "bad" : ""], number(q?.handler?.done), number(q?.handler?.failed), q?.oldest ? duration(Date.now() - Date.parse(q.oldest)) : NONE]);
    if (changed) void this.#pages.now();
  }

  #show(letters) {
    // What is open stays so.
    const open = new Set([...this.#list.querySelectorAll("details[open]")].map((node) => node.closest("li").dataset.key));
    this.#list.replaceChildren(...letters.map((letter) => this.#letter(letter, open.has(letter.id))));
    this.#replayAll.disabled = this.#discardAll.disabled = letters.length === 0;
    return letters.length;
  }

  #letter(letter, open) {
    const details = el(
      "details",
      { open },
      el(
        "summary",
        {},
        el("span", { class: "letter-kind" }, stranger(letter.kind, { length: 60 })),
        el("span", { class: "letter-error" }, stranger(letter.error, { length: 120 })),
        el("span", { class: "chip bad" }, visible(letter.reason)),
        el("span", { class: "number muted" }, count(letter.attempts, "try", "tries")),
        el("span", { class: "muted" }, ago(letter.died ?? letter.published)),
      ),
      el(
        "div",
        { class: "detail" },
        facts([
          ["Id", stranger(letter.id, { length: 300, mono: true })],
          ["Kind", stranger(letter.kind, { length: 300 })],
          ["Key", letter.key ? stranger(letter.key, { length: 300 }) : null],
          ["Error", letter.error ? stranger(letter.error, { length: 1000 }) : null],
          ["Published", letter.published ? ago(letter.published) : null],
          ["Died", letter.died ? ago(letter.died) : null],
          ["Type", letter.type ? stranger(letter.type) : null],
          ...Object.entries(letter.header ?? {}).map(([name, value]) => [`Header ${visible(name)}`, stranger(value, { length: 300 })]),
        ]),
        bodyOf(letter),
        letter.stack ? block(letter.stack, "Stack") : null,
        el("div", { class: "row-actions" }, button("Replay", () => this.#one("replay", letter), { look: "little" }), button("Discard…", () => this.#one("discard", letter), { look: "little warns" })),
      ),
    );
    const item = el("li", {}, details);
    item.dataset.key = letter.id;
    return item;
  }

  async #one(action, letter) {
    if (action === "discard" && !(await confirm({ title: "Discard this dead letter?", texts: ["1 message is gone for good."], action: "Discard" }))) return;
    try {
      const { done, error } = await this.#app.api.post(`queue/dead/${action}`, { queue: this.#name, ids: [letter.id] });
      notice(error ? `It failed: ${visible(error)}` : done ? (action === "replay" ? "Replayed: it is in its queue again." : "Discarded.") : "It was not there any more.", error ? "bad" : "good");
    } catch (error) {
      notice(error.status === 404 ? "It was not there any more." : error.message, "bad");
    }
    this.#again();
  }

  async #all(action) {
    const narrowed = this.#narrowed();
    const n = narrowed || this.#queue?.dead === undefined ? null : this.#queue.dead;
    const which = n === null ? "all dead letters that match the filters" : count(n, "dead letter");
    const replay = action === "replay";
    const texts = [replay ? "They go back into the queue as if they were new, with all their attempts." : "They are gone for good."];
    if (!(await confirm({ title: `${replay ? "Replay" : "Discard"} ${which}?`, texts, action: replay ? "Replay" : "Discard", danger: !replay }))) return;
    const filter = Object.fromEntries(Object.entries(this.#filter).filter(([, value]) => value));
    await inTurns((so) => this.#app.api.post(`queue/dead/${action}`, { queue: this.#name, all: true, ...filter }), replay ? "Replayed" : "Discarded", ["dead letter"]);
    this.#again();
  }
}

/** Repeats what the server does in parts until there is no more of it, and says how far it is. */
export async function inTurns(act, word, [one, many], field = "done") {
  let total = 0;
  const said = () => `${word} ${count(total, one, many ?? `${one}s`)}`;
  try {
    for (let more = true; more; ) {
      const answer = await act();
      total += answer[field];
      if (answer.error) return notice(`${said()}, then it failed: ${visible(answer.error)}`, "bad");
      more = answer.more === true && answer[field] > 0;
      notice(more ? `${said()} so far…` : `${said()}.`);
    }
  } catch (error) {
    notice(total ? `${said()}, then it failed: ${visible(error.message)}` : error.message, "bad");
  }
}

/** The figures of one queue, null if there is none of the name. */
async function find(app, name, signal) {
  let after;
  do {
    const { queues = [], next } = await app.api.get("queues", { limit: 200, after }, signal);
    const found = queues.find((q) => q.name === name);
    if (found) return found;
    after = next;
  } while (after !== undefined);
  return null;
}
