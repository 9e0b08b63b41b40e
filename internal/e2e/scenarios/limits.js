// Limits: what is too much ends the link that sent it, and no other.

const all = [2, 3, 4];

/** text makes an event's packet "42" + JSON of n bytes in all. */
const text = (n) => "x".repeat(n - '42["echo",""]'.length);

export default [
  {
    name: "limits: a message of exactly the limit is heard",
    clients: all,
    modes: ["websocket"],
    async run(c) {
      const socket = await c.connect("/", { server: "small" });
      const back = c.inbox(socket, "echo");
      socket.emit("echo", text(20_000));
      c.equal((await back.take(1))[0][0].length, text(20_000).length);
    },
  },
  {
    name: "limits: too large a message ends its link, and others stay",
    clients: all,
    async run(c) {
      const [bad, good] = await c.connectAll(2, "/", { server: "small" });
      if (c.mode === "upgrade") await c.upgraded(bad);
      const { id } = bad;
      const left = c.next(bad, "disconnect");
      bad.emit("echo", "x".repeat(30_000));
      c.oneOf((await left)[0], ["transport close", "transport error"], "the client's reason");
      const reasons = c.mode === "polling" ? ["transport close", "transport error", "ping timeout"] : ["transport error"];
      c.oneOf(await c.reason(id, "small"), reasons, "the server's reason");
      c.equal(await c.call(good, "echo", "fine"), ["fine"]);
    },
  },
  {
    name: "limits: too large a binary, and back again",
    clients: all,
    async run(c) {
      const socket = await c.connect("/", { server: "small", reconnect: true });
      if (c.mode === "upgrade") await c.upgraded(socket);
      const [left, back] = [c.next(socket, "disconnect"), c.next(socket, "connect")];
      socket.emit("echo", c.bytes(30_000));
      c.oneOf((await left)[0], ["transport close", "transport error"], "the client's reason");
      await back;
      c.equal(await c.call(socket, "echo", c.bytes(100)), [c.bytes(100)]);
    },
  },
  {
    name: "limits: many events at once are sent in bodies of the size that the server told",
    clients: [4], // older clients do not know maxPayload
    async run(c) {
      const socket = await c.connect("/", { server: "small" });
      const back = c.inbox(socket, "echo");
      for (let i = 0; i < 100; i++) socket.emit("echo", i, "y".repeat(1000));
      c.equal((await back.take(100)).map(([i]) => i), Array.from({ length: 100 }, (_, i) => i));
    },
  },
  {
    name: "limits: more than ten attachments",
    clients: all,
    async run(c) {
      const [bad, good] = await c.connectAll(2);
      if (c.mode === "upgrade") await c.upgraded(bad);
      const { id } = bad;
      const left = c.next(bad, "disconnect");
      bad.emit("echo", Array.from({ length: 11 }, (_, i) => c.bytes(i)));
      c.equal((await left)[0], "transport close");
      c.equal(await c.reason(id), "forced close", "the server's reason");
      c.equal(await c.call(good, "echo", "fine"), ["fine"]);
    },
  },
];
