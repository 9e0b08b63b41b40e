// A plot of values over time, read by eye, mouse, keys and screen readers.
import { el, setAttribute, setText, svg, sync } from "./dom.js";
import { precise, time } from "./format.js";
import { nearest, paths, timeTicks, valueTicks } from "./ticks.js";

const LEFT = 52;
const RIGHT = 8;
const TOP = 8;
const BOTTOM = 20;
const HEIGHT = 168;

export class Plot {
  #title;
  #series;
  #format;
  #base;
  #least;
  #width = 0;
  #data = { times: [], values: [], span: 600_000, gap: 2500 };
  #at = null; // the time that is read, null: the latest
  #frame = 0;
  #view = {};

  /**
   * @param series what is drawn: [{ label }], in the order of the values
   * @param format makes a value a text @param base 1024 for sizes
   * @param least what the axis reaches at least
   */
  constructor({ title, series, format, base = 1000, least = 1 }) {
    this.#title = title;
    this.#series = series;
    this.#format = format;
    this.#base = base;
    this.#least = least;
    this.node = this.#build();
    new ResizeObserver(([entry]) => {
      this.#width = Math.round(entry.contentRect.width);
      this.#changed();
    }).observe(this.#view.box);
  }

  /** @param data times in ms, one list of values for each series (null: missing), the span of the axis, the gap that breaks a line */
  show(data) {
    this.#data = data;
    this.#changed();
  }

  #changed() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#draw();
    });
  }

  #build() {
    const v = this.#view;
    v.when = el("span", { class: "plot-when number" });
    v.legend = el("ul", { class: "legend" });
    v.values = this.#series.map(({ label }, i) => {
      const value = el("b", { class: "number" });
      v.legend.append(el("li", { class: `s${i}` }, el("span", { class: "swatch", "aria-hidden": "true" }), el("span", {}, label), value));
      return value;
    });
    v.grid = svg("g", { class: "grid" });
    v.lines = this.#series.map((_, i) => ({ area: svg("path", { class: `area s${i}` }), stroke: svg("path", { class: `stroke s${i}` }) }));
    v.cursor = svg("path", { class: "cursor" });
    v.dots = this.#series.map((_, i) => svg("circle", { class: `dot s${i}`, r: 3.5 }));
    v.svg = svg("svg", { height: HEIGHT, class: "plot-svg", "aria-hidden": "true", focusable: "false" }, v.grid, v.lines.map((l) => l.area), v.lines.map((l) => l.stroke).reverse(), v.cursor, v.dots);
    v.box = el("div", { class: "plot-box", tabindex: "0", role: "img" }, v.svg);
    v.box.addEventListener("pointermove", (e) => this.#point(e));
    v.box.addEventListener("pointerleave", () => this.#read(null));
    v.box.addEventListener("keydown", (e) => this.#key(e));
    v.box.addEventListener("blur", () => this.#read(null));
    v.said = el("p", { class: "hidden", "aria-live": "polite" });
    return el("figure", { class: "plot" }, el("figcaption", {}, el("h3", {}, this.#title), v.when), v.box, v.legend, v.said);
  }

  #point(event) {
    const { left } = this.#view.box.getBoundingClientRect();
    const { times } = this.#data;
    const [from, to] = this.#range();
    const share = (event.clientX - left - LEFT) / Math.max(1, this.#width - LEFT - RIGHT);
    const i = nearest(times, from + share * (to - from));
    this.#read(i < 0 ? null : times[i]);
  }

  #key(event) {
    const { times } = this.#data;
    if (event.key === "Escape" && this.#at !== null) event.stopPropagation();
    const now = this.#at === null ? times.length - 1 : nearest(times, this.#at);
    const step = event.shiftKey ? 30 : 1;
    const to = { ArrowLeft: now - step, ArrowRight: now + step, Home: 0, End: times.length - 1, Escape: null }[event.key];
    if (to === undefined || times.length === 0) return;
    event.preventDefault();
    this.#read(to === null ? null : times[Math.min(Math.max(to, 0), times.length - 1)]);
    if (to !== null) setText(this.#view.said, this.#words());
  }

  #read(at) {
    if (this.#at === at) return;
    this.#at = at;
    this.#changed();
  }

  #range() {
    const to = this.#data.times.at(-1) ?? Date.now();
    return [to - this.#data.span, to];
  }

  #index() {
    const { times } = this.#data;
    return this.#at === null ? times.length - 1 : nearest(times, this.#at);
  }

  #words() {
    const { times, values } = this.#data;
    const i = this.#index();
    const read = this.#series.map(({ label }, s) => `${label} ${this.#format(values[s]?.[i] ?? null)}`);
    return i < 0 ? "nothing measured yet" : `${read.join(", ")} at ${time(times[i])}`;
  }

  #draw() {
    const v = this.#view;
    const { times, values, gap } = this.#data;
    const width = this.#width;
    if (width < LEFT + RIGHT + 20) return;
    const most = values.reduce((m, list) => list.reduce((n, x) => (x > n ? x : n), m), this.#least);
    const ticks = valueTicks(most, 4, this.#base);
    const [from, to] = this.#range();
    const x = (t) => LEFT + ((t - from) / (to - from)) * (width - LEFT - RIGHT);
    const y = (n) => HEIGHT - BOTTOM - (n / ticks.at(-1)) * (HEIGHT - TOP - BOTTOM);
    setAttribute(v.svg, "width", width);
    this.#drawGrid(ticks, timeTicks(from, to, width > 420 ? 6 : 3), x, y);
    v.lines.forEach(({ stroke, area }, s) => {
      const p = paths(times, values[s] ?? [], { x, y, floor: HEIGHT - BOTTOM, gap });
      setAttribute(stroke, "d", p.stroke);
      setAttribute(area, "d", s === 0 ? p.area : "");
    });
    this.#drawReading(x, y);
  }

  #drawGrid(ticks, at, x, y) {
    const width = this.#width;
    const rows = ticks.map((n) => ({ key: `y${n}`, d: `M${LEFT} ${line(y(n))}H${width - RIGHT}`, text: this.#format(n), x: LEFT - 8, y: y(n) + 4, anchor: "end" }));
    const columns = at.map((t) => ({ key: `x${t}`, d: `M${line(x(t))} ${HEIGHT - BOTTOM}v4`, text: time(t).slice(0, this.#data.span > 900_000 || t % 60_000 === 0 ? 5 : 8), x: x(t), y: HEIGHT - 4, anchor: x(t) > width - 24 ? "end" : "middle" }));
    sync(this.#view.grid, [...rows, ...columns], {
      key: (tick) => tick.key,
      create: () => svg("g", {}, svg("path"), svg("text", { class: "number" })),
      update: (node, tick) => {
        const [path, text] = node.children;
        setAttribute(path, "d", tick.d);
        setAttribute(text, "x", tick.x.toFixed(1));
        setAttribute(text, "y", tick.y.toFixed(1));
        setAttribute(text, "text-anchor", tick.anchor);
        setText(text, tick.text);
      },
    });
  }

  #drawReading(x, y) {
    const v = this.#view;
    const { times, values } = this.#data;
    const i = this.#index();
    const reading = this.#at !== null && i >= 0;
    setAttribute(v.cursor, "d", reading ? `M${line(x(times[i]))} ${TOP}V${HEIGHT - BOTTOM}` : "");
    this.#series.forEach((_, s) => {
      const value = values[s]?.[i] ?? null;
      setText(v.values[s], this.#format(value));
      const dot = v.dots[s];
      setAttribute(dot, "visibility", reading && value !== null ? "visible" : "hidden");
      setAttribute(dot, "cx", reading ? x(times[i]).toFixed(1) : 0);
      setAttribute(dot, "cy", reading && value !== null ? y(value).toFixed(1) : 0);
    });
    setText(v.when, i < 0 ? "waiting" : reading ? (times[i] % 1000 ? precise(times[i]) : time(times[i])) : "now");
    setAttribute(v.box, "aria-label", `${this.#title}: ${this.#words()}. Arrow keys read earlier values.`);
  }
}

// Between two pixels a thin line is blurred.
const line = (n) => Math.round(n) + 0.5;
