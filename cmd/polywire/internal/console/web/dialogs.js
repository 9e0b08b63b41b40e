// Questions and notices over the page.
import { el } from "./dom.js";

/**
 * Asks before something that cannot be undone. True if somebody says yes.
 * @param title the question @param texts what it does, a line each
 * @param action the word on the button @param extra a node with more to choose
 */
export function confirm({ title, texts = [], extra = null, action, danger = true }) {
  const yes = el("button", { type: "submit", value: "yes", class: danger ? "button danger" : "button primary" }, action);
  const no = el("button", { type: "submit", value: "no", class: "button", autofocus: true }, "Cancel");
  const dialog = el(
    "dialog",
    { class: "dialog", "aria-labelledby": "dialog-title" },
    el("form", { method: "dialog" }, el("h2", { id: "dialog-title" }, title), texts.map((text) => el("p", {}, text)), extra, el("div", { class: "dialog-actions" }, no, yes)),
  );
  return shown(dialog).then((value) => value === "yes");
}

/** Shows a dialog until it is closed, and resolves to its value. */
export function shown(dialog) {
  document.body.append(dialog);
  const { promise, resolve } = Promise.withResolvers();
  dialog.addEventListener("close", () => {
    dialog.remove();
    resolve(dialog.returnValue);
  });
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close("no")); // the space around it
  dialog.showModal();
  return promise;
}

const NOTICE_MS = 7000;
let timer;

/** Says something for some seconds, to screen readers too. @param kind "good" or "bad" */
export function notice(text, kind = "good") {
  const node = document.getElementById("notice");
  node.textContent = text;
  node.dataset.kind = kind;
  node.hidden = false;
  clearTimeout(timer);
  timer = setTimeout(() => (node.hidden = true), NOTICE_MS);
}
