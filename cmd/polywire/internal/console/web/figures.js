// The figures of the last minutes or hours: what the server kept, and what comes.

export const SPANS = { "10m": { span: 600_000, step: 1000 }, "2h": { span: 7_200_000, step: 10_000 } };

export class Figures {
  times = [];
  columns = {};
  #span;
  #step;

  constructor(name) {
    this.#span = SPANS[name].span;
    this.#step = SPANS[name].step;
  }

  /** Takes what the server kept. Points that came meanwhile and are younger stay. */
  load({ times_ms, columns }) {
    const [times, before] = [this.times, this.columns];
    this.times = [...times_ms];
    this.columns = Object.fromEntries(Object.entries(columns).map(([name, list]) => [name, [...list]]));
    times.forEach((at_ms, i) => this.add({ at_ms, ...Object.fromEntries(Object.entries(before).map(([name, list]) => [name, list[i]])) }));
  }

  /** Adds a point; one that is not younger than the last is left out. */
  add({ at_ms, ...values }) {
    if (this.times.length > 0 && at_ms <= this.times.at(-1)) return;
    this.times.push(at_ms);
    for (const [name, value] of Object.entries(values)) {
      const list = (this.columns[name] ??= new Array(this.times.length - 1).fill(null));
      list.push(value ?? null);
    }
    for (const list of Object.values(this.columns)) if (list.length < this.times.length) list.push(null);
    const old = this.times.findIndex((t) => t >= at_ms - this.#span);
    if (old > 0) [this.times, ...Object.values(this.columns)].forEach((list) => list.splice(0, old));
  }

  /** What a plot of some columns shows. */
  of(...names) {
    return { times: this.times, values: names.map((name) => this.columns[name] ?? []), span: this.#span, gap: 2.5 * this.#step };
  }
}
