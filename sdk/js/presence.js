// @ts-check
import { PolywireError } from "./error.js";
import { lost } from "./rooms.js";

/** @typedef {import("./envelope.js").Packet} Packet */
/** @typedef {import("./client.js").WaitOptions} WaitOptions */

/**
 * One connection in a room.
 * @typedef {object} Member
 * @property {string} id of the connection
 * @property {string} [node] that it is at, of several servers
 * @property {string} [user] where it has authenticated
 * @property {string} [since] when it joined, as in "2026-01-02T15:04:05Z"
 * @property {any} [value] what it has set
 */

/**
 * @typedef {object} PresenceEvent
 * @property {string} room
 * @property {"joined" | "left" | "changed"} change
 * @property {Member} member
 */

/** @typedef {(packet: Packet, options?: WaitOptions) => Promise<Packet>} Ask */

const KIND = "presence";
const KIND_SET = "presence.set";

/** @type {ReadonlyMap<string, PresenceEvent["change"]>} */
const CHANGES = new Map([
  ["presence.joined", "joined"],
  ["presence.left", "left"],
  ["presence.changed", "changed"],
]);

/** What this client says of itself, and what it hears of others. */
export class Presence {
  #ask;
  #report;
  /** @type {unknown} */
  #value = null;
  #asked = 0;
  #taken = 0; // the newest #asked that the server has taken

  /**
   * @param {Ask} ask
   * @param {(error: unknown) => void} report
   */
  constructor(ask, report) {
    this.#ask = ask;
    this.#report = report;
  }

  /**
   * @param {string} room
   * @param {WaitOptions} options
   * @returns {Promise<Member[]>}
   */
  async list(room, options) {
    const { payload } = await this.#ask({ type: "call", kind: KIND, payload: room }, options);
    if (!Array.isArray(payload)) throw new PolywireError("unimplemented", `${KIND}: the server's answer is not a list`);
    return payload;
  }

  /**
   * @param {unknown} value
   * @param {WaitOptions} [options]
   */
  async set(value, options) {
    const turn = ++this.#asked;
    await this.#ask({ type: "call", kind: KIND_SET, payload: value }, options);
    if (turn < this.#taken) return;
    this.#taken = turn;
    this.#value = value;
  }

  /** There is a connection, of which the server knows nothing yet. */
  connected() {
    if (this.#value === null) return;
    this.set(this.#value).catch((thrown) => {
      if (!lost(thrown)) this.#report(thrown);
    });
  }

  clear() {
    this.#taken = ++this.#asked; // a call in flight is not remembered
    this.#value = null;
  }

  /**
   * What a message says of who is in a room, if it is such a one.
   * @param {Packet} packet
   * @returns {PresenceEvent | undefined}
   */
  static event({ kind = "", room, payload }) {
    const change = CHANGES.get(kind);
    if (!change || !room) return undefined;
    const member = /** @type {any} */ (payload);
    return typeof member?.id === "string" ? { room, change, member } : undefined;
  }
}
