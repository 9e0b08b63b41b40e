// @ts-check

/**
 * A failed request, with a code to decide by. Codes that this package makes:
 * "unavailable" (no connection, or it was lost), "deadline_exceeded",
 * "conflict" (wrong state), "unauthorized" and
 * "forbidden" (by the server's close code), "not_found" and "internal"
 * (answers to the server's calls), "bad_request" (a malformed frame).
 * Servers may use any others.
 */
export class PolywireError extends Error {
  /**
   * @param {string} code
   * @param {string} [message] the code, if absent
   * @param {{details?: unknown, cause?: unknown, remote?: boolean}} [more]
   */
  constructor(code, message = code, { details, cause, remote = false } = {}) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "PolywireError";
    /** @readonly */
    this.code = code;
    /** @readonly A JSON value or bytes, undefined if there are none. */
    this.details = details;
    /** @readonly True if it came over the wire, false if it was made here. */
    this.remote = remote;
  }
}

/**
 * @param {unknown} thrown
 * @returns {string}
 */
export function textOf(thrown) {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
