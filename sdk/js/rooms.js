// @ts-check
import { PolywireError } from "./error.js";
import { Places } from "./places.js";

/** @typedef {import("./envelope.js").Packet} Packet */
/** @typedef {import("./client.js").WaitOptions} WaitOptions */

/**
 * What the rooms need of the client.
 * @typedef {object} RoomsHost
 * @property {(packet: Packet, options?: WaitOptions) => Promise<Packet>} ask for the reply to a request
 * @property {(room: string, recovered: boolean) => void} recovered
 * @property {(error: unknown) => void} report
 */

/** Refusals that may be over soon. */
const TEMPORARY = new Set(["unavailable", "deadline_exceeded", "canceled"]);

/** Such a room is asked for again after so many milliseconds, or up to twice as many. */
const AGAIN = 1000;

/** The rooms that the client is in, and how far it has come there. */
export class Rooms {
  /** @type {Set<string>} */
  #names = new Set();
  #places = new Places();
  #host;
  #checkInterval;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #checkTimer;
  /** @type {Set<ReturnType<typeof setTimeout>>} */
  #againTimers = new Set();

  /**
   * @param {RoomsHost} host
   * @param {number} checkInterval milliseconds; negative: never
   */
  constructor(host, checkInterval) {
    this.#host = host;
    this.#checkInterval = checkInterval;
  }

  get names() {
    return [...this.#names];
  }

  /**
   * @param {string} room
   * @param {WaitOptions} options
   */
  async subscribe(room, options) {
    try {
      const recovered = await this.#join(room, options);
      if (recovered === false) this.#host.recovered(room, recovered);
    } catch (thrown) {
      if (!this.#names.has(room)) this.#places.forget(room);
      throw thrown;
    }
    this.#names.add(room);
  }

  /**
   * @param {string} room
   * @param {WaitOptions} options
   */
  async unsubscribe(room, options) {
    this.#names.delete(room);
    this.#places.forget(room);
    try {
      await this.#host.ask({ type: "unsubscribe", room }, options);
    } catch (thrown) {
      if (!lost(thrown)) throw thrown;
    }
  }

  /**
   * A message came.
   * @param {string} room
   * @param {string} offset
   */
  moved(room, offset) {
    this.#places.moved(room, offset);
  }

  /** There is a connection: all are subscribed to on it, and checked from now on. */
  connected() {
    for (const room of this.#names) void this.#resubscribe(room, true);
    this.#watch();
  }

  /** The connection has ended, or is about to. */
  disconnected() {
    clearTimeout(this.#checkTimer);
    for (const timer of this.#againTimers) clearTimeout(timer);
    this.#againTimers.clear();
  }

  clear() {
    this.#names.clear();
    this.#places.clear();
  }

  /**
   * Says SUBSCRIBE, with this client's place in the room if there is one.
   * @param {string} room
   * @param {WaitOptions} [options]
   * @returns {Promise<boolean | undefined>} whether what was missed has come; undefined: it was not asked for
   */
  async #join(room, options) {
    const { offset, moves } = this.#places.ask(room);
    const reply = await this.#host.ask({ type: "subscribe", room, offset }, options);
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
      if (!this.#names.has(room)) return; // left meanwhile
      if (recovered === false || (recovered && anew)) this.#host.recovered(room, recovered);
    } catch (thrown) {
      if (lost(thrown)) return; // the next connection tries again
      const { code, message } = /** @type {PolywireError} */ (thrown);
      if (TEMPORARY.has(code)) return anew ? this.#again(room) : undefined; // a check comes again anyway
      if (!anew) {
        return this.#host.report(new PolywireError(code, `room ${room} is not checked: ${message}`, { cause: thrown }));
      }
      this.#names.delete(room);
      this.#places.forget(room);
      this.#host.report(new PolywireError(code, `room ${room} is lost: ${message}`, { cause: thrown }));
    }
  }

  /** @param {string} room that could not be subscribed to for the moment */
  #again(room) {
    const timer = setTimeout(() => {
      this.#againTimers.delete(timer);
      if (this.#names.has(room)) void this.#resubscribe(room, true);
    }, AGAIN * (1 + Math.random()));
    this.#againTimers.add(timer);
  }

  /** Asks now and then for what got lost between the server's nodes. */
  #watch() {
    clearTimeout(this.#checkTimer);
    if (this.#checkInterval < 0) return;
    this.#checkTimer = setTimeout(() => {
      for (const room of this.#names) if (this.#places.offset(room)) void this.#resubscribe(room, false);
      this.#watch();
    }, this.#checkInterval * (0.75 + 0.5 * Math.random()));
  }
}

/**
 * Reports whether a request failed for want of a connection.
 * @param {unknown} thrown
 */
export function lost(thrown) {
  return thrown instanceof PolywireError && thrown.code === "unavailable" && !thrown.remote;
}
