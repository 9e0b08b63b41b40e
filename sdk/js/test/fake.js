// A WebSocket without a network, and time that only moves when told to.
import { mock } from "node:test";
import { Client } from "../polywire.js";

export class FakeWebSocket {
  static all = [];
  static get last() {
    return FakeWebSocket.all.at(-1);
  }

  readyState = 0;
  bufferedAmount = 0;
  binaryType = "blob";
  onopen = null;
  onmessage = null;
  onerror = null;
  onclose = null;
  sent = [];
  closedWith = undefined;
  deaf = false; // does not take part in the close handshake

  constructor(url, protocols) {
    this.url = url;
    this.protocols = protocols;
    FakeWebSocket.all.push(this);
  }

  // ---- what a client uses
  send(text) {
    if (this.readyState === 0) throw new Error("send while connecting");
    if (this.readyState === 1) this.sent.push(JSON.parse(text));
  }
  close(code = 1005, reason = "") {
    if (this.readyState >= 2) return;
    this.readyState = 2;
    this.closedWith = { code, reason };
    if (!this.deaf) setImmediate(() => this.end(code, reason));
  }

  // ---- what the server does
  accept() {
    this.readyState = 1;
    this.onopen?.({});
  }
  receive(frame) {
    this.onmessage?.({ data: typeof frame === "object" && frame.constructor === Object ? JSON.stringify(frame) : frame });
  }
  end(code = 1006, reason = "") {
    if (this.readyState === 3) return;
    this.readyState = 3;
    this.onerror?.({});
    this.onclose?.({ code, reason });
  }
  async welcome(key = "c1", more = {}) {
    this.accept();
    await settle();
    this.receive({ type: "welcome", key, ...more });
  }
  /** Those sent since the last time, HELLO left out. */
  take() {
    const out = this.sent.filter((p) => p.type !== "hello");
    this.sent = [];
    return out;
  }
}

/** Lets everything that is ready run. */
export const settle = () => new Promise((resolve) => setImmediate(resolve));

let now = 0;

/** Call in beforeEach. */
export function freeze() {
  now = 0;
  FakeWebSocket.all = [];
  mock.timers.enable({ apis: ["setTimeout"] });
  mock.method(performance, "now", () => now);
}

/** Call in afterEach. */
export async function thaw() {
  await settle(); // what is cleared after the reset would take a timer of the next test along
  mock.timers.reset();
  mock.restoreAll();
}

/** Moves time in small steps, so that timers see the time they were set for. */
export async function pass(ms) {
  const STEP = 50;
  for (let left = ms; left > 0; left -= STEP) {
    const step = Math.min(STEP, left);
    now += step;
    mock.timers.tick(step);
  }
  await settle();
}

/** A client that has recorded all its events. */
export function newClient(options = {}) {
  const client = new Client("ws://test/polywire", { WebSocket: FakeWebSocket, ...options });
  const events = [];
  for (const name of ["status", "connect", "disconnect", "recovered", "retry", "error"]) {
    client.on(name, (...args) => events.push([name, ...args]));
  }
  const named = (name) => events.filter(([n]) => n === name).map(([, ...args]) => args);
  return { client, events, named };
}

/** A client that is connected, and its socket. */
export async function connected(options) {
  const made = newClient(options);
  const connecting = made.client.connect();
  await FakeWebSocket.last.welcome();
  await connecting;
  FakeWebSocket.last.take();
  return { ...made, socket: FakeWebSocket.last };
}
