import assert from "node:assert/strict";
import { test } from "node:test";
import { href, parse } from "../web/router.js";

const read = (hash) => {
  const { view, id, params } = parse(hash);
  return [view, id, Object.fromEntries(params)];
};

test("places are read", () => {
  for (const [hash, want] of [
    ["", ["overview", "", {}]],
    ["#", ["overview", "", {}]],
    ["#/connections", ["connections", "", {}]],
    ["#/connections/a-1?x=1", ["connections", "a-1", { x: "1" }]],
    ["#/rooms/a%2Fb%3Fc", ["rooms", "a/b?c", {}]],
    ["#/rooms/a/b", ["rooms", "a/b", {}]],
    ["#/rooms/%E0%A4%A", ["rooms", "%E0%A4%A", {}]],
    ["#/tail?kind=chat.*&dir=in", ["tail", "", { kind: "chat.*", dir: "in" }]],
    ["#/__proto__/constructor", ["__proto__", "constructor", {}]],
  ]) assert.deepEqual(read(hash), want, hash);
});

test("what is written is read again, whatever it is", () => {
  for (const id of ["a", "../x", "a/b?c=d&e#f", "<script>", "\u202e\u0000\n\"'", "100%", "日本 😀", "x".repeat(10_000)]) {
    const [view, back, params] = read(href("rooms", id, { q: id, none: "", not: undefined }));
    assert.equal(view, "rooms");
    assert.equal(back, id);
    assert.deepEqual(Object.keys(params), ["q"]);
    assert.equal(params.q, id);
  }
  assert.equal(read(href("rooms", "a\ud800"))[1], "a\ufffd");
  assert.equal(href("rooms"), "#/rooms");
});
