// @ts-check
import { CLOSE } from "./close.js";
import { decode, encode } from "./envelope.js";
import { PolywireError, textOf } from "./error.js";

/**
 * What this package uses of a WebSocket: the global one of browsers and
 * Node >= 22, or that of the npm package "ws".
 * @typedef {object} WebSocketLike
 * @property {number} readyState
 * @property {number} bufferedAmount
 * @property {any} binaryType
 * @property {((event: any) => void) | null} onopen
 * @property {((event: any) => void) | null} onmessage
 * @property {((event: any) => void) | null} onerror
 * @property {((event: any) => void) | null} onclose
 * @property {(text: string) => void} send
 * @property {(code?: number, reason?: string) => void} close
 */

/** @typedef {new (url: string, protocols: string[]) => WebSocketLike} WebSocketConstructor */
/** @typedef {import("./close.js").End} End */
/** @typedef {import("./envelope.js").Packet} Packet */

/**
 * @typedef {object} LinkOptions times are in milliseconds
 * @property {WebSocketConstructor} WebSocket
 * @property {string} url
 * @property {string[]} protocols
 * @property {() => Promise<Record<string, string> | undefined>} headers of HELLO
 * @property {{interval: number, timeout: number}} heartbeat
 * @property {number} maxMessageBytes
 * @property {number} openTimeout from the start to WELCOME
 * @property {number} closeTimeout how long to wait for the peer's half of the close handshake
 */

/**
 * @typedef {object} LinkEvents
 * @property {(packet: Packet) => void} welcome once
 * @property {(packet: Packet) => void} packet MESSAGE, CALL, PUBLISH, BROADCAST and answers
 * @property {(error: unknown) => void} malformed the link ends for it
 * @property {(end: End) => void} end exactly once, and nothing after it
 */

const OPEN = 1; // WebSocket.OPEN

/** RFC 6455 has 123 bytes for a close frame's reason; our own texts are ASCII. */
const MAX_REASON = 123;

/** One WebSocket from its opening to its end: HELLO, WELCOME, heartbeat. */
export class Link {
  #options;
  #events;
  #socket;
  /** @type {"opening" | "open" | "closing" | "ended"} */
  #state = "opening";
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #heardAt = 0; // by performance.now, which no change of the clock moves

  /**
   * @param {LinkOptions} options
   * @param {LinkEvents} events none is called before the constructor returns
   * @throws whatever the WebSocket's constructor throws
   */
  constructor(options, events) {
    this.#options = options;
    this.#events = events;
    const socket = new options.WebSocket(options.url, options.protocols);
    this.#socket = socket;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => void this.#hello();
    socket.onmessage = (event) => this.#receive(event.data);
    // A close event follows; ws would throw if nobody took this one.
    socket.onerror = () => {};
    socket.onclose = (event) => this.#end({ code: event.code ?? CLOSE.ABNORMAL, reason: event.reason ?? "" });
    this.#setTimer(options.openTimeout, () => this.#drop(CLOSE.CONNECTION_CLOSED, "no welcome in time"));
  }

  /** Whether packets can be sent. */
  get open() {
    return this.#state === "open" && this.#socket.readyState === OPEN;
  }

  /** Bytes that wait to be sent. */
  get bufferedBytes() {
    return this.#socket.bufferedAmount;
  }

  /** @param {Packet} packet */
  send(packet) {
    this.#socket.send(encode(packet));
  }

  /**
   * Begins the close handshake; the end event tells when it is over.
   * @param {number} code 1000, or 3000 to 4999
   * @param {string} reason
   */
  close(code, reason) {
    if (this.#state === "closing" || this.#state === "ended") return;
    this.#state = "closing";
    this.#setTimer(this.#options.closeTimeout, () => this.#end({ code, reason }));
    this.#socket.close(code, reason);
  }

  async #hello() {
    try {
      const headers = await this.#options.headers();
      if (this.#state !== "opening") return;
      this.#socket.send(encode({ type: "hello", headers }));
    } catch (thrown) {
      this.#drop(CLOSE.CONNECTION_CLOSED, `no headers for HELLO: ${textOf(thrown)}`, thrown);
    }
  }

  /** @param {unknown} frame */
  #receive(frame) {
    if (this.#state === "closing" || this.#state === "ended") return;
    this.#heardAt = performance.now();
    let packet;
    try {
      packet = decode(frame, this.#options.maxMessageBytes);
    } catch (thrown) {
      this.refuse(/** @type {Error} */ (thrown));
      return;
    }
    this.#take(packet);
  }

  /** @param {Packet} packet */
  #take(packet) {
    switch (packet.type) {
      case "welcome":
        if (this.#state !== "opening" || !packet.key) return this.#refuseType("an unexpected welcome");
        this.#state = "open";
        this.#watch(this.#options.heartbeat.interval);
        this.#events.welcome(packet);
        return;
      case "ping":
        if (this.#socket.readyState === OPEN) this.#socket.send(encode({ type: "pong", id: packet.id }));
        return;
      case "pong":
        return;
      case "hello":
      case "subscribe":
      case "unsubscribe":
        return this.#refuseType(`${packet.type} is for servers`);
      default:
        this.#events.packet(packet);
    }
  }

  /** @param {string} why */
  #refuseType(why) {
    this.refuse(new PolywireError("bad_request", `malformed frame: ${why}`));
  }

  /**
   * Ends the link for what the peer has sent.
   * @param {Error} error
   * @param {number} [code]
   */
  refuse(error, code = CLOSE.PROTOCOL_ERROR) {
    if (this.#state === "ended") return;
    this.#events.malformed(error);
    this.#drop(code, error.message, error);
  }

  /**
   * Looks again after a while whether the peer was heard. One timer is set an
   * interval, not one a frame.
   * @param {number} delay
   */
  #watch(delay) {
    this.#setTimer(delay, () => {
      const { interval, timeout } = this.#options.heartbeat;
      const quiet = Math.max(0, performance.now() - this.#heardAt);
      if (quiet < interval) return this.#watch(interval - quiet);
      const asked = this.#heardAt;
      this.#setTimer(timeout, () => {
        if (this.#heardAt === asked) return this.#drop(CLOSE.NO_PONG, "no answer to a ping");
        this.#watch(Math.max(1, interval - (performance.now() - this.#heardAt)));
      });
      if (this.#socket.readyState === OPEN) this.#socket.send(encode({ type: "ping" }));
    });
  }

  /**
   * Ends the link without waiting for a peer that may be gone.
   * @param {number} code
   * @param {string} reason
   * @param {unknown} [cause]
   */
  #drop(code, reason, cause) {
    if (this.#state === "ended") return;
    this.#end({ code, reason, cause });
    this.#socket.close(code, reason.length > MAX_REASON ? "" : reason);
  }

  /** @param {End} end */
  #end(end) {
    if (this.#state === "ended") return;
    this.#state = "ended";
    clearTimeout(this.#timer);
    this.#events.end(end);
  }

  /** @param {number} delay @param {() => void} fn */
  #setTimer(delay, fn) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(fn, delay);
  }
}
