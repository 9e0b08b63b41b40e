// Ends: who disconnects whom, what each side is told, and who comes back.
const all = [2, 3, 4];

export default [
  {
    name: "end: the client leaves; the server is told",
    clients: all,
    async run(c) {
      const socket = await c.connect();
      const { id } = socket;
      const left = c.next(socket, "disconnect");
      socket.disconnect();
      c.equal((await left)[0], "io client disconnect");
      c.equal(await c.reason(id), "client namespace disconnect", "the server's reason");
    },
  },
  {
    name: "end: the client's link closes under all its namespaces",
    clients: all,
    async run(c) {
      const link = await c.link();
      const ids = [(await link.open("/")).id, (await link.open("/chat")).id];
      link.manager.engine.close();
      for (const id of ids) c.oneOf(await c.reason(id), ["transport close", "transport error"], "the server's reason");
    },
  },
  {
    name: "end: the server disconnects one namespace, for good",
    clients: all,
    async run(c) {
      const link = await c.link({ reconnect: true });
      const [root, chat] = [await link.open("/"), await link.open("/chat")];
      const { id } = chat;
      const left = c.next(chat, "disconnect");
      chat.emit("kick");
      c.equal((await left)[0], "io server disconnect");
      c.equal(await c.reason(id), "server namespace disconnect", "the server's reason");
      c.equal(await c.call(root, "echo", 1), [1]);
      c.ok(!chat.connected, "came back by itself");
      chat.connect();
      await c.connected(chat);
      c.equal(await c.call(chat, "echo", 2), [2]);
    },
  },
  {
    name: "end: the server disconnects a room's members",
    clients: all,
    async run(c) {
      const [a, b, d] = await c.connectAll(3);
      const ids = [b.id, d.id];
      await c.call(b, "join", "banned");
      await c.call(d, "join", "banned");
      const left = [b, d].map((s) => c.next(s, "disconnect"));
      await c.call(a, "evict", "banned");
      for (const end of left) c.equal((await end)[0], "io server disconnect");
      for (const id of ids) c.equal(await c.reason(id), "server namespace disconnect", "the server's reason");
      c.equal(await c.call(a, "echo", 1), [1]);
    },
  },
  {
    name: "end: events in flight to a namespace that the server has left do no harm",
    clients: all,
    unofficial: () => true, // the official server closes the link
    async run(c) {
      const link = await c.link();
      const [root, chat] = [await link.open("/"), await link.open("/chat")];
      const left = c.next(chat, "disconnect");
      chat.emit("kick");
      for (let i = 0; i < 20; i++) chat.emit("echo", i);
      await left;
      c.equal(await c.call(root, "echo", "fine"), ["fine"]);
    },
  },
  {
    name: "end: the server breaks the link; the client comes back",
    clients: all,
    async run(c) {
      const link = await c.link({ reconnect: true });
      const [root, chat] = [await link.open("/"), await link.open("/chat")];
      const ids = [root.id, chat.id];
      const left = c.next(root, "disconnect");
      const back = [c.next(root, "connect"), c.next(chat, "connect")];
      root.emit("break");
      c.equal((await left)[0], "transport close");
      for (const id of ids) c.equal(await c.reason(id), "forced close", "the server's reason");
      await Promise.all(back);
      c.equal(await c.call(root, "echo", 1), [1]);
      c.equal(await c.call(chat, "echo", 2), [2]);
      c.ok(root.id !== ids[0], "the same id without recovery");
    },
  },
  {
    name: "end: the server restarts; the client comes back with what it emitted meanwhile",
    clients: all,
    async run(c) {
      const link = await c.link({ reconnect: true });
      const [root, chat] = [await link.open("/"), await link.open("/chat")];
      if (c.mode === "upgrade") await c.upgraded(root);
      const { id } = root;
      const left = [c.next(root, "disconnect"), c.next(chat, "disconnect")];
      const restarted = c.control("restart", { server: "main", millis: 150 });
      for (const end of left) c.oneOf((await end)[0], ["transport close", "transport error"], "the client's reason");
      const answers = Promise.all([c.answer(root, "echo", "meanwhile 😀"), c.answer(chat, "echo", "here, too")]);
      answers.catch(() => {}); // it is looked at below, if nothing else has failed before
      await restarted;
      c.equal(await answers, ["meanwhile 😀", "here, too"]);
      c.equal(await c.reason(id), "server shutting down", "the server's reason");
      if (c.mode === "upgrade") await c.upgraded(root);
    },
  },
  {
    name: "end: quick heartbeats keep a quiet link",
    clients: all,
    async run(c) {
      const socket = await c.connect("/", { server: "quick" });
      const ends = c.inbox(socket, "disconnect");
      await new Promise((resolve) => setTimeout(resolve, 7000)); // more than two intervals and timeouts
      c.equal(ends.list, [], "ends");
      c.equal(await c.call(socket, "echo", "alive"), ["alive"]);
    },
  },
  {
    name: "end: a client that says nothing any more",
    clients: all,
    // The official server's timer for 2.x clients ends with the upgrade.
    unofficial: (version, mode) => version === 2 && mode === "upgrade",
    async run(c) {
      const socket = await c.connect("/", { server: "quick" });
      if (c.mode === "upgrade") await c.upgraded(socket);
      const { id } = socket;
      socket.io.engine.pingTimeout = 60_000; // it does not notice by itself
      socket.io.engine.transport.send = () => {};
      c.equal(await c.reason(id, "quick"), "ping timeout", "the server's reason");
    },
  },
];
