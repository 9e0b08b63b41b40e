// A server that does what it must not: the connection ends with a code that
// says so, and nothing is left behind.
import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { connected, FakeWebSocket, freeze, newClient, pass, settle, thaw } from "./fake.js";

beforeEach(freeze);
afterEach(thaw);

const frames = {
  "not JSON": "{",
  "a list": "[]",
  "an unknown type": '{"type":"dance"}',
  "a type of the language": '{"type":"__proto__"}',
  "a binary frame": new ArrayBuffer(1),
  "a request for servers": '{"type":"subscribe","room":"r"}',
  "a hello": '{"type":"hello"}',
  "a second welcome": '{"type":"welcome","key":"c2"}',
  "an id over 2^53": '{"type":"reply","id":9007199254740993}',
  "nesting without end": `{"kind":"a","payload":${"[".repeat(300_000)}${"]".repeat(300_000)}}`,
  "more than the bound": `{"kind":"a","payload":"${"x".repeat(1 << 20)}"}`,
  "a member of the prototype as headers": '{"kind":"a","headers":{"__proto__":{"x":1}}}',
};

for (const [name, frame] of Object.entries(frames)) {
  test(`${name} ends the connection for good`, async () => {
    const { client, socket, named } = await connected();
    const call = assert.rejects(client.call("a"), { code: "unavailable" });
    let handled = 0;
    client.handle("*", () => handled++);
    socket.receive(frame);
    await call;
    assert.equal(socket.closedWith.code, 3501);
    assert.ok(socket.closedWith.reason.length <= 123);
    assert.equal(client.status, "closed");
    const [[{ code, reconnect }]] = named("disconnect");
    assert.deepEqual({ code, reconnect }, { code: 3501, reconnect: false });
    assert.deepEqual(named("error").map(([e]) => e.code), ["bad_request"]);
    socket.receive({ kind: "a" }); // what comes behind it is not looked at
    await pass(120_000);
    assert.equal(handled, 0);
    assert.equal(FakeWebSocket.all.length, 1);
    assert.deepEqual(socket.take().filter((p) => p.type !== "call"), []);
  });
}

test("instead of a welcome: connect fails", async () => {
  for (const frame of ["{", '{"type":"welcome"}', '{"type":"unsubscribe","room":"r"}']) {
    const { client } = newClient();
    const connecting = client.connect().then(assert.fail, (error) => error);
    FakeWebSocket.last.accept();
    await settle();
    FakeWebSocket.last.receive(frame);
    const { code, details } = await connecting;
    assert.deepEqual([code, details.closeCode], ["unavailable", 3501], frame);
    assert.equal(client.status, "closed");
  }
});

test("larger messages can be allowed", async () => {
  const { client, socket } = await connected({ maxMessageBytes: 4 << 20 });
  const got = [];
  client.handle("a", (text) => got.push(text.length));
  socket.receive({ kind: "a", payload: "x".repeat(2 << 20) });
  assert.deepEqual(got, [2 << 20]);
});

test("a call with the id of an open one", async () => {
  const { client, socket } = await connected();
  client.handle("slow", () => new Promise(() => {}));
  socket.receive({ type: "call", id: 1, kind: "slow" });
  socket.receive({ type: "call", id: 1, kind: "slow" });
  assert.equal(socket.closedWith.code, 3501);
  assert.equal(client.status, "closed");
});

test("an id may be used again after its answer", async () => {
  const { client, socket } = await connected();
  client.handle("quick", (n) => n);
  for (let i = 0; i < 3; i++) {
    socket.receive({ type: "call", id: 1, kind: "quick", payload: i });
    await settle();
  }
  assert.deepEqual(socket.take().map((p) => p.payload), [0, 1, 2]);
  assert.equal(client.status, "running");
});

test("more calls than can be open: it goes, and comes back", async () => {
  const { client, socket, named } = await connected();
  let open = 0;
  client.handle("slow", () => (open++, new Promise(() => {})));
  for (let id = 1; id <= 1001; id++) socket.receive({ type: "call", id, kind: "slow" });
  assert.equal(open, 1000);
  assert.equal(socket.closedWith.code, 3013);
  assert.deepEqual(named("disconnect"), [[{ code: 3013, reason: "too many open calls", reconnect: true }]]);
  await pass(1000);
  await FakeWebSocket.last.welcome("c2");
  FakeWebSocket.last.receive({ type: "call", id: 1, kind: "slow" }); // those of before do not count
  assert.equal(open, 1001);
  assert.equal(client.status, "running");
});
