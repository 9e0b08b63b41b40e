// The arithmetic of plots.

const TIME_STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400].map((s) => s * 1000);

/**
 * Round values from 0 to the first at or above max: at most count steps.
 * base is 1000 for numbers, 1024 for sizes.
 */
export function valueTicks(max, count = 4, base = 1000) {
  const least = Math.max(max, Number.MIN_VALUE) / count;
  const step = base === 1024 ? roundSize(least) : roundNumber(least);
  const ticks = [0];
  for (let i = 1; ticks.at(-1) < max || i === 1; i++) ticks.push(Number((i * step).toPrecision(12)));
  return ticks;
}

function roundNumber(least) {
  const power = 10 ** Math.floor(Math.log10(least));
  return [1, 2, 5, 10].map((n) => n * power).find((n) => n >= least * 0.999999);
}

function roundSize(least) {
  if (least < 1) return 1;
  return 2 ** Math.ceil(Math.log2(least * 0.999999));
}

/** Times between from and to at which the clock is round: at most count of them. */
export function timeTicks(from, to, count = 6, zone = new Date(to).getTimezoneOffset() * 60_000) {
  const step = TIME_STEPS.find((s) => (to - from) / s <= count) ?? TIME_STEPS.at(-1);
  const ticks = [];
  for (let t = Math.ceil((from - zone) / step) * step + zone; t <= to; t += step) ticks.push(t);
  return ticks;
}

/** The index of the time that is nearest; times ascend. -1 if there are none. */
export function nearest(times, t) {
  let [low, high] = [0, times.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (times[middle] < t) low = middle + 1;
    else high = middle;
  }
  return low > 0 && t - times[low - 1] <= times[low] - t ? low - 1 : high;
}

/**
 * SVG paths of a line and the area below it. Missing values are gaps, and so
 * is a time without points that is longer than gap. A point that is alone is
 * a ring, so that it is seen.
 */
export function paths(times, values, { x, y, floor, gap }) {
  const all = runs(times, values, gap).map((run) => run.map(([t, v]) => [round(x(t)), round(y(v))]));
  const line = (points) => points.map(([px, py], i) => `${i ? "L" : "M"}${px} ${py}`).join("");
  return {
    stroke: all.map((points) => line(points) + (points.length === 1 ? "m-1.5 0a1.5 1.5 0 103 0a1.5 1.5 0 10-3 0" : "")).join(""),
    area: all.map((points) => `${line(points)}V${floor}H${points[0][0]}Z`).join(""),
  };
}

/** Unbroken runs of [time, value]. */
function runs(times, values, gap) {
  const all = [];
  let last = null; // time of the point before, if the line goes on from it
  times.forEach((t, i) => {
    const v = values[i] ?? null;
    if (v === null) {
      last = null;
      return;
    }
    if (last === null || t - last > gap) all.push([]);
    all.at(-1).push([t, v]);
    last = t;
  });
  return all;
}

const round = (n) => Math.round(n * 10) / 10;
