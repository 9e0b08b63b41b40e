import assert from "node:assert/strict";
import { test } from "node:test";
import { decode, encode } from "../envelope.js";
import { PolywireError } from "../error.js";

test("encode writes what was given and nothing else", () => {
  const cases = [
    [{ type: "message", kind: "a", payload: { x: 1 } }, { type: "message", kind: "a", payload: { x: 1 } }],
    [{ type: "message", kind: "a", payload: null }, { type: "message", kind: "a", payload: null }],
    [{ type: "message", kind: "a", payload: undefined }, { type: "message", kind: "a" }],
    [{ type: "call", id: 7, kind: "a", headers: { h: "v" } }, { type: "call", id: 7, kind: "a", headers: { h: "v" } }],
    [
      { type: "message", kind: "a", payload: "x", contentType: "application/json" },
      { type: "message", kind: "a", payload: "x" },
    ],
    [{ type: "message", kind: "a", payload: new Uint8Array([0, 255]) }, { type: "message", kind: "a", data: "AP8=" }],
    [{ type: "message", kind: "a", payload: new Uint8Array() }, { type: "message", kind: "a", data: "" }],
    [{ type: "message", kind: "a", payload: new Uint8Array([1]).buffer }, { type: "message", kind: "a", data: "AQ==" }],
    [
      { type: "message", kind: "a", payload: new DataView(new Uint8Array([9, 1, 2]).buffer, 1), contentType: "x/y" },
      { type: "message", kind: "a", data: "AQI=", contentType: "x/y" },
    ],
  ];
  for (const [packet, want] of cases) assert.deepEqual(JSON.parse(encode(packet)), want);
});

test("error details may be bytes", () => {
  const packet = { type: "error", id: 1, error: { code: "full", details: new Uint8Array([255]) } };
  assert.deepEqual(JSON.parse(encode(packet)), { type: "error", id: 1, error: { code: "full", data: "/w==" } });
});

test("encode refuses what JSON cannot say", () => {
  assert.throws(() => encode({ type: "message", kind: "a", payload: 1n }), TypeError);
});

test("decode fills in the type", () => {
  assert.equal(decode('{"kind":"a"}').type, "message");
  assert.equal(decode('{"kind":"a","id":1}').type, "call");
  assert.equal(decode('{"type":"publish","id":1,"kind":"a","room":"r"}').type, "publish");
});

test("decode tells payloads apart", () => {
  const cases = [
    ['{"kind":"a"}', undefined, ""],
    ['{"kind":"a","payload":null}', null, "application/json"],
    ['{"kind":"a","payload":{"x":[1]}}', { x: [1] }, "application/json"],
    ['{"kind":"a","data":""}', new Uint8Array(), "application/octet-stream"],
    ['{"kind":"a","data":"AP8=","contentType":"x/y"}', new Uint8Array([0, 255]), "x/y"],
  ];
  for (const [text, payload, contentType] of cases) {
    const packet = decode(text);
    assert.deepEqual(packet.payload, payload, text);
    assert.equal(packet.contentType, contentType, text);
  }
});

test("bytes of any length come back as they were", () => {
  for (const length of [1, 2, 3, 0x1fff, 0x2000, 0x2001, 100_000]) {
    const bytes = Uint8Array.from({ length }, (_, i) => (i * 7) % 256);
    assert.deepEqual(decode(encode({ type: "message", kind: "a", payload: bytes })).payload, bytes);
  }
});

test("null is absent, except as a payload", () => {
  const names = "type id room key headers error args data contentType code codes offset recovered".split(" ");
  const packet = decode(JSON.stringify({ kind: "a", payload: null, ...Object.fromEntries(names.map((n) => [n, null])) }));
  assert.equal(packet.type, "message");
  assert.equal(packet.payload, null);
  assert.equal(packet.contentType, "application/json");
  assert.deepEqual(decode('{"type":"error","error":{"code":null,"message":null,"details":null}}').error, {
    code: "",
    message: undefined,
    details: null,
  });
});

test("decode ignores keys that it does not know", () => {
  assert.equal(decode('{"kind":"a","later":{"x":1}}').kind, "a");
});

/** JSON of a value that nests so deep. */
const nested = (levels) => "[".repeat(levels) + "]".repeat(levels);
const many = (n) => JSON.stringify(Object.fromEntries(Array.from({ length: n }, (_, i) => [`h${i}`, "v"])));
const list = (n, item) => `[${Array(n).fill(item).join()}]`;

test("bounds: what is just allowed", () => {
  const frames = [
    `{"kind":"a","payload":${nested(128)}}`,
    `{"kind":"a","args":[{"payload":${nested(128)}}]}`,
    `{"type":"error","error":{"code":"x","details":${nested(128)}}}`,
    `{"kind":"a","headers":${many(64)}}`,
    `{"kind":"a","args":${list(64, "{}")}}`,
  ];
  for (const frame of frames) decode(frame);
  const text = '{"kind":"€"}';
  decode(text, 14);
  for (const bytes of [13, 12, 4, 1]) assert.throws(() => decode(text, bytes), { code: "bad_request" });
});

test("bounds: what is too much", () => {
  const frames = [
    `{"kind":"a","payload":${nested(129)}}`,
    `{"kind":"a","payload":${nested(400_000)}}`,
    `{"kind":"a","payload":${'{"a":'.repeat(129)}1${"}".repeat(129)}}`,
    `{"kind":"a","args":[{"payload":${nested(129)}}]}`,
    `{"type":"error","error":{"code":"x","details":${nested(129)}}}`,
    `{"kind":"a","headers":${many(65)}}`,
    `{"kind":"a","args":${list(65, "{}")}}`,
  ];
  for (const frame of frames) assert.throws(() => decode(frame), { code: "bad_request" }, frame.slice(0, 60));
});

test("decode refuses malformed frames", () => {
  const frames = [
    new ArrayBuffer(2),
    "",
    "{",
    "null",
    "1",
    "[]",
    '"x"',
    '{"type":"dance"}',
    '{"type":1}',
    '{"type":"__proto__"}',
    '{"type":"message"}',
    '{"kind":""}',
    '{"kind":5}',
    '{"type":"call","kind":"a"}',
    '{"type":"reply"}',
    '{"type":"reply","id":0}',
    '{"type":"reply","id":-1}',
    '{"type":"reply","id":1.5}',
    '{"type":"reply","id":"1"}',
    '{"type":"reply","id":9007199254740992}',
    '{"type":"publish","id":1,"room":"r"}',
    '{"kind":"a","payload":1,"data":""}',
    '{"kind":"a","args":{}}',
    '{"kind":"a","args":[1]}',
    '{"kind":"a","args":[null]}',
    '{"kind":"a","args":[{"data":"?"}]}',
    '{"kind":"a","room":1}',
    '{"kind":"a","offset":1}',
    '{"type":"reply","id":1,"recovered":1}',
    '{"type":"reply","id":1,"recovered":"true"}',
    '{"kind":"a","headers":[]}',
    '{"kind":"a","headers":{"x":1}}',
    '{"kind":"a","data":"?"}',
    '{"kind":"a","data":7}',
    '{"kind":"a","data":"","contentType":1}',
    '{"type":"error","id":1,"error":[]}',
    '{"type":"error","id":1,"error":"x"}',
    '{"type":"error","id":1,"error":{"code":7}}',
    '{"type":"error","id":1,"error":{"code":"x","data":"?"}}',
    '{"type":"error","id":1,"error":{"code":"x","message":1}}',
  ];
  for (const frame of frames) {
    assert.throws(
      () => decode(frame),
      (e) => e instanceof PolywireError && e.code === "bad_request" && !e.remote,
      String(frame),
    );
  }
});
