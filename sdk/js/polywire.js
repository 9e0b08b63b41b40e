// @ts-check
/**
 * The Polywire client for browsers and Node: calls in both directions, rooms,
 * and a connection that comes back by itself. See README.md.
 * @module
 */

export { Client } from "./client.js";
export { PolywireError } from "./error.js";
export { reconnects } from "./close.js";

/** @typedef {import("./client.js").ClientOptions} ClientOptions */
/** @typedef {import("./client.js").Status} Status */
/** @typedef {import("./client.js").Events} Events */
/** @typedef {import("./client.js").SendOptions} SendOptions */
/** @typedef {import("./client.js").CallOptions} CallOptions */
/** @typedef {import("./handlers.js").Handler} Handler */
/** @typedef {import("./handlers.js").Message} Message */
/** @typedef {import("./client.js").WaitOptions} WaitOptions */
/** @typedef {import("./presence.js").Member} Member */
/** @typedef {import("./presence.js").PresenceEvent} PresenceEvent */
