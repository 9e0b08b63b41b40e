// What a scenario works with: clients of one version over one kind of
// transport. It runs in Node and in browsers, so it imports nothing of either.
import { bytes, same, show } from "./same.js";

/** Milliseconds after which anything that a scenario waits for has failed. */
const patience = 30_000;

/** The transports option for each way to connect. */
const transports = { polling: ["polling"], websocket: ["websocket"], upgrade: ["polling", "websocket"] };

/** within returns the promise's outcome, or fails when it takes too long. */
export function within(promise, what, millis = patience) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${millis} ms in vain for ${what}`)), millis);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** pause waits: for things of which no event tells, and in which nothing is to happen. */
export const pause = (millis) => new Promise((resolve) => setTimeout(resolve, millis));

/** Inbox holds the events of one kind that a socket receives. */
class Inbox {
  #wake = () => {};
  list = []; // the arguments of each
  acks = [];

  constructor(socket, kind) {
    this.kind = kind;
    socket.on(kind, (...args) => {
      if (typeof args.at(-1) === "function") this.acks.push(args.pop());
      this.list.push(args);
      this.#wake();
    });
  }

  /** take waits until there are n events in all and returns them. */
  async take(n = 1) {
    const enough = new Promise((resolve) => {
      this.#wake = () => this.list.length >= n && resolve();
      this.#wake();
    });
    await within(enough, `${n} of event ${this.kind}, of which ${this.list.length} came at first`);
    return this.list;
  }
}

/** Link is a manager: one Engine.IO connection for several namespaces. */
class Link {
  #context;

  constructor(context, manager) {
    this.#context = context;
    this.manager = manager;
  }

  /** socket returns a namespace's socket that is about to connect. */
  socket(namespace, auth, options = {}) {
    if (this.#context.version === 2) return this.manager.socket(namespace, { query: auth });
    return this.manager.socket(namespace, { ...options, auth });
  }

  /** open returns a namespace's socket, connected. */
  async open(namespace = "/", auth = undefined, options = {}) {
    const socket = this.socket(namespace, auth, options);
    await this.#context.connected(socket);
    return socket;
  }

  get transport() {
    return this.manager.engine.transport.name;
  }
}

/** Context is given to each scenario. */
export class Context {
  #env;
  #managers = [];
  #servers;

  /**
   * env: {io(parser), parser, raw(bytes), control, browser}: the client's module, a parser for
   * it, the form of bytes that 2.x clients and the MessagePack parser want, and the control URL.
   */
  constructor(env, version, mode) {
    this.#env = env;
    this.version = version;
    this.mode = mode;
    this.browser = env.browser;
  }

  /** control asks the server's control routes, which are not part of what is tested. */
  async control(route, query = {}) {
    const response = await within(fetch(`${this.#env.control}/${route}?${new URLSearchParams(query)}`), `control route ${route}`);
    if (!response.ok) throw new Error(`control route ${route}: ${response.status} ${await response.text()}`);
    return response.json();
  }

  /** reason waits until the server says that a socket has ended, and why. */
  async reason(id, server = "main") {
    return (await this.control("reason", { server, id })).reason;
  }

  /** link returns a new link to one of the servers. */
  async link({ server = "main", reconnect = false, mode = this.mode, ...options } = {}) {
    this.#servers ??= await this.control("servers");
    const io = this.#env.io(server === "msgpack" ? "msgpack" : "json");
    const manager = new io.Manager(this.#servers[server], {
      transports: transports[mode],
      reconnection: reconnect,
      reconnectionDelay: 20,
      reconnectionDelayMax: 100,
      timeout: 20_000,
      ...(server === "msgpack" && this.#env.parser && { parser: this.#env.parser }),
      ...options,
    });
    this.#managers.push(manager);
    return new Link(this, manager);
  }

  /** connect returns a connected socket on a link of its own. */
  async connect(namespace = "/", { auth, ...options } = {}) {
    return (await this.link(options)).open(namespace, auth);
  }

  /** connectAll connects several at once. */
  connectAll(n, namespace = "/", options = {}) {
    return Promise.all(Array.from({ length: n }, () => this.connect(namespace, options)));
  }

  /** connected waits until a socket is; a refusal is an error. */
  async connected(socket) {
    if (socket.connected) return;
    const connect = new Promise((resolve, reject) => {
      socket.once("connect", resolve);
      if (this.version === 2) socket.once("error", (e) => reject(new Error(`refused: ${show(e)}`)));
      socket.once("connect_error", (e) => {
        if (!socket.active || this.version === 2) reject(new Error(`connect_error: ${e?.message ?? e}`));
      });
    });
    await within(connect, `connection to ${socket.nsp}`);
  }

  /** refused waits until a socket was refused and returns {message, data}. */
  async refused(socket) {
    const event = this.version === 2 ? "error" : "connect_error";
    const [e] = await this.next(socket, event);
    if (this.version !== 2) return { message: e.message, data: e.data };
    return typeof e === "string" ? { message: e } : { message: e.message, data: e };
  }

  /** next returns the arguments of the next event of a kind. */
  next(emitter, kind) {
    return within(new Promise((resolve) => emitter.once(kind, (...args) => resolve(args))), `event ${kind}`);
  }

  /** inbox collects all events of a kind from now on. */
  inbox(socket, kind) {
    return new Inbox(socket, kind);
  }

  /** call emits and waits for the acknowledgement, of which it returns all arguments. */
  call(socket, kind, ...args) {
    return within(new Promise((resolve) => socket.emit(kind, ...args, (...answers) => resolve(answers))), `acknowledgement of ${kind}`);
  }

  /** answer is the first argument of the acknowledgement. */
  async answer(socket, kind, ...args) {
    return (await this.call(socket, kind, ...args))[0];
  }

  /** settled returns when all that the server sent to a socket before has arrived. */
  async settled(...sockets) {
    for (const socket of sockets) await this.call(socket, "echo");
  }

  /** upgraded waits until a link uses WebSocket. */
  async upgraded(socket) {
    const engine = socket.io.engine;
    if (engine.transport.name !== "websocket") await this.next(engine, "upgrade");
    this.equal(engine.transport.name, "websocket", "transport after the upgrade");
  }

  /** bytes returns n bytes in a form that the client knows as binary. */
  bytes(n, seed) {
    const all = bytes(n, seed);
    return this.version === 2 ? this.#env.raw(all) : all;
  }

  /** rawBytes returns n bytes in a form that every client and parser knows as binary. */
  rawBytes(n) {
    return this.#env.raw(bytes(n));
  }

  /** drained waits until all that a socket has emitted was sent and, when polling, taken. */
  async drained(socket) {
    const engine = socket.io.engine;
    while (engine.writeBuffer.length > 0) await this.next(engine, "drain");
  }

  /** breakLink ends the Engine.IO connection as a lost network would have it found. */
  breakLink(socket) {
    socket.io.engine.close();
  }

  equal(got, want, what = "value") {
    if (!same(got, want)) throw new Error(`${what}: got ${show(got)}, want ${show(want)}`);
  }

  ok(condition, what) {
    if (!condition) throw new Error(what);
  }

  oneOf(got, wanted, what = "value") {
    if (!wanted.some((want) => same(got, want))) throw new Error(`${what}: got ${show(got)}, want one of ${show(wanted)}`);
  }

  /** close ends all links of the scenario. */
  async close() {
    for (const manager of this.#managers) {
      manager.reconnection(false);
      if (this.version === 2) manager.close();
      else if (manager._close) manager._close();
      else manager.engine?.close(); // in bundles where private names are short
    }
  }
}
