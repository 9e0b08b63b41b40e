// The conversation as elements.
import { el, setText, sync } from "./dom.js";
import { arrange } from "./room.js";
import { hueOf, initials } from "./text.js";

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const weekday = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });

/** @param {(line) => void} again is called to send a failed line once more */
export function showLines(list, lines, again) {
  sync(list, arrange(lines), {
    key: (row) => row.key,
    create: (row) => (row.day ? dayOf(row.day) : row.line.note ? noteOf(row.line) : lineOf(row.line)),
    update: (node, row) => row.line && !row.line.note && update(node, row, again),
  });
}

/** A round picture of a name. */
export function avatar(node, { name, bot }) {
  setText(node, initials(name));
  node.className = `avatar hue-${hueOf(name)}${bot ? " bot" : ""}`;
  return node;
}

export function botChip() {
  return el("span", { class: "chip" }, "bot");
}

function lineOf(line) {
  const who = el("p", { class: "who" }, el("b", { class: `name hue-${hueOf(line.from.name)}` }, line.from.name));
  if (line.from.bot) who.append(botChip());
  who.append(el("time", { class: "number" }));
  return el(
    "li",
    { class: `line ${line.mine ? "mine" : "theirs"}` },
    avatar(el("span", { "aria-hidden": "true" }), line.from),
    el("div", { class: "said" }, who, el("p", { class: "text" }, line.text)),
  );
}

function update(node, { line, first }, again) {
  node.classList.toggle("first", first);
  node.dataset.state = line.state;
  if (line.state === "failed" && !node.querySelector(".failed")) node.querySelector(".said").append(failure(line, again));
  if (line.id) node.dataset.id = line.id;
  const time = node.querySelector("time");
  const at = line.at.toISOString();
  if (time.dateTime === at) return;
  time.dateTime = at;
  setText(time, clock.format(line.at));
  node.querySelector(".text").title = full.format(line.at);
}

// A line that failed stays so; sending it again makes another one.
function failure(line, again) {
  const retry = el("button", { type: "button", class: "text-button" }, "Try again");
  retry.addEventListener("click", () => again(line));
  return el("p", { class: "failed" }, "Not sent. ", retry);
}

function noteOf(line) {
  return el("li", { class: "note" }, line.note);
}

function dayOf(day) {
  const today = day.toDateString() === new Date().toDateString();
  return el("li", { class: "day" }, el("span", {}, today ? "Today" : weekday.format(day)));
}
