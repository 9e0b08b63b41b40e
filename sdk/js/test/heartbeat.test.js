import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { connected, FakeWebSocket, freeze, pass, thaw } from "./fake.js";

beforeEach(freeze);
afterEach(thaw);

test("silence is asked about, and an answer is enough", async () => {
  const { client, socket } = await connected();
  await pass(24_950);
  assert.deepEqual(socket.take(), []);
  await pass(50);
  assert.deepEqual(socket.take(), [{ type: "ping" }]);
  await pass(15_000);
  socket.receive({ type: "pong" });
  await pass(10_000); // 25 s after the pong: the next ping
  assert.deepEqual(socket.take(), []);
  await pass(15_000);
  assert.deepEqual(socket.take(), [{ type: "ping" }]);
  assert.equal(client.status, "running");
});

test("whatever is heard counts", async () => {
  const { client, socket } = await connected();
  for (let i = 0; i < 10; i++) {
    await pass(20_000);
    socket.receive(i % 2 ? { kind: "news" } : { type: "reply", id: 999 });
  }
  assert.deepEqual(socket.take(), []);
  await pass(25_000);
  assert.deepEqual(socket.take(), [{ type: "ping" }]);
  socket.receive({ kind: "news" });
  await pass(24_000);
  assert.equal(client.status, "running");
});

test("no answer is a lost connection, without waiting for its end", async () => {
  const { client, socket, named } = await connected();
  socket.deaf = true;
  await pass(44_950);
  assert.equal(client.status, "running");
  await pass(50);
  assert.equal(client.status, "connecting");
  assert.equal(socket.closedWith.code, 3012);
  assert.deepEqual(named("disconnect"), [[{ code: 3012, reason: "no answer to a ping", reconnect: true }]]);
  await pass(1000);
  await FakeWebSocket.last.welcome();
  assert.equal(client.status, "running");
});

test("the interval and the timeout can be chosen", async () => {
  const { client, socket } = await connected({ heartbeat: { interval: 1000, timeout: 500 } });
  await pass(1000);
  assert.deepEqual(socket.take(), [{ type: "ping" }]);
  await pass(500);
  assert.equal(client.status, "connecting");
});

test("the server's pings are answered", async () => {
  const { socket } = await connected();
  socket.receive({ type: "ping" });
  socket.receive({ type: "ping", id: 7 });
  assert.deepEqual(socket.take(), [{ type: "pong" }, { type: "pong", id: 7 }]);
});

test("a closed client has no timers", async () => {
  const { client, socket } = await connected();
  await client.close();
  await pass(100_000);
  assert.deepEqual(socket.take(), []);
});
