import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";
import { Client, PolywireError } from "../polywire.js";
import { connected, FakeWebSocket, freeze, newClient, pass, settle, thaw } from "./fake.js";

beforeEach(freeze);
afterEach(thaw);

const random = (value) => mock.method(Math, "random", () => value);

async function join(client, socket, room) {
  const joined = client.subscribe(room);
  socket.receive({ type: "reply", id: socket.take()[0].id });
  await joined;
}

test("a drop ends the calls in flight and comes back", async () => {
  random(0.5);
  const { client, socket, events } = await connected();
  events.length = 0;
  const call = assert.rejects(client.call("a"), { code: "unavailable", remote: false });
  socket.end(3001, "shutdown");
  await call;
  assert.equal(client.status, "connecting");
  assert.equal(client.id, "");
  await pass(450);
  assert.equal(FakeWebSocket.all.length, 1);
  await pass(50);
  assert.equal(FakeWebSocket.all.length, 2);
  await FakeWebSocket.last.welcome("c2");
  assert.equal(client.status, "running");
  const [connecting, disconnect, retry, ...rest] = events;
  assert.equal(connecting[1], "connecting");
  assert.deepEqual(connecting[2].details, { closeCode: 3001, reason: "shutdown" });
  assert.deepEqual(disconnect, ["disconnect", { code: 3001, reason: "shutdown", reconnect: true }]);
  assert.deepEqual({ ...retry[1], error: retry[1].error.code }, { attempt: 1, delay: 500, error: "unavailable" });
  assert.deepEqual(rest, [
    ["status", "running", undefined],
    ["connect", { id: "c2", reconnected: true, headers: {} }],
  ]);
});

test("the delays grow to the maximum, and the first connection is tried for too", async () => {
  random(1);
  const { client, named } = newClient();
  const connecting = client.connect();
  for (const delay of [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]) {
    const attempts = FakeWebSocket.all.length;
    FakeWebSocket.last.end(1006);
    await pass(delay - 50);
    assert.equal(FakeWebSocket.all.length, attempts);
    await pass(50);
    assert.equal(FakeWebSocket.all.length, attempts + 1);
  }
  await FakeWebSocket.last.welcome();
  await connecting;
  assert.equal(named("retry").length, 7);
  assert.deepEqual(named("disconnect"), []);
  assert.deepEqual(named("status"), [["connecting", undefined], ["running", undefined]]);
});

test("only a connection that lasted resets the delays", async () => {
  random(1);
  const { named } = await connected();
  FakeWebSocket.last.end(1006);
  await pass(1000);
  await FakeWebSocket.last.welcome();
  await pass(4950);
  FakeWebSocket.last.end(1006);
  await pass(2000);
  await FakeWebSocket.last.welcome();
  await pass(5000);
  FakeWebSocket.last.end(1006);
  assert.deepEqual(named("retry").map(([r]) => r.delay), [1000, 2000, 1000]);
});

test("a final close code is the end", async () => {
  const { client, socket, events } = await connected();
  events.length = 0;
  const call = assert.rejects(client.call("a"), { code: "forbidden" });
  socket.end(3507, "banned");
  await call;
  assert.equal(client.status, "closed");
  await pass(120_000);
  assert.equal(FakeWebSocket.all.length, 1);
  assert.equal(events[0][1], "closed");
  assert.equal(events[0][2].code, "forbidden");
  assert.deepEqual(events.slice(1), [["disconnect", { code: 3507, reason: "banned", reconnect: false }]]);
});

test("a final close code fails connect, then and later", async () => {
  const { client } = newClient();
  const connecting = client.connect();
  FakeWebSocket.last.accept();
  FakeWebSocket.last.end(3500, "bad token");
  await assert.rejects(connecting, { code: "unauthorized", details: { closeCode: 3500, reason: "bad token" } });
  assert.equal(client.status, "closed");
  const again = client.connect();
  await FakeWebSocket.last.welcome();
  await again;
});

test("a WebSocket that cannot be made fails connect", async () => {
  class Refusing {
    constructor() {
      throw new SyntaxError("bad subprotocol");
    }
  }
  const client = new Client("ws://test", { WebSocket: Refusing });
  await assert.rejects(client.connect(), (e) => e.code === "unavailable" && e.cause instanceof SyntaxError);
  assert.equal(client.status, "closed");
});

test("no WELCOME in time is a failed attempt", async () => {
  random(1);
  const { client, named } = newClient({ openTimeout: 3000 });
  client.connect().catch(() => {});
  const first = FakeWebSocket.last;
  first.accept();
  await pass(3000);
  assert.equal(first.closedWith.code, 3000);
  assert.match(named("retry")[0][0].error.message, /no welcome/);
  await pass(1000);
  await FakeWebSocket.last.welcome();
  first.end(3500); // what the old socket says does not matter any more
  first.receive({ type: "error", error: { code: "x" } });
  assert.equal(client.status, "running");
  assert.deepEqual(named("error"), []);
});

test("headers that cannot be made are a failed attempt", async () => {
  let fail = true;
  const { client, named } = newClient({
    headers: async () => {
      if (fail) throw new Error("no token");
      return { t: "1" };
    },
  });
  const connecting = client.connect();
  FakeWebSocket.last.accept();
  await settle();
  assert.match(named("retry")[0][0].error.message, /no token/);
  fail = false;
  await pass(1000);
  await FakeWebSocket.last.welcome();
  await connecting;
});

test("a signal ends connecting", async () => {
  const { client } = newClient();
  const controller = new AbortController();
  const connecting = client.connect({ signal: controller.signal });
  controller.abort();
  await assert.rejects(connecting, { name: "AbortError" });
  await settle();
  assert.equal(client.status, "closed");
  await assert.rejects(client.connect({ signal: AbortSignal.abort() }), { name: "AbortError" });
  assert.equal(FakeWebSocket.all.length, 1);
});

test("a signal counts for connecting only", async () => {
  const { client } = newClient();
  const controller = new AbortController();
  const connecting = client.connect({ signal: controller.signal });
  await FakeWebSocket.last.welcome();
  await connecting;
  controller.abort();
  assert.equal(client.status, "running");
});

test("close ends the waiting for the next attempt", async () => {
  const { client } = newClient();
  const connecting = assert.rejects(client.connect(), { code: "unavailable", message: "the client was closed" });
  FakeWebSocket.last.end(1006);
  await client.close();
  await connecting;
  await pass(60_000);
  assert.equal(FakeWebSocket.all.length, 1);
});

test("a listener may close the client", async () => {
  const { client, socket, named } = await connected();
  client.on("disconnect", () => client.close());
  socket.end(1006);
  assert.equal(client.status, "closed");
  await pass(60_000);
  assert.equal(FakeWebSocket.all.length, 1);
  assert.deepEqual(named("retry"), []);
});

test("retry makes the next attempt at once, and no other", async () => {
  random(1);
  const { client, socket } = await connected();
  client.retry(); // nothing to do
  socket.end(1006);
  client.retry();
  client.retry();
  assert.equal(FakeWebSocket.all.length, 2);
  await FakeWebSocket.last.welcome();
  await pass(10_000);
  assert.equal(FakeWebSocket.all.length, 2);
});

test("rooms are subscribed to again", async () => {
  const { client, socket, named } = await connected();
  for (const room of ["a", "b", "c"]) await join(client, socket, room);
  const left = client.unsubscribe("c");
  const [unsubscribe] = socket.take();
  assert.deepEqual(unsubscribe, { type: "unsubscribe", id: unsubscribe.id, room: "c" });
  socket.receive({ type: "reply", id: unsubscribe.id });
  await left;
  const refused = client.subscribe("d");
  socket.receive({ type: "error", id: socket.take()[0].id, error: { code: "forbidden" } });
  await assert.rejects(refused, { code: "forbidden" });
  const unanswered = assert.rejects(client.subscribe("e"), { code: "unavailable" });
  socket.end(1006);
  await unanswered;

  await pass(1000);
  const next = FakeWebSocket.last;
  await next.welcome();
  const [a, b, ...more] = next.take();
  assert.deepEqual([a.type, a.room, b.type, b.room, more], ["subscribe", "a", "subscribe", "b", []]);
  next.receive({ type: "reply", id: a.id });
  next.receive({ type: "error", id: b.id, error: { code: "not_found", message: "gone" } });
  await settle();
  assert.deepEqual(client.rooms, ["a"]);
  const [[lost]] = named("error");
  assert.ok(lost instanceof PolywireError);
  assert.equal(lost.code, "not_found");
  assert.match(lost.message, /room b is lost: gone/);
});

test("rooms outlive a connection that is lost while they are subscribed to", async () => {
  const { client, socket, named } = await connected();
  await join(client, socket, "a");
  for (let i = 0; i < 3; i++) {
    FakeWebSocket.last.end(1006);
    await pass(10_000);
    await FakeWebSocket.last.welcome();
  }
  assert.deepEqual(client.rooms, ["a"]);
  assert.deepEqual(FakeWebSocket.last.take().map((p) => p.room), ["a"]);
  assert.deepEqual(named("error"), []);
});

test("leaving a room while the connection is lost is leaving", async () => {
  const { client, socket } = await connected();
  await join(client, socket, "a");
  const leaving = client.unsubscribe("a");
  socket.end(1006);
  await leaving;
  await pass(1000);
  await FakeWebSocket.last.welcome();
  assert.deepEqual(FakeWebSocket.last.take(), []);
});

test("calls made on connect come after the rooms", async () => {
  const { client, socket } = await connected();
  await join(client, socket, "a");
  client.on("connect", () => client.send("hello"));
  socket.end(1006);
  await pass(1000);
  await FakeWebSocket.last.welcome();
  assert.deepEqual(FakeWebSocket.last.take().map((p) => p.type), ["subscribe", "message"]);
});

test("nothing is sent on a connection that is closing", async () => {
  const { client, socket } = await connected();
  socket.readyState = 2;
  assert.throws(() => client.send("a"), { code: "unavailable" });
});
