// Deep comparison that takes binary values of any type as their bytes.

/** bytesOf returns the bytes of a binary value, else undefined. */
export function bytesOf(value) {
  if (value instanceof ArrayBuffer) return new Uint8Array(value);
  if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  return undefined;
}

/** same reports whether two values are equal; 0 and -0 are not, NaN is NaN. */
export function same(a, b) {
  if (Object.is(a, b)) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  const [bytesA, bytesB] = [bytesOf(a), bytesOf(b)];
  if (bytesA || bytesB) return Boolean(bytesA && bytesB) && sameBytes(bytesA, bytesB);
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const [keysA, keysB] = [Object.keys(a), Object.keys(b)];
  return keysA.length === keysB.length && keysA.every((key) => Object.hasOwn(b, key) && same(a[key], b[key]));
}

function sameBytes(a, b) {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

/** show returns a value for a person, shortened. */
export function show(value) {
  const text = JSON.stringify(value, function (key, v) {
    const bytes = bytesOf(this[key]); // not v: a Buffer has a JSON form of its own
    if (bytes) return `<${bytes.length} bytes ${[...bytes.subarray(0, 8)]}>`;
    return typeof v === "string" && v.length > 100 ? `<${v.length} characters ${v.slice(0, 20)}>` : v;
  });
  if (text === undefined) return String(value);
  return text.length > 600 ? `${text.slice(0, 600)}...` : text;
}

/** bytes returns n bytes that differ from place to place. */
export function bytes(n, seed = 7) {
  const all = new Uint8Array(n);
  let x = seed;
  for (let i = 0; i < n; i++) {
    x = (Math.imul(x, 1103515245) + 12345) & 0x7fffffff;
    all[i] = x >> 16;
  }
  return all;
}
