// The connections of all nodes: searched, sorted, in pages.
import { el } from "../dom.js";
import { bytes, count, duration, integer, NONE } from "../format.js";
import { ago, empty, filterChip, head, missing, selectField, stranger, textField } from "../parts.js";
import { href, remember } from "../router.js";
import { Pages, Table } from "../table.js";

const LIMIT = 100;
const EVERY_MS = 2000;
const SORTS = [["", "Id"], ["newest", "Newest"], ["idle", "Longest idle"], ["in", "Most received"], ["out", "Most sent"], ["queued", "Most queued"]];
const FILTERS = ["user", "room", "namespace", "node"];

/** The table of connections, for a list of all or of a room. */
export function connectionTable(label) {
  return new Table({
    label,
    key: (c) => c.id,
    columns: [
      { label: "Connection", cell: (c) => el("div", { class: "main-cell" }, el("a", { href: href("connections", c.id), class: "mono" }, stranger(c.id, { length: 40 })), el("div", { class: "sub" }, stranger(c.user ?? c.address, { length: 48 }))) },
      { label: "User", class: "wide", cell: (c) => stranger(c.user, { length: 48 }) },
      { label: "Address", class: "wide", cell: (c) => stranger(c.address, { length: 60 }) },
      { label: "Wire", cell: (c) => el("span", {}, stranger(c.wire, { length: 24 }), c.namespace && c.namespace !== "/" ? el("span", { class: "muted" }, " ", stranger(c.namespace, { length: 24 })) : null) },
      { label: "Open since", class: "number", cell: (c) => ago(c.opened) },
      { label: "Idle", class: "number wider", cell: (c) => duration(c.idle_ms) },
      { label: "Rooms", class: "number wider", cell: (c) => integer(c.rooms) },
      { label: "In", class: "number wide", cell: (c) => integer(c.messages_in) },
      { label: "Out", class: "number wide", cell: (c) => integer(c.messages_out) },
      { label: "Queued", class: "number mid", cell: (c) => (c.queued_bytes === 0 ? NONE : bytes(c.queued_bytes)) },
    ],
  });
}

export class Connections {
  #app;
  #filter;
  #notes = el("div");
  #chips = el("div", { class: "chips" });
  #pages;

  constructor(app, { params }) {
    this.#app = app;
    this.#filter = Object.fromEntries(["q", "wire", "sort", ...FILTERS].map((name) => [name, params.get(name) ?? ""]));
    const table = connectionTable("Connections");
    this.#pages = new Pages({
      body: table.node,
      every: EVERY_MS,
      ask: (after, signal) => app.api.get("connections", { ...this.#filter, limit: LIMIT, after }, signal),
      show: (answer) => {
        this.#notes.replaceChildren(missing(answer.missing_nodes) ?? "");
        table.show(answer.connections);
        return answer.connections.length;
      },
      info: ({ connections, matched }, page) => (connections.length === matched ? count(matched, "connection") : `${integer((page - 1) * LIMIT + 1)}–${integer((page - 1) * LIMIT + connections.length)} of ${count(matched, "connection")}`),
      empty: () => this.#empty(),
    });
    const wires = (app.now?.wires ?? []).map((w) => [w.wire, w.wire]);
    if (this.#filter.wire && !wires.some(([w]) => w === this.#filter.wire)) wires.push([this.#filter.wire, this.#filter.wire]);
    this.search = textField({ label: "Search connections by id, user or address", placeholder: "Id, user or address", type: "search", sign: "search", value: this.#filter.q, changed: (q) => this.#set({ q }) });
    this.node = el(
      "div",
      { class: "view" },
      head("Connections"),
      el(
        "div",
        { class: "tools", role: "search" },
        this.search,
        selectField({ label: "Wire", value: this.#filter.wire, options: [["", "all"], ...wires], changed: (wire) => this.#set({ wire }) }),
        selectField({ label: "Sort", value: this.#filter.sort, options: SORTS, changed: (sort) => this.#set({ sort }) }),
      ),
      this.#chips,
      this.#notes,
      this.#pages.node,
    );
    const set = FILTERS.filter((name) => this.#filter[name]);
    this.#chips.replaceChildren(...set.map((name) => filterChip(name, this.#filter[name], href("connections", "", { ...this.#filter, [name]: "" }))));
    this.#chips.hidden = set.length === 0;
    void this.#pages.now();
  }

  close() {
    this.#pages.stop();
  }

  #set(change) {
    if (Object.entries(change).every(([name, value]) => this.#filter[name] === value)) return;
    Object.assign(this.#filter, change);
    remember(this.#filter);
    void this.#pages.restart();
  }

  #empty() {
    const { sort, ...filter } = this.#filter;
    if (Object.values(filter).some((value) => value)) return empty("No connection matches.", el("span", {}, "Search for a part of the id, the user or the address, or ", el("a", { href: href("connections", "", { sort }) }, "show all"), "."));
    return empty("Nobody is connected.", "Connections appear here as soon as a client of any wire opens one.");
  }
}
