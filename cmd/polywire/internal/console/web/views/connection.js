// One connection: all that is known of it, and its end.
import { confirm, notice } from "../dialogs.js";
import { el } from "../dom.js";
import { bytes, duration, integer } from "../format.js";
import { ago, button, crumb, empty, facts, failure, head, stranger, Tiles } from "../parts.js";
import { Poll } from "../poll.js";
import { href } from "../router.js";

const EVERY_MS = 1000;
const STAY_AWAY = 3503;
const COME_BACK = 3009;
const MAX_REASON_BYTES = 123;

export class Connection {
  #app;
  #id;
  #poll;
  #tiles = new Tiles(["Messages in", "Messages out", "Received", "Sent", "Queued", "Idle"]);
  #facts = el("div");
  #rooms = el("div");
  #trouble = el("div");
  #content;
  #gone = el("div");
  #disconnect;

  constructor(app, { id }) {
    this.#app = app;
    this.#id = id;
    this.#disconnect = button("Disconnect…", () => this.#end(), { look: "warns", disabled: true });
    this.#content = el(
      "div",
      { class: "view", hidden: true },
      this.#tiles.node,
      el("div", { class: "two" }, el("section", { class: "card" }, el("h2", {}, "Connection"), this.#facts), el("section", { class: "card" }, el("h2", {}, "Rooms"), this.#rooms)),
    );
    this.node = el(
      "div",
      { class: "view" },
      crumb(href("connections"), "Connections"),
      head(stranger(id, { length: 60, mono: true }), el("a", { class: "button", href: href("tail", "", { conn: id }) }, "Watch its messages"), this.#disconnect),
      this.#trouble,
      this.#gone,
      this.#content,
    );
    this.#poll = new Poll({
      ask: (signal) => app.api.get("connection", { id }, signal),
      every: EVERY_MS,
      shown: ({ connection }) => this.#show(connection),
      failed: (error) => this.#failed(error),
    });
    void this.#poll.now();
  }

  close() {
    this.#poll.stop();
  }

  #show(c) {
    this.#trouble.replaceChildren();
    this.#gone.replaceChildren();
    this.#content.hidden = false;
    this.#disconnect.disabled = false;
    this.#tiles.show([integer(c.messages_in), integer(c.messages_out), bytes(c.bytes_in), bytes(c.bytes_out), [bytes(c.queued_bytes), c.queued_bytes > 256 << 10 ? "warn" : ""], duration(c.idle_ms)]);
    const now = facts([
      ["User", c.user ? el("a", { href: href("connections", "", { user: c.user }) }, stranger(c.user)) : el("span", { class: "muted" }, "not known")],
      ["Wire", stranger(c.wire)],
      ["Namespace", c.namespace ? stranger(c.namespace) : null],
      ["Address", stranger(c.address)],
      ["Node", el("a", { href: href("connections", "", { node: c.node }), class: "mono" }, stranger(c.node))],
      ["Open since", ago(c.opened)],
      ["Identity until", c.expires ? ago(c.expires) : null],
      ["Encryption", c.tls ? stranger(c.tls) : "none that ends here"],
      ["Resumed", c.resumed ? "yes: it came back to its session" : null],
      ["Link", c.shared ? "shared with other connections: the figures are the link's" : null],
    ]);
    swap(this.#facts, now);
    const names = c.room_names ?? [];
    swap(this.#rooms, names.length ? el("div", { class: "chips" }, names.map((name) => el("a", { class: "chip", href: href("rooms", name, { namespace: c.namespace === "/" ? "" : c.namespace }) }, stranger(name, { length: 40 }))), c.rooms > names.length ? el("span", { class: "muted" }, `and ${integer(c.rooms - names.length)} more`) : null) : el("p", { class: "muted" }, "It is in no room."));
  }

  #failed(error) {
    if (error.status !== 404) return this.#trouble.replaceChildren(failure(error, () => this.#poll.now()));
    this.#poll.stop();
    this.#disconnect.disabled = true;
    this.#trouble.replaceChildren();
    this.#gone.replaceChildren(this.#content.hidden ? empty("There is no such connection.", "It may have ended, or come back with another id.") : empty("This connection has ended.", "Below is what was known of it last."));
  }

  async #end() {
    const [away, back] = [radio("code", STAY_AWAY, true), radio("code", COME_BACK, false)];
    const reason = el("input", { id: "reason", autocomplete: "off", maxlength: String(MAX_REASON_BYTES) });
    const ok = await confirm({
      title: "Disconnect this connection?",
      texts: ["1 connection ends at once. What is on its way to it is lost, unless its session is recovered."],
      extra: el(
        "div",
        { class: "stack" },
        el("label", { class: "check" }, away, `It should stay away (${STAY_AWAY})`),
        el("label", { class: "check" }, back, `It may come back at once (${COME_BACK})`),
        el("label", { for: "reason", class: "muted small" }, "Reason, shown to the client"),
        el("div", { class: "field" }, reason),
      ),
      action: "Disconnect",
    });
    if (!ok) return;
    const text = fit(reason.value.trim());
    try {
      await this.#app.api.post("connection/disconnect", { id: this.#id, code: away.checked ? STAY_AWAY : COME_BACK, ...(text ? { reason: text } : {}) });
      notice("Disconnected.");
    } catch (error) {
      notice(error.message, "bad");
    }
    void this.#poll.now();
  }
}

const radio = (name, value, checked) => el("input", { type: "radio", name, value, checked });

// Cut at whole characters.
function fit(text) {
  const encoder = new TextEncoder();
  const points = [...text];
  while (encoder.encode(points.join("")).length > MAX_REASON_BYTES) points.pop();
  return points.join("");
}

// A part that has not changed keeps focus and selection.
function swap(parent, node) {
  if (!parent.firstChild?.isEqualNode(node)) parent.replaceChildren(node);
}
