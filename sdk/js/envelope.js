// @ts-check
import { PolywireError } from "./error.js";

/** @typedef {"message" | "call" | "reply" | "error" | "subscribe" | "unsubscribe" | "publish" | "broadcast" | "hello" | "welcome" | "ping" | "pong"} Type */

/**
 * One frame's content. A payload is a JSON value or bytes; absent: none.
 * @typedef {object} Packet
 * @property {Type} type
 * @property {number} [id]
 * @property {string} [kind]
 * @property {unknown} [payload]
 * @property {string} [contentType] of a payload that is bytes; default application/octet-stream
 * @property {Record<string, string>} [headers]
 * @property {string} [room]
 * @property {{code: string, message?: string, details?: unknown}} [error]
 * @property {string} [key]
 */

const JSON_TYPE = "application/json";
const BYTES_TYPE = "application/octet-stream";

/** @type {ReadonlySet<unknown>} */
const TYPES = new Set(
  "message call reply error subscribe unsubscribe publish broadcast hello welcome ping pong".split(" "),
);
const WITH_ID = new Set(["call", "reply"]);
const WITH_KIND = new Set(["message", "call"]);

/**
 * @param {Packet} packet
 * @returns {string} a frame's text
 * @throws {TypeError} from JSON.stringify: a cycle, a BigInt
 */
export function encode(packet) {
  const bytes = asBytes(packet.payload);
  if (!bytes) return JSON.stringify({ ...packet, contentType: undefined });
  const contentType = packet.contentType === BYTES_TYPE ? undefined : packet.contentType;
  return JSON.stringify({ ...packet, payload: undefined, data: toBase64(bytes), contentType });
}

/**
 * @param {unknown} frame what a WebSocket's message event carries
 * @returns {Packet}
 * @throws {PolywireError} "bad_request" if the frame is malformed
 */
export function decode(frame) {
  if (typeof frame !== "string") throw malformed("a binary frame on a text wire");
  const raw = parse(frame);
  const type = raw.type ?? (raw.id === undefined ? "message" : "call");
  if (!TYPES.has(type)) throw malformed(`unknown type ${JSON.stringify(type)}`);
  checkID(raw.id, WITH_ID.has(type));
  checkString(raw, "kind", WITH_KIND.has(type));
  for (const key of ["room", "key", "data", "contentType"]) checkString(raw, key, false);
  checkHeaders(raw.headers);
  if (type === "error") checkError(raw.error);
  return unpack(raw, type);
}

/**
 * @param {any} raw
 * @param {Type} type
 * @returns {Packet}
 */
function unpack(raw, type) {
  const { id, kind, payload, data, headers, room, error, key } = raw;
  const packet = { type, id, kind, payload, headers, room, error, key, contentType: "" };
  if (data !== undefined) {
    packet.payload = fromBase64(data);
    packet.contentType = raw.contentType || BYTES_TYPE;
  } else if (payload !== undefined) {
    packet.contentType = JSON_TYPE;
  }
  return packet;
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
  return raw;
}

/** @param {unknown} id @param {boolean} required */
function checkID(id, required) {
  if (id === undefined && !required) return;
  if (!Number.isSafeInteger(id) || /** @type {number} */ (id) < 1) {
    throw malformed("id is not an integer from 1 to 2^53-1");
  }
}

/** @param {any} raw @param {string} key @param {boolean} required */
function checkString(raw, key, required) {
  const value = raw[key];
  if (value === undefined && !required) return;
  if (typeof value !== "string" || (required && value === "")) throw malformed(`${key} is not a string`);
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
}

/** @param {any} error */
function checkError(error) {
  if (error === null || typeof error !== "object" || typeof error.code !== "string") {
    throw malformed("an error without a code");
  }
  if (error.message !== undefined && typeof error.message !== "string") throw malformed("error.message is not a string");
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
