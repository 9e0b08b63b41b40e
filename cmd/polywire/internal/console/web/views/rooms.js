// Rooms, and who is in one.
import { el } from "../dom.js";
import { count, integer } from "../format.js";
import { crumb, empty, head, missing, selectField, stranger, textField } from "../parts.js";
import { href, remember } from "../router.js";
import { Pages, Table } from "../table.js";
import { connectionTable } from "./connections.js";

const LIMIT = 100;
const EVERY_MS = 2000;
const ROOT = "/";

export class Rooms {
  #filter;
  #pages;
  #notes = el("div");
  #spaces = el("div");

  constructor(app, { params }) {
    this.#filter = { q: params.get("q") ?? "", namespace: params.get("namespace") ?? "" };
    const table = new Table({
      label: "Rooms",
      key: (room) => room.name,
      columns: [
        { label: "Room", cell: (room) => el("a", { href: this.#place(room) }, stranger(room.name)) },
        { label: "Members", class: "number", cell: (room) => integer(room.members) },
        { label: "", class: "actions", cell: (room) => el("a", { href: href("tail", "", { room: room.name }) }, "Tail") },
      ],
    });
    this.#pages = new Pages({
      body: table.node,
      every: EVERY_MS,
      ask: (after, signal) => app.api.get("rooms", { ...this.#filter, limit: LIMIT, after }, signal),
      show: (answer) => {
        this.#notes.replaceChildren(missing(answer.missing_nodes) ?? "");
        this.#namespaces(answer.namespaces ?? []);
        table.show(answer.rooms);
        return answer.rooms.length;
      },
      info: ({ rooms, next }, page) => (page === 1 && next === undefined ? count(rooms.length, "room") : `Page ${page}`),
      empty: () => (this.#filter.q ? empty("No room matches.", "Search for a part of its name.") : empty("There are no rooms.", "A room is there while somebody is in it: when a handler joins a connection, or a client subscribes.")),
    });
    this.search = textField({ label: "Search rooms by name", placeholder: "Part of the name", type: "search", sign: "search", value: this.#filter.q, changed: (q) => this.#set({ q }) });
    this.node = el("div", { class: "view" }, head("Rooms"), el("div", { class: "tools", role: "search" }, this.search, this.#spaces), this.#notes, this.#pages.node);
    void this.#pages.now();
  }

  close() {
    this.#pages.stop();
  }

  #place(room) {
    return href("rooms", room.name, { namespace: room.namespace === ROOT ? "" : room.namespace });
  }

  #namespaces(names) {
    const known = JSON.stringify(names);
    if (this.#spaces.dataset.names === known) return;
    this.#spaces.dataset.names = known;
    const options = [...new Set([ROOT, ...names, this.#filter.namespace || ROOT])].map((name) => [name === ROOT ? "" : name, name]);
    this.#spaces.replaceChildren(options.length > 1 ? selectField({ label: "Namespace", value: this.#filter.namespace, options, changed: (namespace) => this.#set({ namespace }) }) : "");
  }

  #set(change) {
    if (Object.entries(change).every(([name, value]) => this.#filter[name] === value)) return;
    Object.assign(this.#filter, change);
    remember(this.#filter);
    void this.#pages.restart();
  }
}

export class Room {
  #pages;
  #notes = el("div");

  constructor(app, { id, params }) {
    const namespace = params.get("namespace") ?? "";
    const table = connectionTable("Members");
    this.#pages = new Pages({
      body: table.node,
      every: EVERY_MS,
      ask: (after, signal) => app.api.get("connections", { room: id, namespace: namespace || ROOT, limit: LIMIT, after }, signal),
      show: (answer) => {
        this.#notes.replaceChildren(missing(answer.missing_nodes) ?? "");
        table.show(answer.connections);
        return answer.connections.length;
      },
      info: ({ matched }) => count(matched, "member"),
      empty: () => empty("Nobody is in this room.", "It is gone when its last member leaves, and comes back with the next."),
    });
    this.node = el(
      "div",
      { class: "view" },
      crumb(href("rooms", "", { namespace }), "Rooms"),
      head(stranger(id, { length: 80 }), el("a", { class: "button", href: href("tail", "", { room: id }) }, "Watch its messages")),
      namespace ? el("p", { class: "muted" }, "Namespace ", stranger(namespace)) : null,
      this.#notes,
      this.#pages.node,
    );
    void this.#pages.now();
  }

  close() {
    this.#pages.stop();
  }
}
