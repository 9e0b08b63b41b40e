// The frame around the views.
import { el, icon, setAttribute, setText } from "./dom.js";
import { clip } from "./format.js";
import { href } from "./router.js";
import { keep, recall } from "./storage.js";

export const VIEWS = [
  ["overview", "Overview", "o"],
  ["connections", "Connections", "c"],
  ["rooms", "Rooms", "r"],
  ["tail", "Tail", "t"],
  ["nodes", "Nodes", "n"],
  ["queues", "Queues", "q"],
  ["webhooks", "Webhooks", "w"],
  ["settings", "Settings", "s"],
];
const THEMES = [["auto", "Colours as the system has them"], ["light", "Light colours"], ["dark", "Dark colours"]];
const STATUS = { connecting: "Connecting", live: "Live", waiting: "Not live", closed: "Not live" };

export class Shell {
  #at = Object.fromEntries([...document.querySelectorAll("[id]")].map((node) => [node.id, node]));
  #links = new Map();

  /** @param act { keys, retry, logout } functions of the buttons */
  constructor(act) {
    const at = this.#at;
    for (const [view, name] of VIEWS) {
      const link = el("a", { href: href(view) }, icon(view), name);
      this.#links.set(view, link);
      at.views.append(el("li", {}, link));
    }
    at.menu.append(icon("menu"));
    at.keys.append(icon("keyboard"));
    at.logout.append(icon("out"));
    at.menu.addEventListener("click", () => this.#drawer(at.menu.getAttribute("aria-expanded") !== "true"));
    at.scrim.addEventListener("click", () => this.#drawer(false));
    at.keys.addEventListener("click", act.keys);
    at.logout.addEventListener("click", act.logout);
    at.retry.addEventListener("click", act.retry);
    at.theme.addEventListener("click", () => this.nextTheme());
    document.querySelector(".skip").addEventListener("click", (e) => (e.preventDefault(), (at.shell.hidden ? at.token : at.main).focus()));
    addEventListener("keydown", (e) => e.key === "Escape" && this.#drawer(false));
    matchMedia("(min-width: 52rem)").addEventListener("change", () => this.#drawer(false));
    this.#theme(recall("theme") ?? "auto");
  }

  /** Shows a view; its link in the list is the current one. */
  show(name, title, node, moveFocus) {
    const at = this.#at;
    for (const [view, link] of this.#links) setAttribute(link, "aria-current", view === name ? "page" : null);
    document.title = `${clip(title, 60)} · Polywire console`;
    at.view.replaceChildren(node);
    at.main.scrollTop = 0;
    this.#drawer(false);
    if (moveFocus) at.main.focus({ preventScroll: true });
  }

  /** @param inside whether somebody may see the views */
  open(inside, loginPossible) {
    this.#at.shell.hidden = !inside;
    this.#at.login.hidden = inside;
    this.#at.logout.hidden = !loginPossible;
  }

  about({ name, node }) {
    setText(this.#at.node, clip(name || node, 40));
  }

  /** How the stream of events is. */
  link(status, retryAt, why) {
    const at = this.#at;
    at.status.dataset.status = status;
    setText(at["status-text"], STATUS[status]);
    at.banner.hidden = status !== "waiting" && status !== "closed";
    const seconds = Math.ceil((retryAt - Date.now()) / 1000);
    const next = status === "closed" ? "" : seconds > 0 ? ` Trying again in ${seconds} s.` : " Trying again…";
    setText(at["banner-text"], `Not live: ${why || "the stream of events ended."} What you see may be old.${next}`);
  }

  nextTheme() {
    const now = THEMES.findIndex(([theme]) => theme === (recall("theme") ?? "auto"));
    this.#theme(THEMES[(now + 1) % THEMES.length][0]);
  }

  #theme(theme) {
    const [known, text] = THEMES.find(([name]) => name === theme) ?? THEMES[0];
    keep("theme", known === "auto" ? null : known);
    if (known === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = known;
    const button = this.#at.theme;
    button.replaceChildren(icon({ auto: "auto", light: "sun", dark: "moon" }[known]));
    setAttribute(button, "aria-label", `${text}: change`);
    setAttribute(button, "title", `${text} (d)`);
  }

  #drawer(open) {
    const at = this.#at;
    if ((at.menu.getAttribute("aria-expanded") === "true") === open) return;
    at.menu.setAttribute("aria-expanded", String(open));
    if (open) document.body.dataset.drawer = "";
    else delete document.body.dataset.drawer;
    at.scrim.hidden = !open;
    at.main.inert = open;
    if (open) (at.side.querySelector("[aria-current]") ?? at.side.querySelector("a")).focus();
    else if (at.side.contains(document.activeElement)) at.menu.focus();
  }
}
