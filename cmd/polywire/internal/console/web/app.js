// Puts the page together.
import { API } from "./api.js";
import { notice } from "./dialogs.js";
import { Keys } from "./keys.js";
import { Login } from "./login.js";
import { empty, head, tick } from "./parts.js";
import { href, parse } from "./router.js";
import { Shell, VIEWS } from "./shell.js";
import { Stream } from "./stream.js";
import { moveRow } from "./table.js";
import { Connection } from "./views/connection.js";
import { Connections } from "./views/connections.js";
import { Nodes } from "./views/nodes.js";
import { Overview } from "./views/overview.js";
import { Queue, Queues } from "./views/queues.js";
import { Room, Rooms } from "./views/rooms.js";
import { Settings } from "./views/settings.js";
import { Tail } from "./views/tail.js";
import { Attempts, Endpoint, Webhooks } from "./views/webhooks.js";

const BASE = "api/"; // below the page
const TICK_MS = 1000;
const RESTART_WAIT_MS = 2000;

/** What a view is, from where the page is. */
function choose({ view, id, params }) {
  switch (view) {
    case "overview":
      return Overview;
    case "connections":
      return id ? Connection : Connections;
    case "rooms":
      return id ? Room : Rooms;
    case "tail":
      return Tail;
    case "nodes":
      return Nodes;
    case "queues":
      return id ? Queue : Queues;
    case "webhooks":
      return id ? Endpoint : params.get("event") ? Attempts : Webhooks;
    case "settings":
      return Settings;
  }
  return null;
}

class App {
  api = new API(BASE, () => this.#left("The session is over: log in again."));
  about = null; // the overview, as it was read last
  now = null; // figures of this second
  #view = null;
  #inside = false;
  #started = "";
  #broken = false;
  #why = "";
  #tail = null;
  #shell = new Shell({ keys: () => this.#keys.dialog(), retry: () => this.#stream.open(), logout: () => this.#logout() });
  #login = new Login((token) => this.api.post("login", { token }), () => this.start());
  #stream = new Stream(
    `${BASE}events`,
    { hello: (e) => this.#hello(e), figures: (e) => this.#figures(e), tail: (e) => this.#view?.tail?.(e), end: (e) => this.#end(e) },
    (status) => this.#linked(status),
  );
  #keys = new Keys([
    ...VIEWS.map(([view, name, key]) => ({ keys: `g ${key}`, text: `Go to ${name}`, act: () => (location.hash = href(view)) })),
    { keys: "/", text: "Search, or filter", act: () => this.#view?.search?.querySelector("input").focus() },
    { keys: "j", text: "Next row", act: () => moveRow(document.getElementById("view"), 1) },
    { keys: "k", text: "Row before", act: () => moveRow(document.getElementById("view"), -1) },
    { keys: "p", text: "Pause the tail, or go on", act: () => this.#view?.toggle?.() },
    { keys: "d", text: "Light or dark", act: () => this.#shell.nextTheme() },
    { keys: "?", text: "This list", act: () => this.#keys.dialog() },
  ]);

  constructor() {
    addEventListener("hashchange", () => this.#inside && this.#route(true));
    addEventListener("keydown", (e) => this.#inside && this.#keys.press(e));
    setInterval(() => this.#tick(), TICK_MS);
  }

  /** Lets in whoever may, and asks the others for the token. */
  async start() {
    let session;
    try {
      session = await this.api.get("session");
    } catch (error) {
      this.#shell.open(true, false);
      this.#shell.link("waiting", Date.now() + RESTART_WAIT_MS, error.message);
      setTimeout(() => this.start(), RESTART_WAIT_MS);
      return;
    }
    if (!session.logged_in) return this.#left();
    this.#inside = true;
    this.#shell.open(true, session.token_needed);
    this.#stream.open({});
    void this.#overview();
    this.#route(false);
  }

  /** Asks for the messages that match a filter; null: for none. */
  tail(filter) {
    this.#tail = filter && { tail: "1", ...filter };
    if (this.#inside) this.#stream.open(this.#tail ?? {});
  }

  #left(why = "") {
    const was = this.#inside;
    this.#inside = false;
    this.#stream.close();
    this.#view?.close();
    this.#view = null;
    for (const dialog of document.querySelectorAll("dialog")) dialog.close("no");
    this.#shell.open(false, true);
    this.#login.show(was ? why : "");
  }

  async #logout() {
    try {
      await this.api.post("logout");
      this.#left();
    } catch (error) {
      notice(error.message, "bad");
    }
  }

  #route(moveFocus) {
    const place = parse(location.hash);
    const View = choose(place);
    const [, name = "Not found"] = VIEWS.find(([view]) => view === place.view) ?? [];
    this.#view?.close();
    this.#view = View ? new View(this, place) : { node: nowhere(), close() {} };
    this.#shell.show(place.view, place.id ? `${place.id} · ${name}` : name, this.#view.node, moveFocus);
  }

  async #overview() {
    try {
      this.about = await this.api.get("overview");
    } catch (error) {
      return error.status === 401 || notice(error.message, "bad");
    }
    this.#started = this.about.started;
    this.now = this.about.now;
    this.#shell.about(this.about);
    this.#view?.about?.(this.about);
  }

  // ---- events

  #hello({ started }) {
    const again = this.#started !== "" && started !== this.#started;
    if (again || this.#broken) void this.#overview();
    if (again) {
      notice("The server was started again.");
      this.#route(false);
    } else if (this.#broken) {
      this.#view?.back?.();
    }
    this.#broken = false;
    this.#why = "";
  }

  #figures(event) {
    this.now = event.now;
    if (!document.hidden) this.#view?.figures?.(event);
    else this.#view?.hidden?.(event);
  }

  #end({ reason }) {
    this.#why = `${reason}.`;
    void this.#check();
  }

  #linked(status) {
    this.#shell.link(status, this.#stream.retryAt, this.#why);
    if (status !== "waiting") return;
    this.#broken = true;
    void this.#check();
  }

  // Why the stream has ended: the page cannot see its status.
  async #check() {
    try {
      const { logged_in: loggedIn } = await this.api.get("session");
      if (!loggedIn && this.#inside) return this.#left("The session is over: log in again.");
      this.#why = await this.#refusal();
    } catch (error) {
      this.#why = error.message;
    }
    this.#tick();
  }

  async #refusal() {
    const abort = new AbortController();
    const query = new URLSearchParams(Object.entries(this.#tail ?? {}).filter(([, value]) => value)).toString();
    try {
      const response = await fetch(`${BASE}events?${query}`, { signal: abort.signal });
      return response.ok ? "" : ((await response.json()).error?.message ?? "");
    } catch {
      return "";
    } finally {
      abort.abort();
    }
  }

  #tick() {
    tick();
    if (this.#inside) this.#shell.link(this.#stream.status, this.#stream.retryAt, this.#why);
  }
}

function nowhere() {
  const view = document.createElement("div");
  view.className = "view";
  view.append(head("Not found"), empty("There is nothing here.", "The list of views is beside this, or behind the menu."));
  return view;
}

void new App().start();
