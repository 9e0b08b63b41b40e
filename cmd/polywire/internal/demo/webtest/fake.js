// A client of the SDK without a server: the test answers its calls.
export class FakeClient {
  status = "new";
  calls = [];
  retries = 0;
  closed = false;
  #listeners = new Map();
  #handlers = new Map();

  on(event, fn) {
    this.#listeners.set(event, fn);
  }
  handle(kind, fn) {
    this.#handlers.set(kind, fn);
  }
  connect() {
    this.become("connecting");
    return new Promise(() => {});
  }
  retry() {
    this.retries++;
  }
  async close() {
    this.closed = true;
  }
  call(kind, payload) {
    return new Promise((resolve, reject) => this.calls.push({ kind, payload, resolve, reject }));
  }

  // ---- what the test does
  become(status, cause) {
    this.status = status;
    this.emit("status", status, cause);
  }
  welcome(reconnected = false) {
    this.become("running");
    this.emit("connect", { id: "c1", reconnected, headers: {} });
  }
  emit(event, ...args) {
    this.#listeners.get(event)(...args);
  }
  deliver(kind, payload) {
    this.#handlers.get(kind)(payload, { kind });
  }
  /** The calls of a kind that were not taken yet. */
  take(kind) {
    const taken = this.calls.filter((c) => c.kind === kind);
    this.calls = this.calls.filter((c) => c.kind !== kind);
    return taken;
  }
}

export const settle = () => new Promise((resolve) => setImmediate(resolve));

export const ada = { id: "a", name: "Ada", bot: false };
export const bot = { id: "b", name: "Echo", bot: true };
export const said = (id, from, text, minute = 0) => ({ id, from, text, at: new Date(Date.UTC(2026, 0, 1, 12, minute)).toISOString() });
