import assert from "node:assert/strict";
import { test } from "node:test";
import { Backoff } from "../backoff.js";
import { endError, reconnects } from "../close.js";
import { Emitter } from "../emitter.js";
import { Handlers } from "../handlers.js";

test("backoff doubles its ceiling up to the maximum", () => {
  const backoff = new Backoff({ min: 1000, max: 30_000, random: () => 1 });
  const ceilings = Array.from({ length: 7 }, () => backoff.next());
  assert.deepEqual(ceilings, [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
  assert.equal(backoff.attempt, 7);
  backoff.reset();
  assert.equal(backoff.next(), 1000);
});

test("backoff takes anything below its ceiling", () => {
  const draws = [0, 0.5, 0.25];
  const backoff = new Backoff({ min: 100, max: 1000, random: () => draws.shift() });
  assert.deepEqual([backoff.next(), backoff.next(), backoff.next()], [0, 100, 100]);
});

test("backoff stays finite after very many attempts", () => {
  const backoff = new Backoff({ min: 1000, max: 30_000, random: () => 1 });
  for (let i = 0; i < 5000; i++) assert.ok(backoff.next() <= 30_000);
});

test("backoff refuses senseless bounds", () => {
  for (const [min, max] of [[0, 1], [-1, 1], [2, 1], [NaN, 1], [1, NaN]]) {
    assert.throws(() => new Backoff({ min, max }), RangeError);
  }
});

test("close codes say whether to come back", () => {
  const table = {
    true: [1001, 1004, 1005, 1006, 1011, 1012, 1013, 1014, 1015, 2999, 3000, 3001, 3499, 3502, 4000, 4499],
    false: [1000, 1002, 1003, 1007, 1008, 1009, 1010, 3500, 3999, 4500, 4999],
  };
  for (const [want, codes] of Object.entries(table)) {
    for (const code of codes) assert.equal(String(reconnects(code)), want, String(code));
  }
});

test("close codes become error codes", () => {
  const codes = [[1006, "unavailable"], [3500, "unauthorized"], [3507, "forbidden"], [3503, "unavailable"]];
  for (const [closeCode, want] of codes) {
    const error = endError({ code: closeCode, reason: "so" });
    assert.equal(error.code, want);
    assert.deepEqual(error.details, { closeCode, reason: "so" });
    assert.equal(error.remote, false);
  }
});

test("handlers: exact before the longest prefix before the rest", () => {
  const handlers = new Handlers();
  const [rest, chat, chatRoom, say] = [() => 0, () => 1, () => 2, () => 3];
  handlers.add("*", rest);
  handlers.add("chat.*", chat);
  handlers.add("chat.room.*", chatRoom);
  const remove = handlers.add("chat.say", say);
  assert.equal(handlers.find("chat.say"), say);
  assert.equal(handlers.find("chat.said"), chat);
  assert.equal(handlers.find("chat.room.new"), chatRoom);
  assert.equal(handlers.find("chat"), rest);
  remove();
  assert.equal(handlers.find("chat.say"), chat);
});

test("handlers: none, twice, and what is none", () => {
  const handlers = new Handlers();
  assert.equal(handlers.find("a"), undefined);
  const removeExact = handlers.add("a", () => 1);
  const removePrefix = handlers.add("b.*", () => 1);
  assert.throws(() => handlers.add("a", () => 2), /has a handler/);
  assert.throws(() => handlers.add("b.*", () => 2), /has a handler/);
  assert.throws(() => handlers.add("", () => 2), TypeError);
  assert.throws(() => handlers.add("c", "not a function"), TypeError);
  removeExact();
  removePrefix();
  handlers.add("a", () => 2);
  handlers.add("b.*", () => 2);
  removeExact(); // an old one takes nothing of the new away
  removePrefix();
  assert.equal(handlers.find("a")(), 2);
  assert.equal(handlers.find("b.x")(), 2);
});

test("a listener that throws stops nobody", async () => {
  const faults = [];
  const emitter = new Emitter((thrown, event) => faults.push([thrown.message, event]));
  const heard = [];
  emitter.on("x", () => {
    throw new Error("mine");
  });
  emitter.on("x", () => Promise.reject(new Error("later")));
  const off = emitter.on("x", (v) => heard.push(v));
  assert.equal(emitter.emit("x", 1), true);
  assert.deepEqual(heard, [1]);
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(faults, [["mine", "x"], ["later", "x"]]);
  off();
  emitter.emit("x", 2);
  assert.equal(emitter.emit("y"), false);
  assert.deepEqual(heard, [1]);
  assert.throws(() => emitter.on("x", "not a function"), TypeError);
});
