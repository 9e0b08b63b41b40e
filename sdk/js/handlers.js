// @ts-check

/**
 * What a handler gets beside the payload.
 * @typedef {object} Message
 * @property {string} kind
 * @property {unknown} payload a JSON value, a Uint8Array, or undefined
 * @property {unknown[]} args payloads after the first, where there are several
 * @property {string} contentType "application/json" unless the payload is bytes; "" without a payload
 * @property {Record<string, string>} headers
 * @property {string} [room] the room that it was published to, where known
 * @property {string} [position] its place in the room's history, where the room has one
 * @property {boolean} isCall whether the server waits for an answer
 */

/**
 * The answer to a call is what it returns or resolves to.
 * @typedef {(payload: any, message: Message) => unknown} Handler
 */

/** Handlers by kind: an exact one, else the longest prefix ("chat.*"), else "*". */
export class Handlers {
  /** @type {Map<string, Handler>} */
  #exact = new Map();
  /** @type {{prefix: string, fn: Handler}[]} longest first */
  #prefixes = [];

  /**
   * @param {string} pattern
   * @param {Handler} fn
   * @returns {() => void} takes the handler away
   * @throws {Error} if the pattern has a handler already
   */
  add(pattern, fn) {
    if (typeof pattern !== "string" || pattern === "") throw new TypeError("polywire: kind must be a non-empty string");
    if (typeof fn !== "function") throw new TypeError("polywire: a handler must be a function");
    return pattern.endsWith("*") ? this.#addPrefix(pattern.slice(0, -1), fn) : this.#addExact(pattern, fn);
  }

  /**
   * @param {string} kind
   * @returns {Handler | undefined}
   */
  find(kind) {
    return this.#exact.get(kind) ?? this.#prefixes.find((p) => kind.startsWith(p.prefix))?.fn;
  }

  /** @param {string} kind @param {Handler} fn */
  #addExact(kind, fn) {
    if (this.#exact.has(kind)) throw new Error(`polywire: ${kind} has a handler already`);
    this.#exact.set(kind, fn);
    return () => {
      if (this.#exact.get(kind) === fn) this.#exact.delete(kind);
    };
  }

  /** @param {string} prefix @param {Handler} fn */
  #addPrefix(prefix, fn) {
    if (this.#prefixes.some((p) => p.prefix === prefix)) throw new Error(`polywire: ${prefix}* has a handler already`);
    const entry = { prefix, fn };
    this.#prefixes.push(entry);
    this.#prefixes.sort((a, b) => b.prefix.length - a.prefix.length);
    return () => {
      this.#prefixes = this.#prefixes.filter((p) => p !== entry);
    };
  }
}
