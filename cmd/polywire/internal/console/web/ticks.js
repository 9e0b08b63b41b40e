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
 * is a time without points that is longer than gap.
 */
export function paths(times, values, { x, y, floor, gap }) {
  let [stroke, area, begin, previous] = ["", "", null, null];
  const end = () => {
    if (begin === null) return;
    area += `V${floor}H${begin}Z`;
    begin = null;
  };
  times.forEach((t, i) => {
    const v = values[i];
    if (v === null || v === undefined) return end();
    if (previous !== null && t - previous > gap) end();
    previous = t;
    const [px, py] = [round(x(t)), round(y(v))];
    const part = `${begin === null ? "M" : "L"}${px} ${py}`;
    stroke += begin === null ? `${part}h.01` : part; // a single point is seen
    area += part;
    begin ??= px;
  });
  end();
  return { stroke, area };
}

const round = (n) => Math.round(n * 10) / 10;
