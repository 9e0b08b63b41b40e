// Numbers, sizes, times and the texts of strangers, for people to read.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });

export const NONE = "–";

const known = (n) => typeof n === "number" && Number.isFinite(n);

/** "12,345". */
export function integer(n) {
  return known(n) ? whole.format(n) : NONE;
}

/** "0", "0.4", "37", "1.2k", "3.4M": short, for axes and tiles. */
export function short(n) {
  return known(n) ? scaled(n, 1000, ["", "k", "M", "G", "T"], "") : NONE;
}

/** "512 B", "1.5 MiB". */
export function bytes(n) {
  return known(n) ? scaled(n, 1024, ["B", "KiB", "MiB", "GiB", "TiB"], " ") : NONE;
}

function scaled(n, step, units, gap) {
  let i = 0;
  // What would be rounded up to a whole step is said in the next unit.
  while (Math.abs(n) >= step - (i > 0 ? 0.5 : 0) && i < units.length - 1) {
    n /= step;
    i++;
  }
  const digits = Number.isInteger(n) || Math.abs(n) >= 99.95 ? 0 : Math.abs(n) < 0.095 ? 2 : 1;
  return `${trimmed(n.toFixed(digits))}${units[i] ? gap + units[i] : ""}`;
}

const trimmed = (text) => (text.includes(".") ? text.replace(/\.?0+$/, "") : text);

/** "1,234/s", "0.4/s". */
export function rate(n) {
  return known(n) ? `${n >= 1000 ? integer(n) : short(n)}/s` : NONE;
}

/** A time in milliseconds, short: "85 µs", "1.2 ms", "3.4 s", "2 min". */
export function latency(ms) {
  if (!known(ms)) return NONE;
  if (ms === 0) return "0 ms";
  if (ms < 0.9995) return `${trimmed((ms * 1000).toPrecision(ms < 0.01 ? 2 : 3))} µs`;
  if (ms < 999.5) return `${trimmed(ms.toFixed(ms < 9.995 ? 2 : ms < 99.95 ? 1 : 0))} ms`;
  return duration(ms);
}

const UNITS = [["d", 86400e3], ["h", 3600e3], ["min", 60e3], ["s", 1e3]];

/** "3.4 s", "2 min 5 s", "3 h 4 min", "2 d 3 h". */
export function duration(ms) {
  if (!known(ms)) return NONE;
  if (ms < 0) return `-${duration(-ms)}`;
  if (ms < 10e3) return ms < 950 && ms > 0 ? `${Math.round(ms)} ms` : `${trimmed((ms / 1000).toFixed(1))} s`;
  const at = UNITS.findIndex(([, size]) => ms >= size - (size > 1e3 ? 500 : 0));
  const [unit, size] = UNITS[at];
  if (at === 3) return `${Math.round(ms / 1000)} s`;
  const [lower, step] = UNITS[at + 1];
  let [big, small] = [Math.floor(ms / size), Math.round((ms % size) / step)];
  if (small * step >= size) [big, small] = [big + 1, 0];
  return small ? `${big} ${unit} ${small} ${lower}` : `${big} ${unit}`;
}

/** "now", "5 s ago", "3 min ago", "in 2 h": one unit, so that it stands still for a while. */
export function relative(at, now = Date.now()) {
  const ms = now - at;
  const size = Math.abs(ms);
  if (size < 1500) return "now";
  const [unit, step] = UNITS.find(([, s]) => size >= s) ?? UNITS.at(-1);
  const text = `${Math.floor(size / step)} ${unit}`;
  return ms > 0 ? `${text} ago` : `in ${text}`;
}

/** The date and time in full. */
export const absolute = (at) => full.format(at);

/** "18:04:07". */
export const time = (at) => clock.format(at);

/** "18:04:07.123". */
export const precise = (at) => `${clock.format(at)}.${String(new Date(at).getMilliseconds()).padStart(3, "0")}`;

/** "1 person", "3,000 people". */
export function count(n, one, many = `${one}s`) {
  return `${integer(n)} ${n === 1 ? one : many}`;
}

// Control characters, marks that turn the direction of writing, and others that
// cannot be seen: they would let a text look like another one.
const UNSEEN = /[\p{Cc}\p{Cf}\p{Co}\p{Cs}\u2028\u2029\u115f\u1160\u3164\uffa0]/gu;

/**
 * A text of a stranger with everything that cannot be seen made visible.
 * Lines and tabs stay when asked.
 */
export function visible(text, { lines = false } = {}) {
  return String(text).replace(UNSEEN, (c) => {
    if (c === "\n") return lines ? c : " ↵ ";
    if (c === "\t") return lines ? c : " ⇥ ";
    return `‹U+${c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}›`;
  });
}

/** The first characters of a text, visible, with an ellipsis when there are more. */
export function clip(text, length) {
  const points = [...String(text).slice(0, 2 * length + 2)];
  return points.length <= length ? visible(text) : `${visible(points.slice(0, length).join(""))}…`;
}

/** JSON with indentation if it is such, the text itself if not; visible. */
export function pretty(text) {
  try {
    return visible(JSON.stringify(JSON.parse(text), null, 2), { lines: true });
  } catch {
    return visible(text, { lines: true });
  }
}
