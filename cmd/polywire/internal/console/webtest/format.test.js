import assert from "node:assert/strict";
import { test } from "node:test";
import * as format from "../web/format.js";

const cases = (fn, list) => list.forEach(([n, want]) => assert.equal(fn(n), want, `${fn.name}(${n})`));

test("numbers", () => {
  cases(format.integer, [[0, "0"], [1234567, "1,234,567"], [null, "–"], [undefined, "–"], [NaN, "–"]]);
  cases(format.short, [[0, "0"], [0.04, "0.04"], [0.4, "0.4"], [37, "37"], [99.94, "99.9"], [999, "999"], [1000, "1k"], [1250, "1.3k"], [999_600, "1M"], [3.4e6, "3.4M"], [2e15, "2000T"], [null, "–"]]);
  cases(format.rate, [[0, "0/s"], [0.25, "0.3/s"], [12345, "12,345/s"], [null, "–"]]);
  assert.equal(format.count(1, "node"), "1 node");
  assert.equal(format.count(3000, "try", "tries"), "3,000 tries");
});

test("sizes", () => {
  cases(format.bytes, [[0, "0 B"], [512, "512 B"], [1023, "1023 B"], [1024, "1 KiB"], [1536, "1.5 KiB"], [1024 ** 2 - 1, "1 MiB"], [5 * 1024 ** 3, "5 GiB"], [null, "–"]]);
});

test("times that things take", () => {
  cases(format.latency, [[0, "0 ms"], [0.0052, "5.2 µs"], [0.12, "120 µs"], [0.9999, "1 ms"], [1.234, "1.23 ms"], [12.34, "12.3 ms"], [340.4, "340 ms"], [999.9, "1 s"], [3400, "3.4 s"], [null, "–"]]);
  cases(format.duration, [[0, "0 s"], [130, "130 ms"], [1000, "1 s"], [59_400, "59 s"], [59_900, "1 min"], [125_000, "2 min 5 s"], [3 * 3600e3 + 240e3, "3 h 4 min"], [51 * 3600e3, "2 d 3 h"], [24 * 3600e3 - 1, "1 d"], [-2000, "-2 s"]]);
});

test("how long ago", () => {
  const now = Date.UTC(2026, 0, 1);
  for (const [at, want] of [[now, "now"], [now + 900, "now"], [now - 5000, "5 s ago"], [now - 119_000, "1 min ago"], [now - 7200e3, "2 h ago"], [now - 90 * 86400e3, "90 d ago"], [now + 65_000, "in 1 min"]]) {
    assert.equal(format.relative(at, now), want);
  }
});

test("nothing of a text is unseen", () => {
  const seen = [
    ["plain <b>ü日本</b>", "plain <b>ü日本</b>"],
    ["a\u0000b", "a‹U+0000›b"],
    ["exe\u202egpj", "exe‹U+202E›gpj"],
    ["a\u200bb\ufeff", "a‹U+200B›b‹U+FEFF›"],
    ["a\nb\tc\r", "a ↵ b ⇥ c‹U+000D›"],
    ["\u{e0041}", "‹U+E0041›"],
    ["\ud800", "‹U+D800›"],
    ["\u2028\u2066", "‹U+2028›‹U+2066›"],
    [7, "7"],
  ];
  for (const [text, want] of seen) assert.equal(format.visible(text), want);
  assert.equal(format.visible("a\n\tb\u0007", { lines: true }), "a\n\tb‹U+0007›");
});

test("texts are cut at whole characters", () => {
  assert.equal(format.clip("short", 5), "short");
  assert.equal(format.clip("x".repeat(10_000), 3), "xxx…");
  assert.equal(format.clip("😀😀😀", 2), "😀😀…");
  assert.equal(format.clip("😀😀", 2), "😀😀");
});

test("bodies", () => {
  assert.equal(format.pretty('{"a":[1,"\\u202e"]}'), '{\n  "a": [\n    1,\n    "‹U+202E›"\n  ]\n}');
  assert.equal(format.pretty("no JSON\nat all\u0000"), "no JSON\nat all‹U+0000›");
});
