// @ts-check
import { PolywireError } from "./error.js";

/** @typedef {"message" | "call" | "reply" | "error" | "subscribe" | "unsubscribe" | "publish" | "broadcast" | "hello" | "welcome" | "ping" | "pong"} Type */

/**
 * Details are a payload: a JSON value or bytes.
 * @typedef {{code: string, message?: string, details?: unknown}} ErrorBody
 */

/**
 * One frame's content. A payload is a JSON value or bytes; absent: none.
 * @typedef {object} Packet
 * @property {Type} type
 * @property {number} [id]
 * @property {string} [kind]
 * @property {unknown} [payload]
 * @property {string} [contentType] of a payload that is bytes; default application/octet-stream
 * @property {unknown[]} [args] payloads after the first; received, never sent
 * @property {Record<string, string>} [headers]
 * @property {string} [room]
 * @property {ErrorBody} [error]
 * @property {string} [key]
 * @property {string} [offset] a place in the room's history
 * @property {boolean} [recovered] of the reply to a subscribe with an offset
 */

const JSON_TYPE = "application/json";
const BYTES_TYPE = "application/octet-stream";

/** @type {ReadonlySet<unknown>} */
const TYPES = new Set(
  "message call reply error subscribe unsubscribe publish broadcast hello welcome ping pong".split(" "),
);

/** What docs/wire-native.md section 2.4 bounds. */
const MAX_HEADERS = 64;
const MAX_ARGS = 64;
const MAX_NESTING = 128;

const WITH_ID = new Set(["call", "reply"]);
const WITH_KIND = new Set(["message", "call", "publish", "broadcast"]);

/**
 * @param {Packet} packet
 * @returns {string} a frame's text
 * @throws {TypeError} from JSON.stringify: a cycle, a BigInt
 */
export function encode({ payload, contentType, error, ...rest }) {
  return JSON.stringify({ ...rest, ...pack("payload", payload, contentType), error: error && packError(error) });
}

/**
 * The members that say a payload.
 * @param {string} name of the member for JSON values
 * @param {unknown} payload
 * @param {string} [contentType] of bytes
 */
function pack(name, payload, contentType) {
  const bytes = asBytes(payload);
  if (!bytes) return { [name]: payload };
  return { data: toBase64(bytes), contentType: contentType === BYTES_TYPE ? undefined : contentType };
}

/** @param {ErrorBody} error */
function packError({ code, message, details }) {
  return { code, message, ...pack("details", details) };
}

/**
 * @param {unknown} frame what a WebSocket's message event carries
 * @param {number} [maxBytes] default: any number
 * @returns {Packet}
 * @throws {PolywireError} "bad_request" if the frame is malformed
 */
export function decode(frame, maxBytes = Infinity) {
  if (typeof frame !== "string") throw malformed("a binary frame on a text wire");
  if (longer(frame, maxBytes)) throw malformed(`more than ${maxBytes} bytes`);
  const { id, kind, room, key, headers, error, args, offset, recovered, ...raw } = parse(frame);
  const type = raw.type ?? (id === undefined ? "message" : "call");
  if (!TYPES.has(type)) throw malformed(`unknown type ${JSON.stringify(type)}`);
  checkID(id, WITH_ID.has(type));
  for (const [name, value] of Object.entries({ kind, room, key, offset })) checkString(name, value);
  if (!kind && raw.code === undefined && WITH_KIND.has(type)) throw malformed("neither kind nor code");
  if (recovered !== undefined && typeof recovered !== "boolean") throw malformed("recovered is not a boolean");
  checkHeaders(headers);
  /** @type {Packet} */
  const packet = { type, id, kind, room, key, headers, offset, recovered, ...unpack("payload", raw) };
  if (type === "error") packet.error = unpackError(error ?? {});
  if (args !== undefined) packet.args = unpackArgs(args);
  return packet;
}

/**
 * What the members of a payload say. null is a payload as good as any.
 * @param {string} name of the member for JSON values
 * @param {any} raw
 * @returns {{payload: unknown, contentType: string}}
 */
function unpack(name, raw) {
  const { [name]: payload, data, contentType } = withoutNulls(raw, name);
  checkString("contentType", contentType);
  if (!shallow(payload, MAX_NESTING)) throw malformed(`${name} nests deeper than ${MAX_NESTING}`);
  if (data === undefined) return { payload, contentType: payload === undefined ? "" : JSON_TYPE };
  checkString("data", data);
  if (payload !== undefined) throw malformed(`${name} and data together`);
  return { payload: fromBase64(data), contentType: contentType || BYTES_TYPE };
}

/**
 * @param {any} error
 * @returns {ErrorBody}
 */
function unpackError(error) {
  if (typeof error !== "object" || Array.isArray(error)) throw malformed("error is not an object");
  const { code = "", message } = withoutNulls(error, "details");
  checkString("code", code);
  checkString("message", message);
  return { code, message, details: unpack("details", error).payload };
}

/**
 * @param {unknown} args
 * @returns {unknown[]}
 */
function unpackArgs(args) {
  if (!Array.isArray(args)) throw malformed("args are not an array");
  if (args.length > MAX_ARGS) throw malformed(`more than ${MAX_ARGS} args`);
  return args.map((arg) => {
    if (arg === null || typeof arg !== "object") throw malformed("an argument is not an object");
    return unpack("payload", arg).payload;
  });
}

/**
 * @param {string} text
 * @returns {any}
 */
function parse(text) {
  let raw;
  try {
    raw = JSON.parse(text);
  } catch (cause) {
    throw malformed("not JSON", cause);
  }
  if (raw === null || typeof raw !== "object" || Array.isArray(raw)) throw malformed("not a JSON object");
  return withoutNulls(raw, "payload");
}

/**
 * A member that is null is as good as absent, where it is not a payload.
 * @param {any} raw
 * @param {string} payload name of the member that may be null
 */
function withoutNulls(raw, payload) {
  for (const name of Object.keys(raw)) if (raw[name] === null && name !== payload) delete raw[name];
  return raw;
}

/** @param {unknown} id @param {boolean} required */
function checkID(id, required) {
  if (id === undefined && !required) return;
  if (!Number.isSafeInteger(id) || /** @type {number} */ (id) < 1) {
    throw malformed("id is not an integer from 1 to 2^53-1");
  }
}

/** @param {string} name @param {unknown} value */
function checkString(name, value) {
  if (value !== undefined && typeof value !== "string") throw malformed(`${name} is not a string`);
}

/** @param {unknown} headers */
function checkHeaders(headers) {
  if (headers === undefined) return;
  const good =
    headers !== null &&
    typeof headers === "object" &&
    !Array.isArray(headers) &&
    Object.values(headers).every((v) => typeof v === "string");
  if (!good) throw malformed("headers are not a map of strings");
  if (Object.keys(headers).length > MAX_HEADERS) throw malformed(`more than ${MAX_HEADERS} headers`);
}

/**
 * @param {string} text
 * @param {number} maxBytes of it in UTF-8
 */
function longer(text, maxBytes) {
  if (text.length > maxBytes) return true;
  return text.length * 3 > maxBytes && new TextEncoder().encode(text).length > maxBytes;
}

/**
 * @param {unknown} value
 * @param {number} levels
 * @returns {boolean} whether it nests no deeper
 */
function shallow(value, levels) {
  if (value === null || typeof value !== "object") return true;
  if (levels === 0) return false;
  for (const key in value) if (!shallow(/** @type {any} */ (value)[key], levels - 1)) return false;
  return true;
}

/** @param {string} why @param {unknown} [cause] */
function malformed(why, cause) {
  return new PolywireError("bad_request", `malformed frame: ${why}`, { cause });
}

/**
 * @param {unknown} value
 * @returns {Uint8Array | undefined} undefined for all that is not bytes
 */
function asBytes(value) {
  if (value instanceof Uint8Array) return value;
  if (value instanceof ArrayBuffer) return new Uint8Array(value);
  if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  return undefined;
}

/** @param {Uint8Array} bytes */
function toBase64(bytes) {
  const CHUNK = 0x2000; // arguments of one call are limited
  let binary = "";
  for (let i = 0; i < bytes.length; i += CHUNK) {
    binary += String.fromCharCode(...bytes.subarray(i, i + CHUNK));
  }
  return btoa(binary);
}

/** @param {string} text */
function fromBase64(text) {
  let binary;
  try {
    binary = atob(text);
  } catch (cause) {
    throw malformed("data is not base64", cause);
  }
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}
