// @ts-check

/** @typedef {Record<string, string>} Headers */

/**
 * Times are in milliseconds.
 * @typedef {object} ClientOptions
 * @property {Headers | (() => Headers | Promise<Headers>)} [headers] credentials and the like, said in HELLO; a
 *   function is asked before every attempt, so that a token can be renewed
 * @property {string[]} [protocols] WebSocket subprotocols; default ["polywire.v1.json"]
 * @property {any} [WebSocket] constructor; default the global one
 * @property {{min?: number, max?: number}} [backoff] ceiling of the first delay (default 1000) and of all (30000)
 * @property {{interval?: number, timeout?: number}} [heartbeat] ping after so much silence (25000), and give up
 *   when nothing is heard for so long after it (20000)
 * @property {number} [openTimeout] for one attempt, up to WELCOME; default 10000
 * @property {number} [callTimeout] default 30000; 0 or Infinity: none
 * @property {number} [checkInterval] about how often to ask for messages of rooms with history that got lost on the
 *   way; default 40000, negative: never
 * @property {number} [maxMessageBytes] of a frame that the server sends; a larger one ends the connection for good;
 *   default 1 MiB
 * @property {{error: (text: string, error: unknown) => void} | null} [logger] gets the errors that no "error"
 *   listener takes; default console, null for none
 */

const DEFAULTS = Object.freeze({
  protocols: ["polywire.v1.json"],
  backoff: { min: 1000, max: 30_000 },
  heartbeat: { interval: 25_000, timeout: 20_000 },
  openTimeout: 10_000,
  closeTimeout: 2000,
  callTimeout: 30_000,
  checkInterval: 40_000,
  maxMessageBytes: 1 << 20,
});

/**
 * @param {string | URL} url ws, wss, http or https; relative to the page where there is one
 * @param {ClientOptions} options
 */
export function settle(url, options) {
  const WebSocket = options.WebSocket ?? /** @type {any} */ (globalThis).WebSocket;
  if (typeof WebSocket !== "function") {
    throw new TypeError("polywire: no WebSocket here; give one as an option (Node < 22: the package ws)");
  }
  const { headers } = options;
  return {
    url: socketURL(url),
    WebSocket,
    headers: async () => (typeof headers === "function" ? headers() : headers),
    protocols: options.protocols ?? DEFAULTS.protocols,
    backoff: { ...DEFAULTS.backoff, ...options.backoff },
    heartbeat: positive("heartbeat", { ...DEFAULTS.heartbeat, ...options.heartbeat }),
    ...positive("option", { openTimeout: options.openTimeout ?? DEFAULTS.openTimeout }),
    closeTimeout: DEFAULTS.closeTimeout,
    callTimeout: options.callTimeout ?? DEFAULTS.callTimeout,
    maxMessageBytes: bytes(options.maxMessageBytes ?? DEFAULTS.maxMessageBytes),
    checkInterval: checked(options.checkInterval ?? DEFAULTS.checkInterval),
    logger: options.logger === undefined ? console : options.logger,
  };
}

/**
 * @param {string | URL} url
 * @returns {string}
 */
function socketURL(url) {
  const u = new URL(url, /** @type {any} */ (globalThis).location?.href);
  u.hash = ""; // a WebSocket refuses it
  if (u.protocol === "http:" || u.protocol === "https:") u.protocol = u.protocol.replace("http", "ws");
  if (u.protocol !== "ws:" && u.protocol !== "wss:") throw new TypeError(`polywire: no WebSocket at ${u.protocol} URLs`);
  return u.href;
}

/**
 * @param {number} most
 * @returns {number}
 */
function bytes(most) {
  if (!(most > 0)) throw new RangeError("polywire: option maxMessageBytes must be above 0");
  return most;
}

/**
 * @param {number} every milliseconds
 * @returns {number}
 */
function checked(every) {
  // Chance makes a wait a quarter longer, and a longer one than 2^31 ms fires at once.
  if (!(every < 0 || (every > 0 && every < 2 ** 30))) {
    throw new RangeError("polywire: option checkInterval must be negative, or above 0 and below 2^30 ms");
  }
  return every;
}

/**
 * @template {Record<string, number>} T
 * @param {string} what
 * @param {T} times
 * @returns {T}
 */
function positive(what, times) {
  for (const [name, ms] of Object.entries(times)) {
    if (!(ms > 0 && ms < 2 ** 31)) throw new RangeError(`polywire: ${what} ${name} must be above 0 and below 2^31 ms`);
  }
  return times;
}
