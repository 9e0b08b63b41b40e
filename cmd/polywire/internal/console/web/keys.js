// Shortcuts: what is typed where nothing takes it.
import { shown } from "./dialogs.js";
import { el } from "./dom.js";
import { keep, recall } from "./storage.js";

const SEQUENCE_MS = 1500;

export class Keys {
  #bindings;
  #pending = "";
  #at = 0;
  on = recall("keys") !== "off";

  /** @param bindings { keys: "g o", text, act } each */
  constructor(bindings) {
    this.#bindings = bindings;
  }

  /** Handles a keydown event; true if it was one of ours. */
  press(event, now = Date.now()) {
    if (!this.on || event.ctrlKey || event.altKey || event.metaKey || event.isComposing || event.defaultPrevented || taken(event.target)) return false;
    const first = now - this.#at < SEQUENCE_MS ? this.#pending : "";
    const keys = first ? `${first} ${event.key}` : event.key;
    const found = this.#bindings.find((b) => b.keys === keys) ?? this.#bindings.find((b) => b.keys === event.key);
    this.#pending = "";
    if (found) {
      event.preventDefault();
      found.act();
      return true;
    }
    if (this.#bindings.some((b) => b.keys.startsWith(`${event.key} `))) {
      this.#pending = event.key;
      this.#at = now;
    }
    return false;
  }

  /** Lists them, and lets them be turned off. */
  dialog() {
    const rows = this.#bindings.flatMap(({ keys, text }) => [el("dt", {}, keys.split(" ").flatMap((key, i) => [i ? " " : "", el("kbd", {}, key)])), el("dd", {}, text)]);
    const box = el("input", { type: "checkbox", checked: this.on, change: () => keep("keys", (this.on = box.checked) ? null : "off") });
    return shown(
      el(
        "dialog",
        { class: "dialog", "aria-labelledby": "keys-title" },
        el(
          "form",
          { method: "dialog" },
          el("h2", { id: "keys-title" }, "Keyboard shortcuts"),
          el("dl", { class: "keys-list" }, rows, el("dt", {}, el("kbd", {}, "←"), " ", el("kbd", {}, "→")), el("dd", {}, "In a plot: read earlier values"), el("dt", {}, el("kbd", {}, "Esc")), el("dd", {}, "Close what is open")),
          el("label", { class: "check" }, box, "Shortcuts of single keys are on"),
          el("div", { class: "dialog-actions" }, el("button", { type: "submit", class: "button primary", autofocus: true }, "Close")),
        ),
      ),
    );
  }
}

function taken(target) {
  return Boolean(target?.closest?.("input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable], dialog"));
}
