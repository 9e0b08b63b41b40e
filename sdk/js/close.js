// @ts-check
import { PolywireError } from "./error.js";

/**
 * How a link ended. `final` overrides what the code says: the link could not
 * even be made, and trying again would not help.
 * @typedef {{code: number, reason: string, final?: boolean, cause?: unknown}} End
 */

/** Close codes of which this client makes use; the table is in docs/wire-native.md. */
export const CLOSE = Object.freeze({
  NORMAL: 1000,
  ABNORMAL: 1006,
  CONNECTION_CLOSED: 3000,
  NO_PONG: 3012,
  TOO_MANY_REQUESTS: 3013,
  UNAUTHORIZED: 3500,
  PROTOCOL_ERROR: 3501,
  STALE: 3502,
  FORBIDDEN: 3507,
});

/**
 * Reports whether a client that was closed with this code should come back by
 * itself. An orderly end (1000), faults of the protocol (1002, 1003, 1007 to
 * 1010), 3500 to 3999 and 4500 to 4999 are final; but not 3502: what was too
 * slow to open once may be faster the next time.
 * @param {number} code
 * @returns {boolean}
 */
export function reconnects(code) {
  if (code === 1000 || code === 1002 || code === 1003) return false;
  if (code >= 1007 && code <= 1010) return false;
  if (code === CLOSE.STALE) return true;
  return !((code >= 3500 && code <= 3999) || (code >= 4500 && code <= 4999));
}

/**
 * The error for whoever was waiting for something on the link; its details
 * are {closeCode, reason}.
 * @param {End} end
 * @returns {PolywireError}
 */
export function endError({ code, reason, cause }) {
  const kind =
    code === CLOSE.UNAUTHORIZED ? "unauthorized" : code === CLOSE.FORBIDDEN ? "forbidden" : "unavailable";
  const text = reason ? `connection closed (${code}): ${reason}` : `connection closed (${code})`;
  return new PolywireError(kind, text, { details: { closeCode: code, reason }, cause });
}
