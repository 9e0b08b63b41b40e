// The page: shows a Chat, and tells it what people do.
import { el, setText, sync } from "./dom.js";
import { avatar, botChip, showLines } from "./lines.js";
import { count, LOBBY, roomName } from "./text.js";

const NEAR_BOTTOM_PX = 80;
const NOTICE_MS = 6000;
const STATUS_TEXT = { new: "Starting", connecting: "Connecting", running: "Connected", closing: "Closing", closed: "Disconnected" };

export class View {
  #chat;
  #at = byID();
  #shownRoom = "";
  #shownLines = 0;
  #stick = true; // to the bottom, while new lines come
  #frame = 0;
  #noticeTimer;

  /** @param chat what to show @param {(name: string) => void} renamed gets names to keep */
  constructor(chat, renamed) {
    this.#chat = chat;
    const at = this.#at;
    at.name.value = chat.name;
    at.composer.addEventListener("submit", (e) => (e.preventDefault(), this.#say()));
    at.text.addEventListener("keydown", (e) => this.#typed(e));
    at.text.addEventListener("input", () => this.#grow());
    at["new-room"].addEventListener("submit", (e) => (e.preventDefault(), this.#newRoom()));
    at["name-form"].addEventListener("submit", (e) => (e.preventDefault(), at.text.focus()));
    at.name.addEventListener("change", () => renamed((at.name.value = chat.rename(at.name.value))));
    at.leave.addEventListener("click", () => this.#leave());
    at.retry.addEventListener("click", () => chat.connect());
    at.jump.addEventListener("click", () => (this.#toBottom(), at.text.focus()));
    at.messages.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    addEventListener("resize", () => this.#stick && this.#toBottom());
    addEventListener("keydown", (e) => this.#shortcut(e));
    this.#drawers();
    this.#grow();
    this.#focusText();
  }

  /** Shows the chat at the next frame, once for many changes. */
  changed() {
    this.#title();
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#render();
    });
  }

  notice(text) {
    const { notice } = this.#at;
    notice.textContent = text;
    notice.hidden = false;
    clearTimeout(this.#noticeTimer);
    this.#noticeTimer = setTimeout(() => (notice.hidden = true), NOTICE_MS);
  }

  announce(text) {
    this.#at.announcer.textContent = text;
  }

  #render() {
    this.#renderLink();
    this.#renderRooms();
    this.#renderRoom();
    this.#renderMembers();
  }

  #renderLink() {
    const { status, "status-text": text, latency, sparkline, send, banner } = this.#at;
    const chat = this.#chat;
    const again = chat.status === "connecting" && chat.attempts > 0;
    status.dataset.status = chat.status;
    status.dataset.grade = chat.status === "running" ? chat.latency.grade : "";
    setText(text, again ? "Reconnecting" : STATUS_TEXT[chat.status]);
    setText(latency, chat.status === "running" ? chat.latency.text : "–");
    const { width, height } = sparkline.viewBox.baseVal;
    const paths = chat.latency.paths(width, height);
    for (const name of ["stroke", "area"]) sparkline.querySelector(`.${name}`).setAttribute("d", paths[name]);
    send.disabled = !chat.room.joined;
    banner.hidden = chat.status === "running" || (chat.status === "connecting" && !again) || chat.status === "new";
    this.tick();
  }

  /** Shows the time that is left until the next attempt. */
  tick() {
    const chat = this.#chat;
    const { banner, "banner-text": text, retry } = this.#at;
    if (banner.hidden) return;
    const closed = chat.status === "closed";
    const seconds = Math.ceil((chat.retryAt - performance.now()) / 1000);
    const waiting = !closed && seconds > 0;
    const next = waiting ? `Trying again in ${seconds} s.` : "Trying again…";
    setText(text, closed ? `Disconnected${chat.ended ? `: ${chat.ended.message}` : ""}.` : `No connection. ${next}`);
    retry.hidden = !waiting && !closed;
    setText(retry, closed ? "Connect" : "Try now");
    banner.classList.toggle("busy", !closed);
  }

  #renderRooms() {
    const chat = this.#chat;
    const { rooms, "unread-elsewhere": elsewhere } = this.#at;
    sync(rooms, chat.choices(), {
      key: (room) => room.name,
      create: (room) => this.#roomItem(room.name),
      update: (node, room) => this.#updateRoom(node, room),
    });
    const unread = chat.unread();
    elsewhere.hidden = unread === 0;
    setText(elsewhere, capped(unread));
  }

  #roomItem(name) {
    const button = el(
      "button",
      { type: "button" },
      el("span", { class: "hash", "aria-hidden": "true" }, "#"),
      el("span", { class: "room-name" }, name),
      el("span", { class: "room-count number" }),
    );
    button.addEventListener("click", () => this.#open(name));
    return el("li", {}, button);
  }

  #updateRoom(node, room) {
    const button = node.firstElementChild;
    const badge = button.lastElementChild;
    const current = room.name === this.#chat.current;
    if (current) button.setAttribute("aria-current", "page");
    else button.removeAttribute("aria-current");
    button.classList.toggle("joined", room.joined);
    badge.classList.toggle("badge", room.unread > 0);
    setText(badge, room.unread ? capped(room.unread) : room.members ? String(room.members) : "");
    const state = room.unread ? `${room.unread} unread` : count(room.members, "person", "people");
    button.setAttribute("aria-label", `${room.name}, ${state}`);
  }

  #renderRoom() {
    const { room, status } = this.#chat;
    const at = this.#at;
    const switched = this.#shownRoom !== room.name;
    if (switched) this.#switched(room);
    at.leave.hidden = room.name === LOBBY;
    setText(at["room-state"], room.joined || status !== "running" ? "" : "joining…");
    at.empty.hidden = !room.joined || room.lines.some((l) => !l.note);
    showLines(at.lines, room.lines, (line) => this.#chat.again(line));
    if (this.#stick) this.#toBottom();
    else if (room.lines.length > this.#shownLines) at.jump.hidden = false;
    this.#shownLines = room.lines.length;
    at.messages.setAttribute("aria-busy", String(!room.joined));
  }

  #switched(room) {
    const at = this.#at;
    const hash = `#${encodeURIComponent(room.name)}`;
    if (!this.#shownRoom) history.replaceState(null, "", hash);
    else if (location.hash !== hash) location.hash = hash;
    this.#shownRoom = room.name;
    this.#shownLines = 0;
    this.#stick = true;
    at.lines.replaceChildren();
    setText(at["room-title"], room.name);
    at.text.placeholder = `Message #${room.name}`;
  }

  #renderMembers() {
    const { room } = this.#chat;
    const at = this.#at;
    const members = room.sortedMembers();
    sync(at.members, members, {
      key: (m) => m.id,
      create: (m) => memberItem(m),
      update: (node, m) => updateMember(node, m, m.id === room.you),
    });
    at.members.classList.toggle("stale", !room.joined);
    const n = room.joined ? String(members.length) : "";
    setText(at["member-count"], n);
    setText(at["people-count"], n);
    at["show-people"].setAttribute("aria-label", count(members.length, "person", "people") + " here");
    avatar(at["your-avatar"], { name: this.#chat.name, bot: false });
  }

  #title() {
    const chat = this.#chat;
    const unread = chat.unread() + chat.room.unread;
    document.title = `${unread ? `(${capped(unread)}) ` : ""}#${chat.current} · Polywire chat`;
  }

  #open(name) {
    this.#chat.open(name);
    this.#closeDrawers();
    this.#focusText();
  }

  /** Where focus does not bring up a keyboard over half the page. */
  #focusText() {
    if (matchMedia("(pointer: fine)").matches) this.#at.text.focus();
  }

  #newRoom() {
    const input = this.#at["new-room-name"];
    const name = roomName(input.value);
    input.value = "";
    if (name) this.#open(name);
    else input.focus();
  }

  #leave() {
    void this.#chat.leave(this.#chat.current);
    this.#focusText();
  }

  #say() {
    const { text } = this.#at;
    this.#stick = true;
    if (!this.#chat.say(text.value)) return;
    text.value = "";
    this.#grow();
  }

  #typed(event) {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    this.#say();
  }

  #grow() {
    const { text } = this.#at;
    text.style.height = "auto";
    text.style.height = `${text.scrollHeight}px`;
    if (this.#stick) this.#toBottom();
  }

  #toBottom() {
    const { messages, jump } = this.#at;
    messages.scrollTop = messages.scrollHeight;
    jump.hidden = true;
  }

  #scrolled() {
    const { messages, jump } = this.#at;
    this.#stick = messages.scrollHeight - messages.scrollTop - messages.clientHeight < NEAR_BOTTOM_PX;
    if (this.#stick) jump.hidden = true;
  }

  // ---- keyboard, and the panels of narrow pages

  #shortcut(event) {
    if (event.key === "Escape") this.#closeDrawers();
    if (!event.altKey || !["ArrowUp", "ArrowDown"].includes(event.key)) return;
    event.preventDefault();
    const names = [...this.#chat.rooms.keys()];
    const step = event.key === "ArrowDown" ? 1 : -1;
    this.#chat.open(names[(names.indexOf(this.#chat.current) + step + names.length) % names.length]);
  }

  #drawers() {
    const at = this.#at;
    at["show-rooms"].addEventListener("click", () => this.#drawer("rooms"));
    at["show-people"].addEventListener("click", () => this.#drawer("people"));
    at.scrim.addEventListener("click", () => this.#closeDrawers());
    for (const button of document.querySelectorAll(".close-drawer")) {
      button.addEventListener("click", () => this.#closeDrawers());
    }
    matchMedia("(min-width: 60rem)").addEventListener("change", () => this.#closeDrawers());
  }

  #drawer(which) {
    const at = this.#at;
    document.body.dataset.drawer = which;
    at[`show-${which}`].setAttribute("aria-expanded", "true");
    at.scrim.hidden = false;
    document.querySelector("main").inert = true;
    const panel = at[`${which}-panel`];
    (panel.querySelector("[aria-current]") ?? panel.querySelector(".close-drawer")).focus();
  }

  #closeDrawers() {
    const at = this.#at;
    const which = document.body.dataset.drawer;
    if (!which) return;
    delete document.body.dataset.drawer;
    at.scrim.hidden = true;
    document.querySelector("main").inert = false;
    at[`show-${which}`].setAttribute("aria-expanded", "false");
    at[`show-${which}`].focus();
  }
}

/** All elements with an id, by it. */
function byID() {
  return Object.fromEntries([...document.querySelectorAll("[id]")].map((node) => [node.id, node]));
}

function memberItem(member) {
  const item = el("li", {}, el("span", { "aria-hidden": "true" }), el("span", { class: "member-name" }));
  if (member.bot) item.append(botChip());
  return item;
}

function updateMember(node, member, you) {
  const [picture, name] = node.children;
  avatar(picture, member);
  setText(name, member.name);
  const chip = node.querySelector(".you-chip");
  if (you && !chip) node.append(el("span", { class: "chip you-chip" }, "you"));
  if (!you) chip?.remove();
}

const capped = (n) => (n > 99 ? "99+" : String(n));
