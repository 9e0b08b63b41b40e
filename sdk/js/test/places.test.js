// Rooms with history: what was missed comes after a reconnect, once.
import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";
import { connected, FakeWebSocket, freeze, pass, settle, thaw } from "./fake.js";

beforeEach(freeze);
afterEach(thaw);

/** Answers a subscribe, which is all that was sent. */
function answer(socket, reply) {
  const [asked, ...more] = socket.take();
  assert.equal(asked.type, "subscribe");
  assert.deepEqual(more, []);
  socket.receive({ type: "reply", id: asked.id, ...reply });
  return asked;
}

async function join(client, socket, room, reply) {
  const joined = client.subscribe(room);
  answer(socket, reply);
  await joined;
}

const say = (socket, room, offset, kind = "k") => socket.receive({ kind, room, offset });

/** Breaks the connection and returns the next one. */
async function reconnect(client) {
  FakeWebSocket.last.end(1006);
  client.retry();
  await FakeWebSocket.last.welcome();
  return FakeWebSocket.last;
}

/** What the client asks for after a reconnect. */
const asked = (socket) => socket.take().map(({ type, room, offset }) => [type, room, offset]);

const options = { checkInterval: -1 };

test("the place is that of the last message, or that of the reply", async () => {
  const { client, socket } = await connected(options);
  await join(client, socket, "replied", { offset: "e.5" });
  await join(client, socket, "moved", { offset: "e.7" });
  say(socket, "moved", "e.8");
  say(socket, "moved", undefined); // not of the history
  await join(client, socket, "plain", {});
  say(socket, "elsewhere", "e.100");
  const early = client.subscribe("early");
  say(socket, "early", "e.3"); // before the reply, which is older
  answer(socket, { offset: "e.2" });
  await early;
  const next = await reconnect(client);
  assert.deepEqual(asked(next), [
    ["subscribe", "replied", "e.5"],
    ["subscribe", "moved", "e.8"],
    ["subscribe", "plain", undefined],
    ["subscribe", "early", "e.3"],
  ]);
});

test("the application is told how it went", async () => {
  const { client, socket, named } = await connected(options);
  for (const room of ["good", "bad", "gone", "plain"]) await join(client, socket, room, room === "plain" ? {} : { offset: "e.1" });
  const next = await reconnect(client);
  const [good, bad, gone, plain] = next.take();
  say(next, "good", "e.2");
  next.receive({ type: "reply", id: good.id, offset: "e.2", recovered: true });
  next.receive({ type: "reply", id: bad.id, offset: "f.9", recovered: false });
  next.receive({ type: "reply", id: gone.id });
  next.receive({ type: "reply", id: plain.id });
  await settle();
  assert.deepEqual(named("recovered"), [
    [{ room: "good", recovered: true }],
    [{ room: "bad", recovered: false }],
    [{ room: "gone", recovered: false }],
  ]);
  const third = await reconnect(client);
  assert.deepEqual(asked(third), [
    ["subscribe", "good", "e.2"],
    ["subscribe", "bad", "f.9"],
    ["subscribe", "gone", undefined],
    ["subscribe", "plain", undefined],
  ]);
});

test("a connection lost while it catches up goes on from there", async () => {
  const { client, socket, named } = await connected(options);
  await join(client, socket, "a", { offset: "e.1" });
  const got = [];
  client.handle("*", (_, { position }) => got.push(position));
  const next = await reconnect(client);
  assert.deepEqual(asked(next), [["subscribe", "a", "e.1"]]);
  say(next, "a", "e.2");
  say(next, "a", "e.3"); // the reply does not arrive
  const third = await reconnect(client);
  assert.deepEqual(asked(third), [["subscribe", "a", "e.3"]]);
  assert.deepEqual(got, ["e.2", "e.3"]);
  assert.deepEqual(named("recovered"), []);
});

test("leaving and closing forget the place", async () => {
  const { client, socket } = await connected(options);
  await join(client, socket, "a", { offset: "e.1" });
  const left = client.unsubscribe("a");
  socket.receive({ type: "reply", id: socket.take()[0].id });
  await left;
  const joined = client.subscribe("a");
  assert.equal(answer(socket, { offset: "e.9" }).offset, undefined);
  await joined;
  const closed = client.close();
  await settle();
  await closed;
  const connecting = client.connect();
  await FakeWebSocket.last.welcome();
  await connecting;
  const again = client.subscribe("a");
  assert.equal(answer(FakeWebSocket.last, { offset: "e.9" }).offset, undefined);
  await again;
});

test("a room that gets a history while this client is away", async () => {
  const { client, socket } = await connected(options);
  await join(client, socket, "a", {});
  const next = await reconnect(client);
  say(next, "a", "e.3"); // newer than the reply
  answer(next, { offset: "e.2" });
  await settle();
  assert.deepEqual(asked(await reconnect(client)), [["subscribe", "a", "e.3"]]);
});

test("a refused room has no place", async () => {
  const { client, socket } = await connected(options);
  const refused = client.subscribe("a");
  say(socket, "a", "e.3");
  socket.receive({ type: "error", id: socket.take()[0].id, error: { code: "forbidden" } });
  await assert.rejects(refused, { code: "forbidden" });
  const again = client.subscribe("a");
  assert.equal(answer(socket, {}).offset, undefined);
  await again;
});

test("subscribing once more is a check", async () => {
  const { client, socket, named } = await connected(options);
  await join(client, socket, "a", { offset: "e.1" });
  const again = client.subscribe("a");
  assert.equal(answer(socket, { offset: "f.1", recovered: false }).offset, "e.1");
  await again;
  assert.deepEqual(named("recovered"), [[{ room: "a", recovered: false }]]);
});

test("places are checked now and then, with chance in it", async () => {
  const random = mock.method(Math, "random", () => 0);
  const { client, socket, named } = await connected();
  await join(client, socket, "a", { offset: "e.1" });
  await join(client, socket, "plain", {});
  await pass(24_950); // a ping
  socket.take();
  socket.receive({ type: "pong" });
  await pass(5000);
  assert.deepEqual(socket.take(), []);
  random.mock.mockImplementation(() => 1);
  await pass(50); // 30 s: three quarters
  assert.equal(answer(socket, { offset: "e.1", recovered: true }).offset, "e.1");
  await settle();
  assert.deepEqual(named("recovered"), []); // nothing to tell

  const { length } = FakeWebSocket.all;
  const until = async (seconds) => {
    for (let i = 0; i < seconds; i++) {
      await pass(1000);
      say(socket, "a", "e.2"); // no silence, no pings
    }
  };
  await until(49);
  assert.deepEqual(socket.take(), []);
  await until(1); // 50 s: five quarters
  assert.equal(answer(socket, { offset: "f.4", recovered: false }).offset, "e.2");
  await settle();
  assert.deepEqual(named("recovered"), [[{ room: "a", recovered: false }]]);
  assert.equal(FakeWebSocket.all.length, length);
});

test("a check that is refused does not end the subscription", async () => {
  const { client, socket, named } = await connected({ checkInterval: 1000 });
  await join(client, socket, "a", { offset: "e.1" });
  await pass(1250);
  socket.receive({ type: "error", id: socket.take()[0].id, error: { code: "unavailable" } });
  await pass(1250);
  socket.receive({ type: "error", id: socket.take()[0].id, error: { code: "forbidden", message: "no" } });
  await settle();
  assert.deepEqual(client.rooms, ["a"]);
  assert.match(named("error")[0][0].message, /room a is not checked: no/);
  assert.equal(named("error").length, 1);
});

test("nothing is checked where that is off, without a place, or without a connection", async () => {
  for (const checkInterval of [-1, 1000]) {
    const { client, socket } = await connected({ checkInterval, heartbeat: { interval: 100_000 } });
    await join(client, socket, "plain", {});
    if (checkInterval < 0) await join(client, socket, "a", { offset: "e.1" });
    await pass(10_000);
    assert.deepEqual(socket.take(), []);
    await join(client, socket, "b", { offset: "e.1" });
    const closed = client.close();
    await pass(10_000);
    await closed;
    assert.deepEqual(socket.take(), []);
  }
});

test("a room that cannot be had for the moment is asked for again", async () => {
  const { client, socket, named } = await connected(options);
  await join(client, socket, "a", { offset: "e.1" });
  const next = await reconnect(client);
  next.receive({ type: "error", id: next.take()[0].id, error: { code: "unavailable", message: "no engine" } });
  await settle();
  assert.deepEqual(client.rooms, ["a"]);
  await pass(2000);
  assert.equal(answer(next, { offset: "e.4", recovered: true }).offset, "e.1");
  await settle();
  assert.deepEqual(named("recovered"), [[{ room: "a", recovered: true }]]);
  assert.deepEqual(named("error"), []);
});
