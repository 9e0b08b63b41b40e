// The frames that all implementations of the native wire share.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { decode, encode } from "../envelope.js";

const golden = JSON.parse(readFileSync(new URL("../../../wire/native/testdata/golden.json", import.meta.url), "utf8"));

/** What a payload's description means here. */
function meaning(described) {
  if (!described) return undefined;
  const bytes = Buffer.from(described.hex, "hex");
  return described.type === "application/json" ? JSON.parse(bytes.toString()) : new Uint8Array(bytes);
}

for (const { name, packet: want, json } of golden.filter((g) => g.json)) {
  test(`golden: ${name}`, () => {
    const got = decode(json);
    for (const key of ["type", "id", "kind", "room", "key", "headers", "offset", "recovered"]) assert.deepEqual(got[key], want[key], key);
    assert.deepEqual(got.payload, meaning(want.payload));
    assert.equal(got.contentType, want.payload?.type ?? "");
    assert.deepEqual(got.args, want.args?.map(meaning));
    assert.equal(got.error?.code, want.error?.code);
    assert.equal(got.error?.message || undefined, want.error?.message || undefined);
    assert.deepEqual(got.error?.details, meaning(want.error?.details));
    // Numeric codes and further arguments are understood, but never said.
    const { code, codes, args, ...said } = JSON.parse(json);
    assert.deepEqual(JSON.parse(encode({ ...got, args: undefined })), said);
  });
}
