// @ts-check
import { Backoff } from "./backoff.js";
import { Calls } from "./calls.js";
import { CLOSE, endError, reconnects } from "./close.js";
import { Emitter } from "./emitter.js";
import { PolywireError } from "./error.js";
import { Handlers } from "./handlers.js";
import { Link } from "./link.js";
import { settle } from "./options.js";
import { Presence } from "./presence.js";
import { Rooms } from "./rooms.js";

/** @typedef {import("./options.js").ClientOptions} ClientOptions */
/** @typedef {import("./close.js").End} End */
/** @typedef {import("./envelope.js").Packet} Packet */
/** @typedef {import("./handlers.js").Handler} Handler */
/** @typedef {import("./presence.js").Member} Member */
/** @typedef {import("./presence.js").PresenceEvent} PresenceEvent */

/** @typedef {"new" | "connecting" | "running" | "closing" | "closed"} Status */

/**
 * @typedef {object} SendOptions
 * @property {Record<string, string>} [headers]
 * @property {string} [contentType] of a payload that is bytes; default application/octet-stream
 */

/**
 * @typedef {object} WaitOptions
 * @property {number} [timeout] milliseconds; default the client's callTimeout; 0 or Infinity: none
 * @property {AbortSignal} [signal] ends the waiting; the server is not told
 */

/** @typedef {SendOptions & WaitOptions} CallOptions */

/**
 * What listeners get.
 * - status: the new one, and the error that led to it, if one did
 * - connect: the connection's id, whether it is a later one, the headers of WELCOME
 * - disconnect: a running connection ended; whether the client is coming back
 * - recovered: a room was subscribed to again after a reconnect; whether all that was missed has come. If not, its
 *   state is to be got anew. A check that finds messages which cannot be had any more says so, too
 * - presence: somebody came to a room, went, or has set something new, where the server tells of that
 * - retry: the next attempt is made in so many milliseconds
 * - error: what no promise could report
 * @typedef {object} Events
 * @property {[status: Status, cause: PolywireError | undefined]} status
 * @property {[{id: string, reconnected: boolean, headers: Record<string, string>}]} connect
 * @property {[{code: number, reason: string, reconnect: boolean}]} disconnect
 * @property {[{room: string, recovered: boolean}]} recovered
 * @property {[PresenceEvent]} presence
 * @property {[{attempt: number, delay: number, error: PolywireError}]} retry
 * @property {[unknown]} error
 */

/** So many of the server's calls may wait for their answers; more end the connection. */
const MAX_CALLS = 1000;

/** A connection that lasted for so many first ceilings of the backoff counts as good. */
const STEADY = 5;

/**
 * A peer of a Polywire server. It calls and is called; it reconnects until it
 * is closed, from either side, for good.
 */
export class Client {
  #options;
  #backoff;
  #handlers = new Handlers();
  #calls = new Calls();
  /** @type {Emitter<any>} */
  #emitter = new Emitter((thrown, event) => (event === "error" ? this.#log(thrown) : this.#report(thrown)));
  #rooms;
  #presence;
  /** @type {Set<unknown>} ids of the server's calls that have no answer yet */
  #answering = new Set();
  /** @type {Status} */
  #status = "new";
  /** @type {Link | undefined} */
  #link;
  #id = "";
  #lastCall = 0;
  #runningSince = 0;
  #connected = false; // at least once since connect()
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #retryTimer;
  /** @type {{resolve: () => void, reject: (reason: unknown) => void} | undefined} */
  #opening;
  /** @type {(() => void) | undefined} */
  #closed;
  /** @type {Promise<void> | undefined} */
  #closing;
  #online = () => this.retry();

  /**
   * @param {string | URL} url ws, wss, http or https; relative to the page where there is one
   * @param {ClientOptions} [options]
   * @throws {TypeError | RangeError} for options that cannot work
   */
  constructor(url, options = {}) {
    this.#options = settle(url, options);
    this.#backoff = new Backoff(this.#options.backoff);
    /** @param {unknown} error */
    const report = (error) => this.#report(error);
    /** @type {import("./presence.js").Ask} */
    const ask = (packet, wait) => this.#ask(packet, wait);
    this.#presence = new Presence(ask, report);
    this.#rooms = new Rooms(
      { ask, report, recovered: (room, recovered) => this.#emitter.emit("recovered", { room, recovered }) },
      this.#options.checkInterval,
    );
  }

  /** @returns {Status} */
  get status() {
    return this.#status;
  }

  /** The connection's id on the server; "" while there is none. */
  get id() {
    return this.#id;
  }

  /** The rooms that are subscribed to, again after each reconnect. */
  get rooms() {
    return this.#rooms.names;
  }

  /** Bytes that were sent and have not left yet. */
  get bufferedBytes() {
    return this.#link?.bufferedBytes ?? 0;
  }

  /**
   * Connects, trying until it works. Rejects when the server closes for good,
   * when the signal is aborted, or when the client is closed; the client is
   * closed then.
   * @param {{signal?: AbortSignal}} [options] the signal counts until the client is connected
   * @returns {Promise<void>}
   */
  async connect({ signal } = {}) {
    if (this.#status !== "new" && this.#status !== "closed") {
      throw new PolywireError("conflict", `connect: the client is ${this.#status}`);
    }
    signal?.throwIfAborted();
    const abort = () => void this.#shut(signal?.reason);
    signal?.addEventListener("abort", abort);
    try {
      await this.#start();
    } finally {
      signal?.removeEventListener("abort", abort);
    }
  }

  /**
   * Registers the handler of a kind; "chat.*" takes all that begin with
   * "chat.", "*" all the rest. Handlers are started in order of arrival; one
   * that waits holds up nobody. What it returns answers a call, what it throws
   * too: a PolywireError as it is, anything else as "internal", whose text
   * stays here.
   * @param {string} kind
   * @param {Handler} fn
   * @returns {() => void} takes the handler away
   * @throws {Error} if the kind has a handler already
   */
  handle(kind, fn) {
    return this.#handlers.add(kind, fn);
  }

  /**
   * @template {keyof Events} K
   * @param {K} event
   * @param {(...args: Events[K]) => unknown} fn
   * @returns {() => void} takes the listener away
   */
  on(event, fn) {
    return this.#emitter.on(event, /** @type {any} */ (fn));
  }

  /**
   * Sends one way. Nothing is queued for later: while the client is not
   * connected it throws.
   * @param {string} kind
   * @param {unknown} [payload] a JSON value or bytes
   * @param {SendOptions} [options]
   * @throws {PolywireError} "unavailable" while the client is not connected
   */
  send(kind, payload, options = {}) {
    this.#connection().send({ type: "message", kind: named("kind", kind), payload, ...extras(options) });
  }

  /**
   * Asks and waits for the answer. A call in flight when the connection is lost
   * ends with "unavailable": whether the server acted on it is not known.
   * @param {string} kind
   * @param {unknown} [payload] a JSON value or bytes
   * @template [T=any]
   * @param {CallOptions} [options]
   * @returns {Promise<T>} the reply's payload, of several an array; rejects with a PolywireError, or with the signal's reason
   */
  async call(kind, payload, options = {}) {
    return this.#request({ type: "call", kind: named("kind", kind), payload, ...extras(options) }, options);
  }

  /**
   * Joins a room, now and after each reconnect.
   * @param {string} room
   * @param {WaitOptions} [options]
   * @returns {Promise<void>}
   */
  async subscribe(room, options = {}) {
    await this.#rooms.subscribe(named("room", room), options);
  }

  /**
   * Leaves a room. Without a connection that takes no more than forgetting it.
   * @param {string} room
   * @param {WaitOptions} [options]
   * @returns {Promise<void>}
   */
  async unsubscribe(room, options = {}) {
    await this.#rooms.unsubscribe(named("room", room), options);
  }

  /**
   * Who is in a room, by the time of joining. The server answers the kind
   * "presence" for that, as `polywire serve` does.
   * @param {string} room
   * @param {WaitOptions} [options]
   * @returns {Promise<Member[]>}
   */
  async presence(room, options = {}) {
    return this.#presence.list(named("room", room), options);
  }

  /**
   * Sets what others see of this client in lists and events of presence, now
   * and after each reconnect, until it is closed: a small JSON value, null for
   * nothing. The server answers the kind "presence.set", as `polywire serve`
   * does.
   * @param {unknown} value
   * @param {WaitOptions} [options]
   * @returns {Promise<void>}
   */
  async setPresence(value, options = {}) {
    await this.#presence.set(value ?? null, options);
  }

  /**
   * Sends to the members of a room; resolves when the server took it.
   * @param {string} room
   * @param {string} kind
   * @param {unknown} [payload] a JSON value or bytes
   * @param {CallOptions} [options]
   * @returns {Promise<void>}
   */
  async publish(room, kind, payload, options = {}) {
    const packet = { room: named("room", room), kind: named("kind", kind), payload, ...extras(options) };
    await this.#request({ type: "publish", ...packet }, options);
  }

  /**
   * Sends to everybody; resolves when the server took it.
   * @param {string} kind
   * @param {unknown} [payload] a JSON value or bytes
   * @param {CallOptions} [options]
   * @returns {Promise<void>}
   */
  async broadcast(kind, payload, options = {}) {
    await this.#request({ type: "broadcast", kind: named("kind", kind), payload, ...extras(options) }, options);
  }

  /** Makes the next attempt to connect now, if the client is waiting for it. */
  retry() {
    if (this.#retryTimer === undefined) return;
    clearTimeout(this.#retryTimer);
    this.#open();
  }

  /**
   * Closes. Calls in flight end with "unavailable", rooms are forgotten;
   * handlers and listeners stay for another connect.
   * @returns {Promise<void>} never rejects
   */
  close() {
    return this.#shut(new PolywireError("unavailable", "the client was closed"));
  }

  // ---- connecting and ending

  /** @returns {Promise<void>} */
  #start() {
    this.#connected = false;
    this.#backoff.reset();
    const opened = new Promise((resolve, reject) => {
      this.#opening = { resolve: () => resolve(undefined), reject };
    });
    /** @type {any} */ (globalThis).addEventListener?.("online", this.#online);
    this.#setStatus("connecting");
    if (this.#status === "connecting") this.#open(); // a listener may have closed it
    return /** @type {Promise<any>} */ (opened);
  }

  #open() {
    this.#retryTimer = undefined;
    try {
      this.#link = new Link(this.#options, {
        welcome: (packet) => this.#onWelcome(packet),
        packet: (packet) => this.#onPacket(packet),
        malformed: (error) => this.#report(error),
        end: (end) => this.#onEnd(end),
      });
    } catch (cause) {
      this.#onEnd({ code: CLOSE.ABNORMAL, reason: "the WebSocket cannot be made", final: true, cause });
    }
  }

  /** @param {Packet} packet */
  #onWelcome(packet) {
    const reconnected = this.#connected;
    this.#connected = true;
    this.#id = packet.key ?? "";
    this.#runningSince = performance.now();
    this.#status = "running"; // calls may be made from here on
    this.#presence.connected(); // before the rooms, whose members hear of it with the joining
    this.#rooms.connected();
    this.#emitter.emit("status", "running", undefined);
    this.#emitter.emit("connect", { id: this.#id, reconnected, headers: packet.headers ?? {} });
    this.#opening?.resolve();
    this.#opening = undefined;
  }

  #clearTimers() {
    clearTimeout(this.#retryTimer);
    this.#retryTimer = undefined;
    this.#rooms.disconnected();
  }

  /** @param {End} end */
  #onEnd(end) {
    this.#clearTimers();
    const was = this.#status;
    const error = endError(end);
    const reconnect = was !== "closing" && !end.final && reconnects(end.code);
    this.#link = undefined;
    this.#id = "";
    this.#answering = new Set(); // those of the next connection have nothing to do with these
    if (was === "running" && performance.now() - this.#runningSince >= STEADY * this.#options.backoff.min) {
      this.#backoff.reset();
    }
    if (!reconnect) return this.#finish(was === "closing" ? undefined : error, was === "running" ? end : undefined);
    const delay = this.#backoff.next();
    this.#retryTimer = setTimeout(() => this.#open(), delay);
    this.#status = "connecting";
    this.#calls.rejectAll(error);
    if (was === "running") {
      this.#emitter.emit("status", "connecting", error);
      this.#emitter.emit("disconnect", { code: end.code, reason: end.reason, reconnect });
    }
    if (this.#retryTimer !== undefined) this.#emitter.emit("retry", { attempt: this.#backoff.attempt, delay, error });
  }

  /**
   * @param {unknown} cause
   * @returns {Promise<void>}
   */
  #shut(cause) {
    if (this.#status === "closed") return Promise.resolve();
    if (this.#closing) return this.#closing;
    this.#closing = new Promise((resolve) => (this.#closed = resolve));
    const done = this.#closing;
    const wasRunning = this.#status === "running";
    this.#clearTimers();
    this.#setStatus("closing");
    this.#calls.rejectAll(cause);
    this.#opening?.reject(cause);
    this.#opening = undefined;
    if (wasRunning) this.#emitter.emit("disconnect", { code: CLOSE.NORMAL, reason: "", reconnect: false });
    if (this.#link) this.#link.close(CLOSE.NORMAL, "");
    else this.#finish();
    return done;
  }

  /**
   * @param {PolywireError} [error] why, unless close() was called
   * @param {End} [running] how the connection ended, if it was running
   */
  #finish(error, running) {
    this.#clearTimers();
    /** @type {any} */ (globalThis).removeEventListener?.("online", this.#online);
    this.#rooms.clear();
    this.#presence.clear();
    this.#calls.rejectAll(error);
    this.#opening?.reject(error);
    this.#opening = undefined;
    this.#closed?.();
    this.#closed = this.#closing = undefined;
    this.#status = "closed";
    this.#emitter.emit("status", "closed", error);
    if (running) this.#emitter.emit("disconnect", { code: running.code, reason: running.reason, reconnect: false });
  }

  // ---- packets

  /** @param {Packet} packet */
  #onPacket(packet) {
    switch (packet.type) {
      case "reply":
        this.#calls.resolve(/** @type {number} */ (packet.id), packet);
        return; // one that comes after its call gave up is nobody's
      case "error":
        return this.#onError(packet);
      case "message":
      case "publish":
      case "broadcast":
        return void this.#dispatch(packet);
      default: // a call; Link lets nothing else through
        return this.#onCall(packet);
    }
  }

  /** @param {Packet} packet */
  #onCall(packet) {
    const { id } = packet;
    const answering = this.#answering;
    if (answering.has(id)) return this.#link?.refuse(new PolywireError("bad_request", "a second call with an id in use"));
    if (answering.size >= MAX_CALLS) {
      return this.#link?.refuse(new PolywireError("too_many_requests", "too many open calls"), CLOSE.TOO_MANY_REQUESTS);
    }
    answering.add(id);
    this.#answer(packet)
      .catch((thrown) => this.#report(thrown))
      .finally(() => answering.delete(id));
  }

  /** @param {Packet} packet */
  #onError({ id, error }) {
    const { code, message, details } = /** @type {import("./envelope.js").ErrorBody} */ (error);
    const failure = new PolywireError(code, message, { details, remote: true });
    if (id === undefined) this.#report(failure);
    else this.#calls.reject(id, failure);
  }

  /** @param {Packet} packet */
  async #dispatch(packet) {
    if (packet.room && packet.offset) this.#rooms.moved(packet.room, packet.offset);
    const event = Presence.event(packet);
    if (event) this.#emitter.emit("presence", event);
    try {
      await this.#handlers.find(packet.kind ?? "")?.(packet.payload, toMessage(packet));
    } catch (thrown) {
      this.#report(thrown);
    }
  }

  /**
   * Rejects when not even the error can be said.
   * @param {Packet} packet
   */
  async #answer(packet) {
    const link = this.#link;
    const { id } = packet;
    try {
      const handler = this.#handlers.find(packet.kind ?? "");
      if (!handler) throw new PolywireError("not_found", `no handler for ${packet.kind}`);
      const payload = await handler(packet.payload, toMessage(packet));
      if (link?.open) link.send({ type: "reply", id, payload });
    } catch (thrown) {
      if (link?.open) link.send({ type: "error", id, error: this.#failure(thrown) });
    }
  }

  /**
   * What the server is told of what a handler threw.
   * @param {unknown} thrown
   */
  #failure(thrown) {
    if (thrown instanceof PolywireError) {
      return { code: thrown.code, message: thrown.message, details: thrown.details };
    }
    this.#report(thrown);
    return { code: "internal", message: "internal error" };
  }

  /**
   * @param {Packet} packet
   * @param {WaitOptions} [options]
   * @returns {Promise<any>}
   */
  async #request(packet, options) {
    const { payload, args } = await this.#ask(packet, options);
    return args?.length ? [payload, ...args] : payload;
  }

  /**
   * @param {Packet} packet
   * @param {WaitOptions} [options]
   * @returns {Promise<Packet>} the reply
   */
  async #ask(packet, { timeout = this.#options.callTimeout, signal } = {}) {
    signal?.throwIfAborted();
    const link = this.#connection();
    const id = (this.#lastCall = (this.#lastCall % Number.MAX_SAFE_INTEGER) + 1);
    link.send({ ...packet, id });
    return this.#calls.wait(id, `${packet.type} ${packet.kind ?? packet.room}`, timeout, signal);
  }

  /** @returns {Link} */
  #connection() {
    if (this.#status === "running" && this.#link?.open) return this.#link;
    const why = this.#status === "running" ? "the connection is being lost" : `the client is ${this.#status}`;
    throw new PolywireError("unavailable", `not connected: ${why}`);
  }

  /** @param {Status} status */
  #setStatus(status) {
    this.#status = status;
    this.#emitter.emit("status", status, undefined);
  }

  /** @param {unknown} error */
  #report(error) {
    if (!this.#emitter.emit("error", error)) this.#log(error);
  }

  /** @param {unknown} error */
  #log(error) {
    try {
      this.#options.logger?.error("polywire:", error);
    } catch {
      // a logger that fails has nowhere to say so
    }
  }
}

/**
 * @param {Packet} packet
 * @returns {import("./handlers.js").Message}
 */
function toMessage({ type, kind = "", payload, args = [], contentType = "", headers = {}, room, offset }) {
  return { kind, payload, args, contentType, headers, room, position: offset, isCall: type === "call" };
}

/** @param {SendOptions} options */
function extras({ headers, contentType }) {
  return { headers, contentType };
}

/**
 * @param {string} what
 * @param {string} value
 */
function named(what, value) {
  if (typeof value !== "string" || value === "") throw new TypeError(`polywire: ${what} must be a non-empty string`);
  return value;
}
