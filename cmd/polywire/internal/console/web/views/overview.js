// How the server is, at a glance.
import { el } from "../dom.js";
import { Figures, SPANS } from "../figures.js";
import { bytes, duration, integer, latency, rate, short } from "../format.js";
import { choices, facts, failure, head, stranger, Tiles } from "../parts.js";
import { Plot } from "../plot.js";
import { Poll } from "../poll.js";
import { keep, recall } from "../storage.js";
import { Table } from "../table.js";

const perSecond = (n) => (n === null ? "–" : short(n));

const PLOTS = [
  { title: "Messages per second", columns: ["messages_in", "messages_out"], series: [{ label: "in" }, { label: "out" }], format: perSecond },
  { title: "Handling time", columns: ["p50_ms", "p99_ms"], series: [{ label: "p50" }, { label: "p99" }], format: latency, least: 0.1 },
  { title: "Connections", columns: ["connections"], series: [{ label: "open" }], format: short, least: 4 },
  { title: "Traffic per second", columns: ["bytes_in", "bytes_out"], series: [{ label: "in" }, { label: "out" }], format: bytes, base: 1024, least: 1024 },
  { title: "Failed, refused and dropped per second", columns: ["failed", "refused", "dropped"], series: [{ label: "failed" }, { label: "refused" }, { label: "dropped" }], format: perSecond },
  { title: "Waiting to be sent", columns: ["queued_bytes"], series: [{ label: "queued" }], format: bytes, base: 1024, least: 1024 },
  { title: "Memory", columns: ["memory_bytes", "heap_bytes"], series: [{ label: "of the process" }, { label: "heap" }], format: bytes, base: 1024, least: 1 << 20 },
  { title: "Goroutines", columns: ["goroutines"], series: [{ label: "running" }], format: short, least: 10 },
];

export class Overview {
  #app;
  #span = recall("span") in SPANS ? recall("span") : "10m";
  #figures;
  #poll;
  #tiles = new Tiles(["Connections", "Messages in", "Messages out", "p50", "p99", "Failed", "Queued", "Memory"]);
  #wires = new Table({
    label: "Wires",
    key: (w) => w.wire,
    columns: [
      { label: "Wire", cell: (w) => w.wire },
      { label: "Connections", class: "number", cell: (w) => integer(w.connections) },
      { label: "Accepted", class: "number wide", cell: (w) => integer(w.accepted) },
      { label: "Messages in", class: "number", cell: (w) => short(w.messages_in) },
      { label: "Messages out", class: "number", cell: (w) => short(w.messages_out) },
      { label: "In", class: "number wide", cell: (w) => bytes(w.bytes_in) },
      { label: "Out", class: "number wide", cell: (w) => bytes(w.bytes_out) },
      { label: "Queued", class: "number wide", cell: (w) => bytes(w.queued_bytes) },
    ],
  });
  #about = el("div");
  #totals = el("div");
  #trouble = el("div");
  #plots = PLOTS.map((p) => new Plot(p));

  constructor(app) {
    this.#app = app;
    const spans = choices({ label: "Time shown", name: "span", value: this.#span, options: [["10m", "10 minutes"], ["2h", "2 hours"]], changed: (v) => this.#show(v) });
    this.node = el(
      "div",
      { class: "view overview" },
      head("Overview", spans),
      this.#trouble,
      this.#tiles.node,
      el("div", { class: "plots" }, this.#plots.map((p) => p.node)),
      el("section", { class: "card" }, el("h2", {}, "Wires"), this.#wires.node),
      el("div", { class: "two" }, el("section", { class: "card" }, el("h2", {}, "Since the start"), this.#totals), el("section", { class: "card" }, el("h2", {}, "This server"), this.#about)),
    );
    this.#show(this.#span);
    if (app.about) this.about(app.about);
  }

  close() {
    this.#poll.stop();
  }

  /** The stream is there again: what was missed is read. */
  back() {
    this.#show(this.#span);
  }

  /** Each second while nobody looks. */
  hidden({ point }) {
    if (this.#span === "10m") this.#figures.add(point);
  }

  /** Each second. */
  figures({ point, now }) {
    this.hidden({ point });
    this.#draw();
    const p = point;
    this.#tiles.show([
      integer(p.connections),
      rate(p.messages_in),
      rate(p.messages_out),
      latency(p.p50_ms),
      latency(p.p99_ms),
      [rate(p.failed), p.failed > 0 ? "bad" : ""],
      [bytes(p.queued_bytes), p.queued_bytes > 64 << 20 ? "warn" : ""],
      bytes(p.memory_bytes),
    ]);
    this.#wires.show(now.wires);
    this.#totals.replaceChildren(totals(now));
  }

  /** What does not change while a server runs. */
  about(overview) {
    this.#about.replaceChildren(
      facts([
        ["Name", overview.name ? stranger(overview.name) : null],
        ["Node", stranger(overview.node, { mono: true })],
        ["State", overview.state],
        ["Running for", duration(Date.now() - Date.parse(overview.started))],
        ["Version", overview.version],
        ["Go", overview.go],
        ["Cluster", overview.parts.cluster ? `${integer(overview.now.nodes)} nodes${overview.now.cluster_available ? "" : ", not available"}` : "none: this node alone"],
      ]),
    );
    this.figures(overview);
  }

  #show(span) {
    this.#span = span;
    keep("span", span);
    this.#poll?.stop();
    this.#figures = new Figures(span);
    this.#poll = new Poll({
      ask: (signal) => this.#app.api.get("series", { span }, signal),
      every: span === "10m" ? 0 : SPANS[span].step,
      shown: (series) => {
        this.#trouble.replaceChildren();
        this.#figures.load(series);
        this.#draw();
      },
      failed: (error) => this.#trouble.replaceChildren(failure(error, () => this.#poll.now())),
    });
    void this.#poll.now();
    this.#draw();
  }

  #draw() {
    this.#plots.forEach((plot, i) => plot.show(this.#figures.of(...PLOTS[i].columns)));
  }
}

function totals(now) {
  return facts([
    ["Accepted", integer(now.accepted)],
    ["Refused", integer(now.refused)],
    ["Messages in", integer(now.messages_in)],
    ["Messages out", integer(now.messages_out)],
    ["Received", bytes(now.bytes_in)],
    ["Sent", bytes(now.bytes_out)],
    ["Dropped", integer(now.dropped)],
    ["Slow consumers", integer(now.slow)],
    ["Asleep now", integer(now.asleep)],
    ["Rooms now", integer(now.rooms)],
    ["Memberships now", integer(now.memberships)],
  ]);
}
