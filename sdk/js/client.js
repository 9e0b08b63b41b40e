// @ts-check
import { Backoff } from "./backoff.js";
import { Calls } from "./calls.js";
import { CLOSE, endError, reconnects } from "./close.js";
import { Emitter } from "./emitter.js";
import { PolywireError } from "./error.js";
import { Handlers } from "./handlers.js";
import { Link } from "./link.js";
import { settle } from "./options.js";
import { Places } from "./places.js";

/** @typedef {import("./options.js").ClientOptions} ClientOptions */
/** @typedef {import("./close.js").End} End */
/** @typedef {import("./envelope.js").Packet} Packet */
/** @typedef {import("./handlers.js").Handler} Handler */

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
 * - retry: the next attempt is made in so many milliseconds
 * - error: what no promise could report
 * @typedef {object} Events
 * @property {[status: Status, cause: PolywireError | undefined]} status
 * @property {[{id: string, reconnected: boolean, headers: Record<string, string>}]} connect
 * @property {[{code: number, reason: string, reconnect: boolean}]} disconnect
 * @property {[{room: string, recovered: boolean}]} recovered
 * @property {[{attempt: number, delay: number, error: PolywireError}]} retry
 * @property {[unknown]} error
 */

/** Refusals that may be over soon. */
const TEMPORARY = new Set(["unavailable", "deadline_exceeded", "canceled"]);

/** Such a room is asked for again after so many milliseconds, or up to twice as many. */
const AGAIN = 1000;

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
  #emitter = new Emitter();
  /** @type {Set<string>} */
  #rooms = new Set();
  #places = new Places();
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
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #checkTimer;
  /** @type {Set<ReturnType<typeof setTimeout>>} */
  #againTimers = new Set();
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
    return [...this.#rooms];
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
   * @param {CallOptions} [options]
   * @returns {Promise<any>} the reply's payload; rejects with a PolywireError, or with the signal's reason
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
    try {
      const recovered = await this.#join(named("room", room), options);
      if (recovered === false) this.#emitter.emit("recovered", { room, recovered });
    } catch (thrown) {
      if (!this.#rooms.has(room)) this.#places.forget(room);
      throw thrown;
    }
    this.#rooms.add(room);
  }

  /**
   * Leaves a room. Without a connection that takes no more than forgetting it.
   * @param {string} room
   * @param {WaitOptions} [options]
   * @returns {Promise<void>}
   */
  async unsubscribe(room, options = {}) {
    this.#rooms.delete(named("room", room));
    this.#places.forget(room);
    try {
      await this.#request({ type: "unsubscribe", room }, options);
    } catch (thrown) {
      if (!(thrown instanceof PolywireError && thrown.code === "unavailable" && !thrown.remote)) throw thrown;
    }
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
    for (const room of this.#rooms) void this.#resubscribe(room, true);
    this.#watchPlaces();
    this.#emitter.emit("status", "running", undefined);
    this.#emitter.emit("connect", { id: this.#id, reconnected, headers: packet.headers ?? {} });
    this.#opening?.resolve();
    this.#opening = undefined;
  }

  /**
   * Says SUBSCRIBE, with this client's place in the room if there is one.
   * @param {string} room
   * @param {WaitOptions} [options]
   * @returns {Promise<boolean | undefined>} whether what was missed has come; undefined: it was not asked for
   */
  async #join(room, options) {
    const { offset, moves } = this.#places.ask(room);
    const reply = await this.#ask({ type: "subscribe", room, offset }, options);
    this.#places.answered(room, moves, reply.offset);
    return offset === undefined ? undefined : reply.recovered === true;
  }

  /**
   * @param {string} room
   * @param {boolean} anew after a reconnect; else it is a check of the place
   */
  async #resubscribe(room, anew) {
    try {
      const recovered = await this.#join(room);
      if (!this.#rooms.has(room)) return; // left meanwhile
      if (recovered === false || (recovered && anew)) this.#emitter.emit("recovered", { room, recovered });
    } catch (thrown) {
      const { code, message, remote } = /** @type {PolywireError} */ (thrown);
      if (code === "unavailable" && !remote) return; // the next connection tries again
      if (TEMPORARY.has(code)) return anew ? this.#again(room) : undefined; // a check comes again anyway
      if (!anew) return this.#report(new PolywireError(code, `room ${room} is not checked: ${message}`, { cause: thrown }));
      this.#rooms.delete(room);
      this.#places.forget(room);
      this.#report(new PolywireError(code, `room ${room} is lost: ${message}`, { cause: thrown }));
    }
  }

  /** @param {string} room that could not be subscribed to for the moment */
  #again(room) {
    const link = this.#link;
    const timer = setTimeout(() => {
      this.#againTimers.delete(timer);
      if (this.#link === link && this.#rooms.has(room)) void this.#resubscribe(room, true);
    }, AGAIN * (1 + Math.random()));
    this.#againTimers.add(timer);
  }

  #clearTimers() {
    clearTimeout(this.#retryTimer);
    clearTimeout(this.#checkTimer);
    for (const timer of this.#againTimers) clearTimeout(timer);
    this.#againTimers.clear();
    this.#retryTimer = undefined;
  }

  /** Asks now and then for what got lost between the server's nodes. */
  #watchPlaces() {
    clearTimeout(this.#checkTimer);
    const every = this.#options.checkInterval;
    if (every < 0) return;
    this.#checkTimer = setTimeout(() => {
      for (const room of this.#rooms) if (this.#places.offset(room)) void this.#resubscribe(room, false);
      this.#watchPlaces();
    }, every * (0.75 + 0.5 * Math.random()));
  }

  /** @param {End} end */
  #onEnd(end) {
    this.#clearTimers();
    const was = this.#status;
    const error = endError(end);
    const reconnect = was !== "closing" && !end.final && reconnects(end.code);
    this.#link = undefined;
    this.#id = "";
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
    this.#places.clear();
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
      case "call":
        this.#answer(packet).catch((thrown) => this.#report(thrown));
        return;
      default:
        this.#report(new PolywireError("bad_request", `malformed frame: ${packet.type} is for servers`));
    }
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
    if (packet.room && packet.offset) this.#places.moved(packet.room, packet.offset);
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
    return (await this.#ask(packet, options)).payload;
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
    if (!this.#emitter.emit("error", error)) this.#options.logger?.error("polywire:", error);
  }
}

/**
 * @param {Packet} packet
 * @returns {import("./handlers.js").Message}
 */
function toMessage({ type, kind = "", payload, args = [], contentType = "", headers = {}, room, offset }) {
  return { kind, payload, args, contentType, headers, room, offset, isCall: type === "call" };
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
