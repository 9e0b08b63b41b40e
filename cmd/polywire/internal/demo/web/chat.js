// The chat without its page: a client, rooms, and what is said to the server.
import { Latency } from "./latency.js";
import { Room } from "./room.js";
import { cleanName, cleanText, LOBBY } from "./text.js";

const PING_EVERY_MS = 2000;
const PING_TIMEOUT_MS = 5000;

export class Chat {
  /** Joined rooms by name, the lobby first. */
  rooms = new Map([[LOBBY, new Room(LOBBY)]]);
  /** All rooms of the server: {name, members}. */
  directory = [];
  current = LOBBY;
  latency = new Latency();
  /** Of the next attempt to connect, by performance.now(); 0 while there is none to wait for. */
  retryAt = 0;
  attempts = 0;
  /** Why the connection is closed for good, if it is. */
  ended;
  name;
  #client;
  #hooks;
  #pinging = false;

  /**
   * @param client a Client of the SDK, not connected yet
   * @param {string} name
   * @param hooks changed(): look again; visible(): whether anybody looks; notice(text): something failed;
   *   announce(text): for screen readers
   */
  constructor(client, name, hooks) {
    this.#client = client;
    this.#hooks = hooks;
    this.name = name;
    client.on("status", (status, cause) => this.#status(status, cause));
    client.on("connect", ({ reconnected }) => this.#connected(reconnected));
    client.on("retry", ({ delay, attempt }) => this.#waiting(delay, attempt));
    client.handle("chat.said", (said) => this.#said(said));
    for (const what of ["joined", "left", "renamed"]) {
      client.handle(`chat.${what}`, ({ room, member }) => this.#presence(what, room, member));
    }
    client.handle("chat.rooms", ({ rooms }) => this.#listed(rooms));
  }

  get status() {
    return this.#client.status;
  }

  get room() {
    return this.rooms.get(this.current);
  }

  /** Connects, and keeps asking how long an answer takes; returns a function that ends it. */
  start() {
    this.connect();
    const timer = setInterval(() => this.#ping(), PING_EVERY_MS);
    return () => {
      clearInterval(timer);
      return this.#client.close();
    };
  }

  /** Connects, or tries again now. */
  connect() {
    this.ended = undefined;
    if (this.status === "connecting") this.#client.retry();
    else this.#client.connect().catch(() => {}); // the status tells
  }

  /** Shows a room, joining it if need be. The name is taken as it is; see roomName for typed ones. */
  open(exact) {
    const name = cleanName(exact) || LOBBY;
    this.current = name;
    if (!this.rooms.has(name)) {
      this.rooms.set(name, new Room(name));
      if (this.status === "running") void this.#join(this.rooms.get(name));
    }
    this.read();
  }

  /** Leaves a room for the lobby, which cannot be left. */
  async leave(name) {
    if (!this.#forget(name)) return;
    if (this.status === "running") await this.#try("Leaving failed", () => this.#client.call("chat.leave", { room: name }));
  }

  /** Says something in the current room; returns false if that cannot be done now. */
  say(text) {
    const clean = cleanText(text);
    const { room } = this;
    if (!clean || !room.joined) return false;
    const line = room.say(clean, this.name, new Date());
    void this.#send(room, line);
    return true;
  }

  /** Sends a line again that failed. */
  again(line) {
    const { room } = this;
    if (line.state !== "failed" || !room.joined) return;
    room.remove(line);
    this.say(line.text);
  }

  /** Takes another name; returns the one that is taken. */
  rename(text) {
    const name = cleanName(text) || this.name;
    if (name === this.name) return name;
    this.name = name;
    if (this.status === "running") void this.#try("The name was not taken", () => this.#client.call("chat.rename", { name }));
    this.#hooks.changed();
    return name;
  }

  /** The current room is being looked at. */
  read() {
    this.room.unread = 0;
    this.#hooks.changed();
  }

  /** Unread messages, in one room or in all but the current one. */
  unread(name) {
    if (name) return this.rooms.get(name)?.unread ?? 0;
    return [...this.rooms.values()].reduce((sum, r) => sum + (r.name === this.current ? 0 : r.unread), 0);
  }

  /** Rooms to choose from: the joined ones, then those of the server, with their numbers of members. */
  choices() {
    const counts = new Map(this.directory.map((r) => [r.name, r.members]));
    const joined = [...this.rooms.values()].map((r) => ({
      name: r.name,
      joined: true,
      unread: r.unread,
      members: r.joined ? r.members.size : (counts.get(r.name) ?? 0),
    }));
    const others = this.directory.filter((r) => !this.rooms.has(r.name)).map((r) => ({ ...r, joined: false, unread: 0 }));
    return [...joined, ...others.sort((a, b) => b.members - a.members || a.name.localeCompare(b.name))];
  }

  #status(status, cause) {
    if (status !== "running") {
      if ([...this.rooms.values()].some((r) => r.joined)) this.#hooks.announce("Connection lost");
      for (const room of this.rooms.values()) room.joined = false;
    }
    if (status === "closed") this.ended = cause;
    if (status !== "connecting") this.retryAt = 0;
    this.#hooks.changed();
  }

  #waiting(delay, attempt) {
    this.retryAt = performance.now() + delay;
    this.attempts = attempt;
    this.latency.add(null);
    this.#hooks.changed();
  }

  async #connected(reconnected) {
    this.#hooks.announce(reconnected ? "Connected again" : "Connected");
    void this.#ping();
    await Promise.all([...this.rooms.values()].map((room) => this.#join(room)));
    const listed = await this.#try("", () => this.#client.call("chat.rooms", {}));
    if (listed) this.#listed(listed.rooms);
  }

  async #join(room) {
    const entered = await this.#try(`#${room.name} cannot be joined`, () =>
      this.#client.call("chat.join", { room: room.name, name: this.name }),
    );
    if (entered && this.rooms.get(room.name) === room) room.enter(entered);
    else if (!entered && this.status === "running") this.#forget(room.name);
    this.#hooks.changed();
  }

  #forget(name) {
    if (name === LOBBY || !this.rooms.delete(name)) return false;
    if (this.current === name) this.current = LOBBY;
    this.#hooks.changed();
    return true;
  }

  async #send(room, line) {
    this.#hooks.changed();
    try {
      room.sent(line, await this.#client.call("chat.say", { room: room.name, text: line.text }));
    } catch (error) {
      if (line.state === "sending") line.state = "failed"; // and not heard back by chat.said
      if (error.remote) this.#hooks.notice(`Not sent: ${error.message}`);
    }
    this.#hooks.changed();
  }

  async #ping() {
    if (this.#pinging || this.status !== "running") return;
    this.#pinging = true;
    const start = performance.now();
    try {
      await this.#client.call("demo.ping", {}, { timeout: PING_TIMEOUT_MS });
      this.latency.add(performance.now() - start);
    } catch {
      this.latency.add(null);
    }
    this.#pinging = false;
    this.#hooks.changed();
  }

  #said({ room: name, ...said }) {
    const room = this.rooms.get(name);
    if (!room) return;
    if (room.said(said) && (name !== this.current || !this.#hooks.visible())) room.unread++;
    this.#hooks.changed();
  }

  #presence(what, name, member) {
    const room = this.rooms.get(name);
    if (!room?.joined) return;
    room.presence(what, member, new Date());
    this.#hooks.changed();
  }

  #listed(rooms) {
    this.directory = rooms;
    this.#hooks.changed();
  }

  /** The result, or undefined after a notice. A lost connection is told of elsewhere. */
  async #try(failure, fn) {
    try {
      return (await fn()) ?? {};
    } catch (error) {
      if (failure && (error.remote || error.code === "deadline_exceeded")) this.#hooks.notice(`${failure}: ${error.message}`);
      return undefined;
    }
  }
}
