// The last round trips, and their picture.

const KEPT = 32;
const FLOOR_MS = 4; // noise below this is not worth the picture's full height

export class Latency {
  /** Milliseconds, oldest first; null where there was no answer. */
  samples = [];

  add(ms) {
    this.samples.push(ms);
    if (this.samples.length > KEPT) this.samples.shift();
  }

  get last() {
    return this.samples.at(-1) ?? null;
  }

  /** "0.8 ms", "24 ms", "1.2 s", or a dash. */
  get text() {
    const ms = this.last;
    if (ms === null) return "–";
    if (ms >= 1000) return `${(ms / 1000).toFixed(1)} s`;
    return ms < 10 ? `${ms.toFixed(1)} ms` : `${Math.round(ms)} ms`;
  }

  /** "good", "fair" or "poor", "" without an answer. */
  get grade() {
    if (this.last === null) return "";
    return this.last < 100 ? "good" : this.last < 300 ? "fair" : "poor";
  }

  /**
   * SVG paths of a line and the area below it, the newest sample at the right
   * edge. Missing answers are gaps; a spike is cut off, so that it does not
   * flatten all the others.
   */
  paths(width, height) {
    const top = Math.max(FLOOR_MS, 2.5 * median(this.samples));
    const x = (i) => round(width - ((this.samples.length - 1 - i) * width) / (KEPT - 1));
    const y = (ms) => round(height - 1.5 - Math.min(1, ms / top) * (height - 3));
    const runs = runsOf(this.samples);
    const line = (run) => run.map(([i, ms], n) => `${n ? "L" : "M"}${x(i)} ${y(ms)}`).join("") + (run.length === 1 ? "h.01" : "");
    const area = (run) => `${line(run)}V${height}H${x(run[0][0])}Z`;
    return { stroke: runs.map(line).join(""), area: runs.map(area).join("") };
  }
}

/** Unbroken runs of [index, sample]. */
function runsOf(samples) {
  const runs = [];
  samples.forEach((ms, i) => {
    if (ms === null) return;
    if (i === 0 || samples[i - 1] === null) runs.push([]);
    runs.at(-1).push([i, ms]);
  });
  return runs;
}

function median(samples) {
  const sorted = samples.filter((ms) => ms !== null).sort((a, b) => a - b);
  return sorted[sorted.length >> 1] ?? 0;
}

const round = (n) => Math.round(n * 10) / 10;
