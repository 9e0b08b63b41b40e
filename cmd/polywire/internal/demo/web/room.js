// One joined room: who is in it and what was said. No DOM, no network.

const KEPT_LINES = 500;
const GROUP_MS = 5 * 60 * 1000;

/**
 * A line of the conversation: something said ({from, text, at}), or a note
 * about somebody ({note, at}). `state` is "sent", "sending" or "failed".
 */
export class Room {
  name;
  you = "";
  joined = false; // on this connection; if not, the members are those of the last one
  members = new Map();
  lines = [];
  unread = 0;
  #lastKey = 0;

  constructor(name) {
    this.name = name;
  }

  /** Takes the answer to chat.join; what was there before stays. */
  enter({ you, members, history }) {
    this.you = you;
    this.joined = true;
    this.members = new Map(members.map((m) => [m.id, m]));
    for (const said of history) if (!this.#find(said)) this.#add(this.#line(said));
    this.lines.sort((a, b) => a.at - b.at);
  }

  /** Takes a chat.said; returns whether it is news, and not the echo of an own line. */
  said(said) {
    if (this.#find(said)) return false;
    const own = said.from.id === this.you && this.lines.find((l) => l.state === "sending" && l.text === said.text);
    if (own) {
      this.#settle(own, said);
      return false;
    }
    this.#add(this.#line(said));
    return said.from.id !== this.you;
  }

  /** Adds an own line that is on its way, and returns it. */
  say(text, name, now) {
    const line = { ...this.#line({ text, at: now, from: { id: this.you, name, bot: false } }), state: "sending", mine: true };
    this.#add(line);
    return line;
  }

  /** Takes the answer to chat.say. */
  sent(line, said) {
    const known = this.#find(said);
    if (!known) this.#settle(line, said);
    else if (known !== line) this.remove(line);
  }

  remove(line) {
    this.lines = this.lines.filter((l) => l !== line);
  }

  /** Takes chat.joined, chat.left and chat.renamed. */
  presence(what, member, now) {
    const before = this.members.get(member.id);
    if (what === "left") this.members.delete(member.id);
    else this.members.set(member.id, member);
    if (member.id === this.you || (what === "joined" && before)) return;
    const name = before?.name ?? member.name;
    const note = what === "renamed" ? `${name} is now ${member.name}` : `${name} ${what}`;
    if (what !== "renamed" || name !== member.name) this.#add({ key: this.#key(), note, at: now });
  }

  /** You first, then people, then bots, by name. */
  sortedMembers() {
    const rank = (m) => (m.id === this.you ? 0 : m.bot ? 2 : 1);
    return [...this.members.values()].sort((a, b) => rank(a) - rank(b) || a.name.localeCompare(b.name));
  }

  /** A server that began anew gives out its ids again; the time tells them apart. */
  #find({ id, at }) {
    const time = Date.parse(at);
    return this.lines.find((l) => l.id === id && l.at.getTime() === time);
  }

  #line({ id, from, text, at }) {
    return { key: this.#key(), id, from, text, at: new Date(at), state: "sent", mine: from.id === this.you };
  }

  #settle(line, { id, at }) {
    Object.assign(line, { id, at: new Date(at), state: "sent" });
  }

  #add(line) {
    this.lines.push(line);
    if (this.lines.length > KEPT_LINES) this.lines.shift();
  }

  #key() {
    return `${this.name}/${++this.#lastKey}`;
  }
}

/** Lines as they are shown: with a day before its first one, and grouped by who speaks. */
export function arrange(lines) {
  const out = [];
  let previous;
  for (const line of lines) {
    const newDay = !previous || previous.at.toDateString() !== line.at.toDateString();
    if (newDay) out.push({ key: `day ${line.at.toDateString()}`, day: line.at });
    out.push({ key: line.key, line, first: newDay || !sameGroup(previous, line) });
    previous = line;
  }
  return out;
}

function sameGroup(a, b) {
  if (a.note || b.note) return false;
  return a.from.id === b.from.id && a.from.name === b.from.name && b.at - a.at < GROUP_MS;
}
