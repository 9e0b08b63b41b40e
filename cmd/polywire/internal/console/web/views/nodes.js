// The nodes of the cluster.
import { el } from "../dom.js";
import { bytes, count, integer, short } from "../format.js";
import { ago, code, empty, facts, failure, head, missing, stranger } from "../parts.js";
import { Poll } from "../poll.js";
import { href } from "../router.js";
import { Table } from "../table.js";

const EVERY_MS = 3000;

export class Nodes {
  #poll;
  #state = el("p", { class: "muted" });
  #trouble = el("div");
  #notes = el("div");
  #cluster = el("div");
  #table = new Table({
    label: "Nodes",
    key: (n) => n.id,
    columns: [
      { label: "Node", cell: (n) => el("div", { class: "main-cell" }, el("a", { href: href("connections", "", { node: n.id }) }, stranger(n.name ?? n.id, { length: 40 })), n.self ? el("span", { class: "chip good" }, "this one") : null, n.connections === undefined ? el("span", { class: "chip bad" }, "silent") : null, n.name ? el("div", { class: "sub always mono" }, stranger(n.id, { length: 40 })) : null) },
      { label: "Running since", class: "number mid", cell: (n) => ago(n.started) },
      { label: "Connections", class: "number", cell: (n) => integer(n.connections) },
      { label: "Rooms", class: "number", cell: (n) => integer(n.rooms) },
      { label: "Messages in", class: "number wide", cell: (n) => short(n.messages_in) },
      { label: "Messages out", class: "number wide", cell: (n) => short(n.messages_out) },
      { label: "Queued", class: "number wide", cell: (n) => bytes(n.queued_bytes) },
      { label: "Refused", class: "number wide", cell: (n) => integer(n.refused) },
      { label: "Dropped", class: "number wide", cell: (n) => integer(n.dropped) },
      { label: "Slow", class: "number wide", cell: (n) => integer(n.slow) },
      { label: "Services", class: "wider", cell: (n) => stranger(n.services?.join(", "), { length: 60 }) },
    ],
  });

  constructor(app) {
    this.node = el("div", { class: "view" }, head("Nodes"), this.#state, this.#trouble, this.#notes, this.#table.node, this.#cluster);
    this.#poll = new Poll({
      ask: (signal) => app.api.get("nodes", {}, signal),
      every: EVERY_MS,
      shown: (answer) => this.#show(answer),
      failed: (error) => this.#trouble.replaceChildren(failure(error, () => this.#poll.now())),
    });
    void this.#poll.now();
  }

  close() {
    this.#poll.stop();
  }

  #show({ nodes, available, missing_nodes: silent, cluster }) {
    this.#trouble.replaceChildren();
    this.#notes.replaceChildren(missing(silent) ?? "");
    this.#table.show(nodes);
    this.#state.className = available ? "muted" : "bad";
    this.#state.textContent = available ? count(nodes.length, "node") : "The cluster is not available: nodes work alone until it is.";
    if (!cluster) {
      if (!this.#cluster.hasChildNodes()) this.#cluster.replaceChildren(empty("This node is alone.", el("span", {}, "Servers that share a NATS are one: start each with ", code("--nats URL"), " or with ", code("--data-dir DIR --cluster-peers a,b,c"), ".")));
      return;
    }
    const figures = facts([
      ["Published", integer(cluster.published)],
      ["Received", integer(cluster.received)],
      ["Failed", integer(cluster.failed)],
      ["Malformed", integer(cluster.malformed)],
      ["Questions", integer(cluster.questions)],
      ["Answers missing", integer(cluster.missing)],
      ["Feeds", integer(cluster.feeds)],
    ]);
    this.#cluster.replaceChildren(el("section", { class: "card" }, el("h2", {}, "Between the nodes, since the start"), figures));
  }
}
