// Connection state recovery, which clients from 4.6 know.

const server = "recovery";

/** twoMembers returns two sockets in a room; the first has received an event and so has an offset. */
async function twoMembers(c) {
  const [lost, other] = [await c.connect("/", { server, reconnect: true }), await c.connect("/", { server })];
  if (c.mode === "upgrade") await c.upgraded(lost);
  await c.call(lost, "join", "room");
  const news = c.inbox(lost, "news");
  await c.call(other, "say", "room", "news", "before");
  await news.take(1);
  return { lost, other, news };
}

/** while the link is broken and the server knows, away runs. */
async function lose(c, socket, away) {
  const { id } = socket;
  socket.io.reconnectionDelay(400);
  socket.io.reconnectionDelayMax(400);
  const back = c.next(socket, "connect");
  c.breakLink(socket);
  await c.reason(id, server);
  await away();
  await back;
}

/** without the offset, which recovery adds as the last argument. */
const plain = (list) => list.map((args) => args.slice(0, -1));

export default [
  {
    name: "recovery: the same id, rooms and data, and every event that was missed, once",
    clients: [4],
    async run(c) {
      const { lost, other, news } = await twoMembers(c);
      const { id } = lost;
      c.ok(!lost.recovered, "recovered at first");
      await c.call(lost, "remember", { a: [1, "two"] });
      await lose(c, lost, async () => {
        await c.call(other, "say", "room", "news", 1, "two");
        await c.call(other, "say", "another room", "news", "not for it");
        await c.call(other, "all", "news", { data: c.bytes(7) }, 3);
        await c.call(other, "except", ["room"], ["room"], "news", "not for it");
        await c.call(other, "rest", "news", "last 😀");
      });
      c.ok(lost.recovered, "not recovered");
      c.equal(lost.id, id);
      const missed = [[1, "two"], [{ data: c.bytes(7) }, 3], ["last 😀"]];
      c.equal(plain(await news.take(4)), [["before"], ...missed]);
      c.equal(await c.answer(lost, "recall"), { recovered: true, value: { a: [1, "two"] } });
      c.equal(await c.answer(lost, "rooms"), ["room"]);
      c.equal(await c.answer(lost, "id"), id);
      await c.call(other, "say", "room", "news", "after");
      c.equal(plain(await news.take(5))[4], ["after"]);
      await c.settled(lost);
      c.equal(news.list.length, 5, "events");
    },
  },
  {
    name: "recovery: twice in a row",
    clients: [4],
    async run(c) {
      const { lost, other, news } = await twoMembers(c);
      const { id } = lost;
      for (const n of [1, 2]) {
        // Its end is known under the same id: one namespace more shows that this one is over.
        const chat = lost.io.socket("/chat");
        await c.connected(chat);
        const chatID = chat.id;
        chat.on("hello", () => {});
        lost.io.reconnectionDelay(400);
        lost.io.reconnectionDelayMax(400);
        const back = c.next(lost, "connect");
        c.breakLink(lost);
        await c.reason(chatID, server);
        await c.call(other, "say", "room", "news", n);
        await back;
        c.ok(lost.recovered, `not recovered, attempt ${n}`);
        await c.connected(chat);
        chat.disconnect();
      }
      c.equal(plain(await news.take(3)), [["before"], [1], [2]]);
      c.equal(lost.id, id);
    },
  },
  {
    name: "recovery: a client that left is not recovered",
    clients: [4],
    async run(c) {
      const { lost, other, news } = await twoMembers(c);
      const { id } = lost;
      lost.disconnect();
      c.equal(await c.reason(id, server), "client namespace disconnect");
      await c.call(other, "say", "room", "news", "missed");
      lost.connect();
      await c.connected(lost);
      c.ok(!lost.recovered && lost.id !== id, "recovered");
      c.equal(await c.answer(lost, "rooms"), []);
      await c.settled(lost);
      c.equal(plain(news.list), [["before"]]);
    },
  },
  {
    name: "recovery: a server that does not know the session begins a new one",
    clients: [4],
    async run(c) {
      const { lost } = await twoMembers(c);
      const { id } = lost;
      const back = c.next(lost, "connect");
      await c.control("restart", { server, millis: 50 });
      await back;
      c.ok(!lost.recovered && lost.id !== id, "recovered");
      c.equal(await c.answer(lost, "recall"), { recovered: false, value: null });
    },
  },
  {
    name: "recovery: in a namespace that admits",
    clients: [4],
    async run(c) {
      const link = await c.link({ server, reconnect: true });
      const socket = link.socket("/auth", { token: "secret" });
      await c.connected(socket);
      const { id } = socket;
      const news = c.inbox(socket, "news");
      await c.call(socket, "all", "news", "offset");
      await news.take(1);
      await lose(c, socket, () => c.connect("/", { server }));
      c.ok(socket.recovered, "not recovered");
      c.equal([socket.id, await c.answer(socket, "id")], [id, id]);
      c.equal((await c.answer(socket, "handshake")).auth.token, "secret");
    },
  },
  {
    name: "recovery: clients that do not know it are served as ever",
    clients: [2, 3],
    async run(c) {
      const [a, b] = [await c.connect("/", { server, reconnect: true }), await c.connect("/", { server })];
      const { id } = a;
      const news = c.inbox(a, "news");
      await c.call(b, "all", "news", 1, "two");
      c.equal((await news.take(1))[0].slice(0, 2), [1, "two"]);
      await lose(c, a, async () => {});
      c.ok(a.id !== id, "the same id");
      c.equal(await c.call(a, "echo", 1), [1]);
    },
  },
];
