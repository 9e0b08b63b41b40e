import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { Client, PolywireError } from "../polywire.js";
import { connected, FakeWebSocket, freeze, newClient, pass, settle, thaw } from "./fake.js";

beforeEach(freeze);
afterEach(thaw);

const failing = (code, more = {}) => (e) => {
  assert.ok(e instanceof PolywireError, String(e));
  assert.equal(e.code, code);
  for (const [key, value] of Object.entries(more)) assert.deepEqual(e[key], value);
  return true;
};

test("connects: HELLO with headers, WELCOME with the id", async () => {
  let asked = 0;
  const { client, events } = newClient({ headers: async () => ({ authorization: `t${++asked}` }) });
  assert.equal(client.status, "new");
  const connecting = client.connect();
  assert.equal(client.status, "connecting");
  const socket = FakeWebSocket.last;
  assert.equal(socket.url, "ws://test/polywire");
  assert.deepEqual(socket.protocols, ["polywire.v1.json"]);
  socket.accept();
  await settle();
  assert.deepEqual(socket.sent, [{ type: "hello", headers: { authorization: "t1" } }]);
  socket.receive({ type: "welcome", key: "c9", headers: { server: "s" } });
  await connecting;
  assert.equal(client.status, "running");
  assert.equal(client.id, "c9");
  assert.deepEqual(events, [
    ["status", "connecting", undefined],
    ["status", "running", undefined],
    ["connect", { id: "c9", reconnected: false, headers: { server: "s" } }],
  ]);
});

test("URLs", async () => {
  const cases = [
    ["http://a/polywire", "ws://a/polywire"],
    ["https://a/x?y=1#frag", "wss://a/x?y=1"],
    [new URL("wss://a/p"), "wss://a/p"],
  ];
  for (const [given, want] of cases) {
    const client = new Client(given, { WebSocket: FakeWebSocket });
    client.connect().catch(() => {});
    assert.equal(FakeWebSocket.last.url, want);
    await client.close();
  }
  assert.throws(() => new Client("tcp://a", { WebSocket: FakeWebSocket }), TypeError);
  assert.throws(() => new Client("/polywire", { WebSocket: FakeWebSocket }), TypeError);
});

test("options that cannot work are refused", () => {
  const bad = [
    { WebSocket: 5 },
    { backoff: { min: 0 } },
    { heartbeat: { interval: 0 } },
    { heartbeat: { timeout: Infinity } },
    { openTimeout: -1 },
    { checkInterval: 0 },
    { checkInterval: Infinity },
    { checkInterval: NaN },
    { maxMessageBytes: 0 },
    { maxMessageBytes: NaN },
  ];
  for (const options of bad) {
    assert.throws(() => new Client("ws://a", { WebSocket: FakeWebSocket, ...options }), /polywire|backoff/);
  }
});

test("calls are answered by id, in any order", async () => {
  const { client, socket } = await connected();
  const first = client.call("add", { a: 1 }, { headers: { h: "v" } });
  const second = client.call("add", new Uint8Array([1, 2]));
  const third = client.call("none");
  const [a, b, c] = socket.take();
  assert.deepEqual(a, { type: "call", id: a.id, kind: "add", payload: { a: 1 }, headers: { h: "v" } });
  assert.deepEqual(b, { type: "call", id: a.id + 1, kind: "add", data: "AQI=" });
  assert.deepEqual(c, { type: "call", id: a.id + 2, kind: "none" });
  socket.receive({ type: "reply", id: b.id, data: "AwQ=" });
  socket.receive({ type: "reply", id: c.id });
  socket.receive({ type: "reply", id: a.id, payload: 3 });
  assert.deepEqual(await Promise.all([first, second, third]), [3, new Uint8Array([3, 4]), undefined]);
});

test("an answer of several arguments is an array", async () => {
  const { client, socket } = await connected();
  const calls = ["two", "empty first"].map((kind) => client.call(kind));
  const [a, b] = socket.take();
  socket.receive({ type: "reply", id: a.id, payload: 1, args: [{ data: "Ag==" }] });
  socket.receive({ type: "reply", id: b.id, args: [{ payload: null }] });
  assert.deepEqual(await Promise.all(calls), [[1, new Uint8Array([2])], [undefined, null]]);
});

test("a call's error keeps its code, text and details", async () => {
  const { client, socket } = await connected();
  const call = client.call("x");
  const [{ id }] = socket.take();
  socket.receive({ type: "error", id, error: { code: "not_enough", message: "money", details: { want: 5 } } });
  await assert.rejects(call, failing("not_enough", { message: "money", details: { want: 5 }, remote: true }));
});

test("a call gives up after its timeout; a late reply is nobody's", async () => {
  const { client, socket, named } = await connected({ callTimeout: 1000 });
  const late = client.call("a");
  const own = client.call("b", null, { timeout: 3000 });
  const never = client.call("c", null, { timeout: 0 });
  const [a, , c] = socket.take();
  const checks = [
    assert.rejects(late, failing("deadline_exceeded", { remote: false })),
    assert.rejects(own, failing("deadline_exceeded")),
  ];
  await pass(1000);
  await checks[0];
  await pass(2000);
  await checks[1];
  socket.receive({ type: "reply", id: a.id });
  await pass(10_000);
  socket.receive({ type: "reply", id: c.id, payload: "still" });
  assert.equal(await never, "still");
  assert.deepEqual(named("error"), []);
});

test("a signal ends a call with its reason", async () => {
  const { client, socket } = await connected();
  const controller = new AbortController();
  const call = client.call("a", null, { signal: controller.signal });
  controller.abort(new Error("changed my mind"));
  await assert.rejects(call, /changed my mind/);
  socket.take();
  await assert.rejects(client.call("a", null, { signal: AbortSignal.abort() }), { name: "AbortError" });
  assert.deepEqual(socket.take(), []);
});

test("send, publish, broadcast", async () => {
  const { client, socket } = await connected();
  client.send("m", [1], { headers: { h: "v" } });
  client.send("b", new Uint8Array([7]), { contentType: "application/protobuf" });
  const published = client.publish("r", "m", 1);
  const broadcasted = client.broadcast("m", 2);
  const [m, b, p, c] = socket.take();
  assert.deepEqual(m, { type: "message", kind: "m", payload: [1], headers: { h: "v" } });
  assert.deepEqual(b, { type: "message", kind: "b", data: "Bw==", contentType: "application/protobuf" });
  assert.deepEqual(p, { type: "publish", id: p.id, room: "r", kind: "m", payload: 1 });
  assert.deepEqual(c, { type: "broadcast", id: c.id, kind: "m", payload: 2 });
  socket.receive({ type: "reply", id: p.id, payload: "ignored" });
  socket.receive({ type: "error", id: c.id, error: { code: "forbidden" } });
  assert.equal(await published, undefined);
  await assert.rejects(broadcasted, failing("forbidden", { message: "forbidden" }));
});

test("names must be non-empty strings", async () => {
  const { client } = await connected();
  assert.throws(() => client.send(""), TypeError);
  await assert.rejects(client.call(undefined), TypeError);
  await assert.rejects(client.subscribe(""), TypeError);
  await assert.rejects(client.unsubscribe(null), TypeError);
  await assert.rejects(client.publish("", "k"), TypeError);
  await assert.rejects(client.broadcast(3), TypeError);
});

test("a payload that JSON cannot say fails there, not later", async () => {
  const { client, socket } = await connected();
  assert.throws(() => client.send("a", 1n), TypeError);
  await assert.rejects(client.call("a", 1n), TypeError);
  assert.deepEqual(socket.take(), []);
});

test("nothing can be said without a connection", async () => {
  const { client } = newClient();
  const all = async (status) => {
    assert.throws(() => client.send("a"), failing("unavailable"));
    await assert.rejects(client.call("a"), failing("unavailable", { message: `not connected: the client is ${status}` }));
    await assert.rejects(client.subscribe("r"), failing("unavailable"));
    await client.unsubscribe("r");
  };
  await all("new");
  client.connect().catch(() => {});
  await all("connecting");
  await client.close();
  await all("closed");
});

test("handlers get payload and message", async () => {
  const { client, socket } = await connected();
  const got = [];
  client.handle("a", (payload, message) => got.push([payload, message]));
  client.handle("chat.*", (payload, { kind }) => got.push([kind, payload]));
  socket.receive({ kind: "a", payload: { x: 1 }, room: "r", offset: "e.1", headers: { h: "v" } });
  socket.receive({ type: "publish", kind: "a", data: "AQ==", contentType: "x/y", args: [{ payload: 2 }] });
  socket.receive({ type: "broadcast", kind: "chat.said", payload: "hi" });
  socket.receive({ kind: "nobody.listens" });
  assert.deepEqual(got, [
    [
      { x: 1 },
      { kind: "a", payload: { x: 1 }, args: [], contentType: "application/json", headers: { h: "v" }, room: "r", position: "e.1", isCall: false },
    ],
    [
      new Uint8Array([1]),
      { kind: "a", payload: new Uint8Array([1]), args: [2], contentType: "x/y", headers: {}, room: undefined, position: undefined, isCall: false },
    ],
    ["chat.said", "hi"],
  ]);
});

test("the server's calls are answered", async () => {
  const { client, socket, named } = await connected();
  client.handle("double", async (n, message) => (assert.ok(message.isCall), n * 2));
  client.handle("bytes", () => new Uint8Array([1]));
  client.handle("nothing", () => {});
  client.handle("coded", () => {
    throw new PolywireError("too_big", "no", { details: { max: 3 } });
  });
  client.handle("broken", async () => {
    throw new Error("secret");
  });
  client.handle("unsayable", () => 1n);
  const kinds = ["double", "bytes", "nothing", "coded", "broken", "unsayable", "unknown"];
  kinds.forEach((kind, i) => socket.receive({ type: "call", id: i + 1, kind, payload: 21 }));
  await settle();
  const answers = socket.take().sort((a, b) => a.id - b.id);
  assert.deepEqual(answers, [
    { type: "reply", id: 1, payload: 42 },
    { type: "reply", id: 2, data: "AQ==" },
    { type: "reply", id: 3 },
    { type: "error", id: 4, error: { code: "too_big", message: "no", details: { max: 3 } } },
    { type: "error", id: 5, error: { code: "internal", message: "internal error" } },
    { type: "error", id: 6, error: { code: "internal", message: "internal error" } },
    { type: "error", id: 7, error: { code: "not_found", message: "no handler for unknown" } },
  ]);
  assert.deepEqual(named("error").map(([e]) => e.message.slice(0, 6)).sort(), ["Do not", "secret"]);
});

test("a handler may call the peer that called it", async () => {
  const { client, socket } = await connected();
  client.handle("outer", async (n) => (await client.call("inner", n)) + 1);
  socket.receive({ type: "call", id: 1, kind: "outer", payload: 1 });
  const [inner] = socket.take();
  socket.receive({ type: "reply", id: inner.id, payload: 10 });
  await settle();
  assert.deepEqual(socket.take(), [{ type: "reply", id: 1, payload: 11 }]);
});

test("an answer to a call from an earlier connection is not given to the next", async () => {
  const { client, socket } = await connected();
  let answer;
  client.handle("slow", () => new Promise((resolve) => (answer = resolve)));
  socket.receive({ type: "call", id: 1, kind: "slow" });
  socket.end(1006);
  await pass(1000);
  await FakeWebSocket.last.welcome("c2");
  answer("late");
  await settle();
  assert.deepEqual(FakeWebSocket.last.take(), []);
});

test("errors without an id, and of one-way handlers, are reported", async () => {
  const { client, socket, named } = await connected();
  client.handle("a", () => Promise.reject(new Error("mine")));
  socket.receive({ type: "error", error: { code: "too_fast", message: "slow down" } });
  socket.receive({ kind: "a" });
  await settle();
  failing("too_fast", { remote: true })(named("error")[0][0]);
  assert.equal(named("error")[1][0].message, "mine");
});

test("an error that nobody listens to goes to the logger", async () => {
  const logged = [];
  const client = new Client("ws://test", { WebSocket: FakeWebSocket, logger: { error: (...args) => logged.push(args) } });
  const connecting = client.connect();
  await FakeWebSocket.last.welcome();
  await connecting;
  const complain = () => FakeWebSocket.last.receive({ type: "error", error: { code: "x" } });
  complain();
  assert.equal(logged.length, 1);
  const off = client.on("error", () => {});
  complain();
  assert.equal(logged.length, 1);
  off();
  complain();
  assert.equal(logged.length, 2);
});

test("what listeners throw and reject with is reported, and stops nobody", async () => {
  const logged = [];
  const client = new Client("ws://test", {
    WebSocket: FakeWebSocket,
    logger: {
      error: (_, error) => {
        logged.push(error.message);
        throw new Error("a logger that throws");
      },
    },
  });
  const reported = [];
  client.on("connect", () => {
    throw new Error("thrown");
  });
  client.on("connect", async () => {
    throw new Error("rejected");
  });
  const connecting = client.connect();
  await FakeWebSocket.last.welcome();
  await connecting;
  await settle();
  assert.deepEqual(logged.sort(), ["rejected", "thrown"]);
  client.on("error", (error) => {
    reported.push(error.code);
    throw new Error("from the listener to errors");
  });
  FakeWebSocket.last.receive({ type: "error", error: { code: "x" } });
  await settle();
  assert.deepEqual(reported, ["x"]);
  assert.equal(logged.at(-1), "from the listener to errors");
  assert.equal(client.status, "running");
});

test("close waits for the close handshake and ends what is in flight", async () => {
  const { client, socket, events } = await connected();
  events.length = 0;
  await client.connect().then(assert.fail, failing("conflict"));
  const call = assert.rejects(client.call("a"), failing("unavailable", { message: "the client was closed" }));
  const closing = client.close();
  assert.equal(client.status, "closing");
  assert.equal(client.close(), closing);
  await call;
  await closing;
  assert.deepEqual(socket.closedWith, { code: 1000, reason: "" });
  assert.equal(client.status, "closed");
  assert.equal(client.id, "");
  await client.close();
  assert.deepEqual(events, [
    ["status", "closing", undefined],
    ["disconnect", { code: 1000, reason: "", reconnect: false }],
    ["status", "closed", undefined],
  ]);
  await pass(60_000);
  assert.equal(FakeWebSocket.all.length, 1);
});

test("close does not wait for ever", async () => {
  const { client, socket } = await connected();
  socket.deaf = true;
  const closing = client.close();
  await pass(1950);
  assert.equal(client.status, "closing");
  await pass(50);
  await closing;
  socket.end(1006); // too late to matter
  assert.equal(client.status, "closed");
});

test("a closed client connects again, without its rooms", async () => {
  const { client, socket } = await connected();
  const joined = client.subscribe("r");
  socket.receive({ type: "reply", id: socket.take()[0].id });
  await joined;
  assert.deepEqual(client.rooms, ["r"]);
  await client.close();
  assert.deepEqual(client.rooms, []);
  const connecting = client.connect();
  await FakeWebSocket.last.welcome("c2");
  await connecting;
  assert.equal(client.id, "c2");
  assert.deepEqual(FakeWebSocket.last.take(), []);
});
