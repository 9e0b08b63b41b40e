// Webhook endpoints, their health, and the attempts to reach one.
import { confirm, notice } from "../dialogs.js";
import { el } from "../dom.js";
import { absolute, count, integer, latency, NONE, visible } from "../format.js";
import { ago, button, code, crumb, empty, facts, failure, filterChip, head, stranger, Tiles } from "../parts.js";
import { Poll } from "../poll.js";
import { href } from "../router.js";
import { Pages, Table } from "../table.js";
import { inTurns } from "./queues.js";

const EVERY_MS = 3000;
const ATTEMPTS = 50;

/** How an endpoint is, as [word, look]. */
export function health(e) {
  if (e.disabled) return ["disabled", "bad"];
  if (e.breaker && e.breaker !== "closed") return [e.breaker === "open" ? "resting" : "trying again", "warn"];
  if (e.failing_since) return ["failing", "bad"];
  if (e.last_success) return ["healthy", "good"];
  return ["not used yet", ""];
}

const healthChip = (e) => {
  const [word, look] = health(e);
  return el("span", { class: `chip ${look}` }, word);
};

const none = () => empty("This server sends no webhooks.", el("span", {}, "They go out with ", code("--webhooks"), " and a rule such as ", code("--webhook-out 'order.*'"), "."));

export class Webhooks {
  #poll;
  #trouble = el("div");
  #none = el("div");
  #tiles = new Tiles(["Accepted", "Delivered", "Attempts", "Retried", "Failed", "Dropped", "Parked"]);
  #table = new Table({
    label: "Endpoints",
    key: (e) => e.id,
    columns: [
      { label: "Endpoint", cell: (e) => el("div", { class: "main-cell" }, el("a", { href: href("webhooks", e.id) }, stranger(e.id, { length: 60 })), el("div", { class: "sub always" }, stranger(e.host, { length: 80 }))) },
      { label: "Health", cell: (e) => healthChip(e) },
      { label: "Types", class: "wide", cell: (e) => stranger(e.types.join(", "), { length: 60 }) },
      { label: "Delivered", class: "number mid", cell: (e) => integer(e.delivered) },
      { label: "Failed", class: "number", cell: (e) => integer(e.failed) },
      { label: "Waiting", class: "number wide", cell: (e) => integer(e.waiting) },
      { label: "Took", class: "number wide", cell: (e) => (e.took_ms === undefined ? NONE : latency(e.took_ms)) },
      { label: "Last success", class: "number wide", cell: (e) => ago(e.last_success) },
    ],
  });

  constructor(app) {
    this.#table.node.hidden = this.#tiles.node.hidden = true;
    this.node = el("div", { class: "view" }, head("Webhooks"), this.#trouble, this.#tiles.node, this.#none, this.#table.node);
    this.#poll = new Poll({
      ask: (signal) => app.api.get("webhooks", {}, signal),
      every: EVERY_MS,
      shown: (answer) => this.#show(answer),
      failed: (error) => this.#trouble.replaceChildren(failure(error, () => this.#poll.now())),
    });
    void this.#poll.now();
  }

  close() {
    this.#poll.stop();
  }

  #show(w) {
    const endpoints = w.endpoints ?? [];
    this.#trouble.replaceChildren(w.watching ? el("p", { class: "banner" }, stranger(w.watching, { length: 300 })) : w.more ? el("p", { class: "banner" }, `Only the first ${integer(endpoints.length)} endpoints are shown.`) : "");
    this.#tiles.node.hidden = !w.available;
    this.#table.node.hidden = endpoints.length === 0;
    if (endpoints.length > 0) this.#none.replaceChildren();
    else if (!this.#none.hasChildNodes()) this.#none.replaceChildren(w.available ? empty("There are no endpoints.", el("span", {}, "Add one: ", code("polywire webhook endpoint add"), " or the API.")) : none());
    if (!w.available) return;
    this.#tiles.show([integer(w.accepted), integer(w.delivered), integer(w.attempts), integer(w.retried), [integer(w.failed), w.failed ? "bad" : ""], integer(w.dropped), [integer(w.parked), w.parked ? "warn" : ""]]);
    this.#table.show(endpoints);
  }
}

const LOOKS = { delivered: "good", scheduled: "warn", failed: "bad", dropped: "bad" };

function attemptTable(replay) {
  return new Table({
    label: "Attempts",
    key: (a) => `${a.event} ${a.endpoint} ${a.try} ${a.start}`,
    columns: [
      { label: "Event", cell: (a) => el("div", { class: "main-cell" }, el("a", { href: href("webhooks", "", { event: a.event }), class: "mono" }, stranger(a.event, { length: 40 })), el("div", { class: "sub always" }, stranger(a.type, { length: 60 }), a.replay ? " · replayed" : "")) },
      { label: "Endpoint", class: "wide", cell: (a) => el("a", { href: href("webhooks", a.endpoint) }, stranger(a.endpoint, { length: 40 })) },
      { label: "Try", class: "number wide", cell: (a) => integer(a.try) },
      { label: "Result", cell: (a) => el("div", { class: "main-cell" }, el("span", { class: `chip ${LOOKS[a.state] ?? ""}` }, a.state, a.status ? ` ${a.status}` : ""), a.error ? el("div", { class: "sub always" }, stranger(a.error, { length: 90 })) : null) },
      { label: "Took", class: "number wide", cell: (a) => latency(a.duration_ms) },
      { label: "When", class: "number mid", cell: (a) => ago(a.start) },
      { label: "Next try", class: "number wide", cell: (a) => ago(a.next) },
      { label: "", class: "actions", cell: (a) => button("Replay", () => replay(a), { look: "little", "aria-label": `Replay to ${visible(a.endpoint)}` }) },
    ],
  });
}

async function replayOne(app, attempt, again) {
  if (!(await confirm({ title: "Send this event again?", texts: [`1 event of type ${visible(attempt.type)} goes to ${visible(attempt.endpoint)} once more.`], action: "Send again", danger: false }))) return;
  await inTurns(() => app.api.post("webhooks/replay", { endpoint: attempt.endpoint, event: attempt.event }), "Queued", ["event"], "queued");
  again();
}

export class Endpoint {
  #app;
  #id;
  #poll;
  #pages;
  #endpoint = null;
  #trouble = el("div");
  #facts = el("div");
  #chip = el("span");
  #tiles = new Tiles(["Attempts", "Delivered", "Failed", "Dropped", "Waiting", "Running", "Took"]);
  #failed = button("Replay failed…", () => this.#replayFailed(), { disabled: true });

  constructor(app, { id }) {
    this.#app = app;
    this.#id = id;
    const table = attemptTable((attempt) => replayOne(app, attempt, () => this.#again()));
    this.#pages = new Pages({
      body: table.node,
      every: EVERY_MS,
      ask: (before, signal) => app.api.get("webhooks/attempts", { endpoint: id, limit: ATTEMPTS, before }, signal),
      show: ({ attempts }) => {
        table.show(attempts);
        return attempts.length;
      },
      info: (_, page) => `Page ${page}, newest first`,
      empty: () => empty("No attempts yet.", "An attempt is made when an event of one of its types is accepted."),
    });
    this.#poll = new Poll({
      ask: async (signal) => (await app.api.get("webhooks", {}, signal)).endpoints?.find((e) => e.id === id) ?? null,
      every: EVERY_MS,
      shown: (e) => this.#show(e),
      failed: (error) => this.#trouble.replaceChildren(failure(error, () => this.#poll.now())),
    });
    this.node = el(
      "div",
      { class: "view" },
      crumb(href("webhooks"), "Webhooks"),
      head(el("span", { class: "with-chip" }, stranger(id, { length: 80 }), this.#chip), this.#failed),
      this.#trouble,
      this.#tiles.node,
      el("section", { class: "card" }, el("h2", {}, "Endpoint"), this.#facts),
      el("div", { class: "head section" }, el("h2", {}, "Attempts")),
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

  #show(e) {
    this.#endpoint = e;
    this.#failed.disabled = e === null;
    this.#trouble.replaceChildren(e === null ? el("p", { class: "banner" }, "There is no such endpoint any more.") : "");
    if (e === null) return;
    this.#chip.replaceChildren(healthChip(e));
    this.#tiles.show([integer(e.attempts), integer(e.delivered), [integer(e.failed), e.failed ? "bad" : ""], integer(e.dropped), integer(e.waiting), integer(e.running), e.took_ms === undefined ? NONE : latency(e.took_ms)]);
    this.#facts.replaceChildren(
      facts([
        ["Host", stranger(e.host)],
        ["Description", e.description ? stranger(e.description, { length: 300 }) : null],
        ["Types", stranger(e.types.join(", "), { length: 300 })],
        ["Format", stranger(e.format)],
        ["Disabled", e.disabled ? stranger(e.disabled_reason || "yes", { length: 300 }) : null],
        ["Failing since", e.failing_since ? ago(e.failing_since) : null],
        ["Last success", ago(e.last_success)],
        ["Tries at once", integer(e.concurrency)],
        ["Tries a second", e.rate ? integer(e.rate) : null],
        ["Ordered", e.ordered ? "yes: an event waits for those before it" : null],
        ["Added", ago(e.created)],
        ["Changed", ago(e.updated)],
      ]),
    );
  }

  async #replayFailed() {
    const e = this.#endpoint;
    const since = [["1", "the last hour"], ["24", "the last 24 hours"], ["168", "the last 7 days"]];
    const select = el("select", { "aria-label": "Since" }, since.map(([value, text]) => el("option", { value }, text)));
    if (e.failing_since) select.prepend(el("option", { value: e.failing_since, selected: true }, `since it is failing (${absolute(Date.parse(e.failing_since))})`));
    const ok = await confirm({
      title: `Send what failed to ${visible(this.#id)} again?`,
      texts: [`${count(e.failed, "event")} failed since the server started. Those that failed in the chosen time go out again, 1,000 at a time.`],
      extra: el("div", { class: "field" }, el("span", { "aria-hidden": "true" }, "Of"), select),
      action: "Send again",
      danger: false,
    });
    if (!ok) return;
    const from = select.value.includes("-") ? select.value : new Date(Date.now() - Number(select.value) * 3600e3).toISOString();
    await inTurns(() => this.#app.api.post("webhooks/replay", { endpoint: this.#id, failed_since: from }), "Queued", ["event"], "queued");
    this.#again();
  }
}

/** All attempts of one event, at every endpoint. */
export class Attempts {
  #pages;

  constructor(app, { params }) {
    const event = params.get("event") ?? "";
    const table = attemptTable((attempt) => replayOne(app, attempt, () => this.#pages.now()));
    this.#pages = new Pages({
      body: table.node,
      every: EVERY_MS,
      ask: (_, signal) => app.api.get("webhooks/attempts", { event, limit: 200 }, signal),
      show: ({ attempts }) => {
        table.show(attempts);
        return attempts.length;
      },
      info: ({ attempts }) => `${count(attempts.length, "attempt")}, oldest first`,
      empty: () => empty("Nothing is known of this event.", "Attempts are kept for some time only."),
    });
    this.node = el("div", { class: "view" }, crumb(href("webhooks"), "Webhooks"), head("Attempts of an event"), el("div", { class: "chips" }, filterChip("event", event, href("webhooks"))), this.#pages.node);
    void this.#pages.now();
  }

  close() {
    this.#pages.stop();
  }
}
