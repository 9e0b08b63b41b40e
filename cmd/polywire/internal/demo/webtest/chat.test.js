import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";
import { Chat } from "../web/chat.js";
import { ada, bot, FakeClient, said, settle } from "./fake.js";

let client, chat, notices, announced, visible;

beforeEach(() => {
  mock.timers.enable({ apis: ["setInterval"] });
  client = new FakeClient();
  notices = [];
  announced = [];
  visible = true;
  chat = new Chat(client, "Me", {
    changed: () => {},
    visible: () => visible,
    notice: (text) => notices.push(text),
    announce: (text) => announced.push(text),
  });
});
afterEach(() => mock.timers.reset());

const remote = (code, message) => Object.assign(new Error(message), { code, remote: true });

/** Connects, and answers the joins with you as "me" beside Ada. */
async function enter(reconnected = false, history = []) {
  client.welcome(reconnected);
  const joins = client.take("chat.join");
  for (const join of joins) {
    const me = { id: "me", name: "Me", bot: false };
    join.resolve({ room: join.payload.room, you: "me", members: [bot, ada, me], history });
  }
  await settle();
  for (const list of client.take("chat.rooms")) list.resolve({ rooms: [{ name: "lobby", members: 3 }, { name: "tea", members: 2 }] });
  await settle();
  return joins;
}

const texts = () => chat.room.lines.map((l) => l.note ?? l.text);

test("joins its rooms on connecting, and again after a drop", async () => {
  chat.open("My Room");
  chat.start();
  assert.equal(client.status, "connecting");
  const names = (joins) => joins.map((j) => j.payload);
  const both = [{ room: "lobby", name: "Me" }, { room: "My Room", name: "Me" }];
  assert.deepEqual(names(await enter(false, [said("1", ada, "hi")])), both);
  assert.deepEqual(texts(), ["hi"]);
  client.become("connecting");
  assert.equal(chat.room.joined, false);
  client.emit("retry", { attempt: 2, delay: 3000 });
  assert.equal(chat.attempts, 2);
  assert.ok(chat.retryAt > performance.now());
  assert.deepEqual(names(await enter(true, [said("1", ada, "hi"), said("2", ada, "missed", 1)])), both);
  assert.deepEqual(texts(), ["hi", "missed"]);
  assert.equal(chat.retryAt, 0);
  assert.deepEqual(announced, ["Connected", "Connection lost", "Connected again"]);
});

test("members: you, people, bots", async () => {
  await enter();
  assert.deepEqual(chat.room.sortedMembers().map((m) => m.name), ["Me", "Ada", "Echo"]);
  client.deliver("chat.joined", { room: "lobby", member: { id: "z", name: "Aaron", bot: false } });
  client.deliver("chat.renamed", { room: "lobby", member: { id: "a", name: "Zoe", bot: false } });
  client.deliver("chat.left", { room: "lobby", member: bot });
  client.deliver("chat.joined", { room: "lobby", member: { id: "me", name: "Me", bot: false } });
  client.deliver("chat.joined", { room: "elsewhere", member: ada });
  assert.deepEqual(chat.room.sortedMembers().map((m) => m.name), ["Me", "Aaron", "Zoe"]);
  assert.deepEqual(texts(), ["Aaron joined", "Ada is now Zoe", "Echo left"]);
});

test("what is said is shown at once and settled by the answer", async () => {
  await enter();
  assert.equal(chat.say("  hello \r\n there  "), true);
  const [line] = chat.room.lines;
  assert.equal(line.state, "sending");
  const [call] = client.take("chat.say");
  assert.deepEqual(call.payload, { room: "lobby", text: "hello \n there" });
  call.resolve({ id: "7", at: "2026-01-01T12:00:00Z" });
  await settle();
  assert.equal(line.state, "sent");
  assert.equal(line.at.toISOString(), "2026-01-01T12:00:00.000Z");
  client.deliver("chat.said", { room: "lobby", ...said("7", { id: "me", name: "Me" }, "hello \n there") });
  assert.equal(chat.room.lines.length, 1);
});

test("ids may come again when the server began anew", async () => {
  await enter(false, [said("1", ada, "before")]);
  client.deliver("chat.said", { room: "lobby", ...said("1", ada, "after", 5) });
  client.deliver("chat.said", { room: "lobby", ...said("1", ada, "after", 5) });
  await enter(true, [said("1", ada, "after", 5), said("2", ada, "missed", 6)]);
  assert.deepEqual(texts(), ["before", "after", "missed"]);
});

test("an echo before the answer is not a second line", async () => {
  await enter();
  chat.say("hello");
  client.deliver("chat.said", { room: "lobby", ...said("7", { id: "me", name: "Me" }, "hello") });
  assert.equal(chat.room.lines[0].state, "sent");
  client.take("chat.say")[0].resolve({ id: "7", at: "2026-01-01T12:00:00Z" });
  await settle();
  assert.deepEqual(texts(), ["hello"]);
});

test("a failed line can be sent again", async () => {
  await enter();
  chat.say("hello");
  client.take("chat.say")[0].reject(remote("too_many_requests", "slow down"));
  await settle();
  const [line] = chat.room.lines;
  assert.equal(line.state, "failed");
  assert.deepEqual(notices, ["Not sent: slow down"]);
  chat.again(line);
  client.take("chat.say")[0].resolve({ id: "8", at: "2026-01-01T12:00:00Z" });
  await settle();
  assert.deepEqual(chat.room.lines.map((l) => [l.text, l.state]), [["hello", "sent"]]);
});

test("nothing is said without a room to say it in, or without a text", async () => {
  assert.equal(chat.say("hello"), false);
  await enter();
  assert.equal(chat.say(" \n "), false);
  client.become("connecting");
  assert.equal(chat.say("hello"), false);
  assert.deepEqual(client.take("chat.say"), []);
  assert.deepEqual(texts(), []);
});

test("unread: in other rooms, and while nobody looks", async () => {
  await enter();
  chat.open("tea");
  await enter();
  client.deliver("chat.said", { room: "lobby", ...said("1", ada, "x") });
  client.deliver("chat.said", { room: "lobby", ...said("1", ada, "x") });
  client.deliver("chat.said", { room: "tea", ...said("2", ada, "y") });
  assert.deepEqual([chat.unread(), chat.unread("lobby"), chat.unread("tea")], [1, 1, 0]);
  visible = false;
  client.deliver("chat.said", { room: "tea", ...said("3", ada, "z") });
  assert.equal(chat.unread("tea"), 1);
  chat.read();
  chat.open("lobby");
  assert.equal(chat.unread(), 0);
});

test("choices: joined rooms first, then those of the server, the fullest first", async () => {
  await enter();
  client.deliver("chat.rooms", { rooms: [{ name: "b", members: 1 }, { name: "a", members: 1 }, { name: "c", members: 9 }] });
  assert.deepEqual(
    chat.choices().map((r) => [r.name, r.joined, r.members]),
    [["lobby", true, 3], ["c", false, 9], ["a", false, 1], ["b", false, 1]],
  );
});

test("leaving goes back to the lobby, which stays", async () => {
  await enter();
  chat.open("tea");
  client.take("chat.join")[0].resolve({ room: "tea", you: "me", members: [], history: [] });
  await settle();
  void chat.leave("tea");
  assert.equal(chat.current, "lobby");
  assert.deepEqual(client.take("chat.leave").map((c) => c.payload), [{ room: "tea" }]);
  await chat.leave("lobby");
  assert.deepEqual(client.take("chat.leave"), []);
  assert.deepEqual([...chat.rooms.keys()], ["lobby"]);
});

test("a room that cannot be joined is given up, with a notice", async () => {
  await enter();
  chat.open("secret");
  client.take("chat.join")[0].reject(remote("forbidden", "members only"));
  await settle();
  assert.equal(chat.current, "lobby");
  assert.deepEqual(notices, ["#secret cannot be joined: members only"]);
});

test("a room left before it was entered stays left", async () => {
  await enter();
  chat.open("tea");
  const [join] = client.take("chat.join");
  void chat.leave("tea");
  join.resolve({ room: "tea", you: "me", members: [], history: [] });
  await settle();
  assert.deepEqual([...chat.rooms.keys()], ["lobby"]);
});

test("a new name is told to the server, and used for joins from then on", async () => {
  assert.equal(chat.rename("  Ann\t Lee "), "Ann Lee");
  assert.deepEqual(client.take("chat.rename"), []);
  const joins = await enter();
  assert.equal(joins[0].payload.name, "Ann Lee");
  assert.equal(chat.rename("Bo"), "Bo");
  assert.deepEqual(client.take("chat.rename").map((c) => c.payload), [{ name: "Bo" }]);
  assert.equal(chat.rename("   "), "Bo");
  assert.deepEqual(client.take("chat.rename"), []);
});

test("the latency of one call at a time is kept", async () => {
  const end = chat.start();
  await enter();
  const [first] = client.take("demo.ping");
  mock.timers.tick(4000);
  assert.deepEqual(client.take("demo.ping"), []);
  first.resolve({});
  await settle();
  assert.ok(chat.latency.last >= 0);
  mock.timers.tick(2000);
  client.take("demo.ping")[0].reject(new Error("late"));
  await settle();
  assert.equal(chat.latency.last, null);
  client.become("connecting");
  mock.timers.tick(2000);
  assert.deepEqual(client.take("demo.ping"), []);
  await end();
  assert.ok(client.closed);
});

test("connecting: again when closed, now when waiting", () => {
  chat.connect();
  chat.connect();
  assert.equal(client.retries, 1);
  client.become("closed", new Error("banned"));
  assert.equal(chat.ended.message, "banned");
  chat.connect();
  assert.equal(chat.ended, undefined);
  assert.equal(client.status, "connecting");
});
