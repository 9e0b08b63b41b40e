// Who is in a room: asking, saying, and hearing of it.
import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { connected, FakeWebSocket, freeze, pass, settle, thaw } from "./fake.js";

beforeEach(freeze);
afterEach(thaw);

const ana = { id: "c7", user: "ana", since: "2026-01-02T15:04:05Z", value: { typing: true } };

/** Breaks the connection and returns the next one. */
async function reconnect(client) {
  FakeWebSocket.last.end(1006);
  client.retry();
  await FakeWebSocket.last.welcome();
  return FakeWebSocket.last;
}

async function set(client, socket, value, reply = { type: "reply" }) {
  const done = client.setPresence(value);
  socket.receive({ ...reply, id: socket.take()[0].id });
  await done;
}

test("who is there", async () => {
  const { client, socket } = await connected();
  const listed = client.presence("chat");
  const [asked] = socket.take();
  assert.deepEqual(asked, { type: "call", id: asked.id, kind: "presence", payload: "chat" });
  socket.receive({ type: "reply", id: asked.id, payload: [ana] });
  assert.deepEqual(await listed, [ana]);

  const odd = client.presence("chat");
  socket.receive({ type: "reply", id: socket.take()[0].id, payload: { no: "list" } });
  await assert.rejects(odd, { code: "unimplemented" });
  await assert.rejects(client.presence(""), TypeError);
  await assert.rejects(client.presence("chat", { signal: AbortSignal.abort() }), { name: "AbortError" });
  const late = assert.rejects(client.presence("chat", { timeout: 50 }), { code: "deadline_exceeded" });
  await pass(50);
  await late;
});

test("who comes, goes and changes", async () => {
  const { client, socket, events } = await connected();
  const heard = [];
  const handled = [];
  client.on("presence", (event) => heard.push(event));
  client.handle("presence.*", (member, { kind }) => handled.push([kind, member.id]));
  socket.receive({ kind: "presence.joined", room: "chat", payload: ana });
  socket.receive({ kind: "presence.changed", room: "chat", payload: { ...ana, value: 1 } });
  socket.receive({ kind: "presence.left", room: "chat", payload: ana });
  assert.deepEqual(heard, [
    { room: "chat", change: "joined", member: ana },
    { room: "chat", change: "changed", member: { ...ana, value: 1 } },
    { room: "chat", change: "left", member: ana },
  ]);
  assert.deepEqual(handled, [["presence.joined", "c7"], ["presence.changed", "c7"], ["presence.left", "c7"]]);
  assert.deepEqual(events.filter(([name]) => name === "error"), []);
});

test("what only looks like it is no event", async () => {
  const { client, socket } = await connected();
  const heard = [];
  client.on("presence", (event) => heard.push(event));
  socket.receive({ kind: "presence.joined", payload: ana }); // of no room
  for (const payload of [undefined, null, "c7", {}, { id: 7 }, []]) {
    socket.receive({ kind: "presence.joined", room: "chat", payload });
  }
  socket.receive({ kind: "presence.other", room: "chat", payload: ana });
  socket.receive({ kind: "presence.left", room: "chat", data: "AQ==" });
  assert.deepEqual(heard, []);
  assert.equal(client.status, "running");
});

test("one's own value is said again after a reconnect, before the rooms", async () => {
  const { client, socket } = await connected();
  const joined = client.subscribe("chat");
  socket.receive({ type: "reply", id: socket.take()[0].id });
  await joined;
  await set(client, socket, { typing: true });
  let next = await reconnect(client);
  assert.deepEqual(next.take().map((p) => p.payload ?? p.room), [{ typing: true }, "chat"]);
  next = await reconnect(client); // without an answer
  assert.deepEqual(next.take().map((p) => p.payload ?? p.room), [{ typing: true }, "chat"]);
  await set(client, next, null);
  assert.deepEqual((await reconnect(client)).take().map((p) => p.room), ["chat"]);
});

test("a value that the server did not take is not said again", async () => {
  const { client, socket } = await connected();
  const refused = client.setPresence("x".repeat(5000));
  socket.receive({ type: "error", id: socket.take()[0].id, error: { code: "bad_request" } });
  await assert.rejects(refused, { code: "bad_request" });
  const lost = assert.rejects(client.setPresence("away"), { code: "unavailable" });
  const next = await reconnect(client);
  await lost;
  assert.deepEqual(next.take(), []);
});

test("of two values the later one stays, however the answers come", async () => {
  const { client, socket } = await connected();
  const both = [client.setPresence(1), client.setPresence(2)];
  const [one, two] = socket.take();
  socket.receive({ type: "reply", id: two.id });
  socket.receive({ type: "reply", id: one.id });
  await Promise.all(both);
  assert.deepEqual((await reconnect(client)).take().map((p) => p.payload), [2]);
});

test("a value that is refused after a reconnect is reported; closing forgets it", async () => {
  const { client, socket, named } = await connected();
  await set(client, socket, 1);
  const next = await reconnect(client);
  next.receive({ type: "error", id: next.take()[0].id, error: { code: "forbidden" } });
  await settle();
  assert.deepEqual(named("error").map(([e]) => e.code), ["forbidden"]);
  await client.close();
  const connecting = client.connect();
  await FakeWebSocket.last.welcome();
  await connecting;
  assert.deepEqual(FakeWebSocket.last.take(), []);
});
