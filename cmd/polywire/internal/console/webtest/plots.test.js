import assert from "node:assert/strict";
import { test } from "node:test";
import { Figures } from "../web/figures.js";
import { nearest, paths, timeTicks, valueTicks } from "../web/ticks.js";

test("values on the axis are round, and reach the highest", () => {
  assert.deepEqual(valueTicks(0.3, 3), [0, 0.1, 0.2, 0.3]);
  assert.deepEqual(valueTicks(7), [0, 2, 4, 6, 8]);
  assert.deepEqual(valueTicks(1000), [0, 500, 1000]);
  assert.deepEqual(valueTicks(3000, 4, 1024), [0, 1024, 2048, 3072]);
  for (const base of [1000, 1024]) {
    for (let max = 1e-3; max < 1e13; max *= 1.37) {
      const ticks = valueTicks(max, 4, base);
      assert.ok(ticks.at(-1) >= max * 0.999 && ticks.length >= 2 && ticks.length <= 6, `${max}: ${ticks}`);
    }
  }
});

test("times on the axis are round", () => {
  const to = Date.UTC(2026, 0, 1, 12, 3, 7);
  const ticks = timeTicks(to - 600_000, to, 6, 0);
  assert.deepEqual(ticks.map((t) => new Date(t).toISOString().slice(11, 19)), ["11:54:00", "11:56:00", "11:58:00", "12:00:00", "12:02:00"]);
  assert.ok(timeTicks(to - 7_200_000, to, 3, 0).length <= 3);
});

test("the nearest point", () => {
  for (const [times, t, want] of [[[], 5, -1], [[10], 5, 0], [[10, 20, 30], 14, 0], [[10, 20, 30], 16, 1], [[10, 20, 30], 99, 2], [[10, 20, 30], -1, 0]]) assert.equal(nearest(times, t), want);
});

test("lines break where nothing was measured; one point is seen", () => {
  const place = { x: (t) => t, y: (v) => 100 - v, floor: 100, gap: 2 };
  assert.deepEqual(paths([], [], place), { stroke: "", area: "" });
  assert.deepEqual(paths([1, 2], [5, 6], place), { stroke: "M1 95L2 94", area: "M1 95L2 94V100H1Z" });
  assert.equal(paths([1, 2, 3, 9], [5, null, 6, 7], place).stroke.match(/M/g).length, 3);
  assert.match(paths([1], [5], place).stroke, /^M1 95m-1\.5 0a/);
  assert.equal(paths([1, 2], [5, undefined], place).area, "M1 95V100H1Z");
});

const series = (from, n, value) => {
  const times = Array.from({ length: n }, (_, i) => from + i * 1000);
  return { step_ms: 1000, times_ms: times, columns: { a: times.map(() => value), b: times.map(() => null) } };
};

test("figures join what was kept and what comes", () => {
  const figures = new Figures("10m");
  figures.add({ at_ms: 5000, a: 9 }); // came before the past was read
  figures.load(series(1000, 4, 1));
  assert.deepEqual(figures.times, [1000, 2000, 3000, 4000, 5000]);
  assert.deepEqual(figures.of("a", "b", "c").values, [[1, 1, 1, 1, 9], [null, null, null, null, null], []]);
  figures.add({ at_ms: 5000, a: 3 }); // said twice
  figures.add({ at_ms: 4000, a: 3 });
  figures.add({ at_ms: 6000, c: 2 });
  assert.deepEqual(figures.of("a", "c").values, [[1, 1, 1, 1, 9, null], [null, null, null, null, null, 2]]);
});

test("figures forget what is older than they show", () => {
  const figures = new Figures("10m");
  figures.load(series(0, 600, 1));
  for (let t = 600_000; t < 1_000_000; t += 1000) figures.add({ at_ms: t, a: 2, b: 3 });
  assert.equal(figures.times[0], 399_000);
  assert.equal(figures.times.length, 601);
  assert.equal(figures.columns.a.length, 601);
  assert.equal(figures.columns.b.at(-1), 3);
});
