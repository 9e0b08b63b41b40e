// Connecting: transports, namespaces, auth.
import { show } from "./same.js";

const all = [2, 3, 4];
const modern = [3, 4];

export default [
  {
    name: "connect: the id is the server's, the transport as asked",
    clients: all,
    async run(c) {
      const socket = await c.connect();
      c.ok(socket.connected && socket.id, "not connected");
      c.equal(await c.answer(socket, "id"), socket.id, "the server's id");
      if (c.mode === "upgrade") await c.upgraded(socket);
      else c.equal(socket.io.engine.transport.name, c.mode, "transport");
      c.equal(await c.call(socket, "echo", "still here"), ["still here"]);
    },
  },
  {
    name: "connect: the engine's id is not the socket's",
    clients: modern,
    async run(c) {
      const link = await c.link();
      const [root, chat] = [await link.open("/"), await link.open("/chat")];
      c.equal(new Set([root.id, chat.id, link.manager.engine.id]).size, 3, "number of different ids");
      c.equal(await c.answer(chat, "id"), chat.id);
    },
  },
  {
    name: "connect: ids as a 2.x client computes them",
    clients: [2],
    async run(c) {
      const link = await c.link();
      const [root, chat] = [await link.open("/"), await link.open("/chat")];
      c.equal(root.id, link.manager.engine.id);
      c.equal(chat.id, `/chat#${link.manager.engine.id}`);
      c.equal(await c.answer(chat, "id"), chat.id);
    },
  },
  {
    name: "connect: many clients at once",
    clients: all,
    async run(c) {
      const n = c.browser && c.mode === "polling" ? 4 : 20; // browsers have six connections to a host
      const sockets = await c.connectAll(n);
      c.equal(new Set(sockets.map((s) => s.id)).size, n, "different ids");
      const answers = await Promise.all(sockets.map((s, i) => c.answer(s, "echo", i)));
      c.equal(answers, sockets.map((_, i) => i));
    },
  },
  {
    name: "connect: a client that cannot do binary",
    clients: all,
    async run(c) {
      const socket = await c.connect("/", { forceBase64: true });
      const back = c.inbox(socket, "echo");
      socket.emit("echo", c.bytes(40), "✓", { nested: c.bytes(0) });
      c.equal(await back.take(1), [[c.bytes(40), "✓", { nested: c.bytes(0) }]]);
      if (c.mode === "upgrade") await c.upgraded(socket);
      c.equal(await c.call(socket, "echo", c.bytes(41)), [c.bytes(41)]);
    },
  },
  {
    name: "connect: by script elements, as browsers without cross-origin requests did",
    clients: [2],
    modes: ["polling"],
    browser: true,
    async run(c) {
      const socket = await c.connect("/", { forceJSONP: true });
      c.equal(socket.io.engine.transport.constructor.name.includes("XHR"), false, "by XMLHttpRequest");
      for (const text of ["plain", "quote \" back \\ slash \\n \n", "line\u2028and\u2029paragraph 😀", "é".repeat(3000)]) {
        c.equal(await c.call(socket, "echo", text, { [text]: 1 }), [text, { [text]: 1 }]);
      }
      c.equal(await c.call(socket, "echo", c.bytes(20)), [c.bytes(20)]);
    },
  },
  {
    name: "connect: a Blob",
    clients: modern,
    browser: true,
    async run(c) {
      const socket = await c.connect();
      c.equal(await c.call(socket, "echo", new Blob([c.bytes(30), c.bytes(5)]), 1), [new Uint8Array([...c.bytes(30), ...c.bytes(5)]), 1]);
    },
  },
  {
    name: "connect: a WebSocket subprotocol that the client offers",
    clients: all,
    modes: ["websocket", "upgrade"],
    async run(c) {
      const socket = await c.connect("/", { protocols: ["chat-v1", "chat-v2"] });
      if (c.mode === "upgrade") await c.upgraded(socket);
      c.equal(await c.call(socket, "echo", "fine"), ["fine"]);
    },
  },
  {
    name: "connect: the request's query and headers reach the handlers",
    clients: all,
    async run(c) {
      const headers = c.browser ? {} : { extraHeaders: { "x-test": "a header" } };
      const socket = await c.connect("/", { query: { tag: "a tag & more" }, ...headers });
      const { tag, header } = await c.answer(socket, "handshake");
      c.equal(tag, "a tag & more");
      // 2.x clients in Node send extra headers, too.
      c.equal(header, c.browser ? "" : "a header");
    },
  },
  {
    name: "namespaces: several on one link, each with its own events and rooms",
    clients: all,
    async run(c) {
      const link = await c.link();
      const names = ["/", "/chat", "/room-1", "/room-2"];
      const sockets = await Promise.all(names.map((name) => link.open(name)));
      c.ok(sockets.every((s) => s.io.engine === link.manager.engine), "more than one link");
      const inboxes = sockets.map((s) => c.inbox(s, "news"));
      for (const socket of sockets) await c.call(socket, "join", "same name");
      for (const [i, socket] of sockets.entries()) await c.call(socket, "say", "same name", "news", names[i]);
      await c.settled(...sockets);
      c.equal(inboxes.map((inbox) => inbox.list), names.map((name) => [[name]]), "what each namespace got");
    },
  },
  {
    name: "namespaces: leaving one leaves the others, and one may come back",
    clients: all,
    async run(c) {
      const link = await c.link();
      const [root, chat] = [await link.open("/"), await link.open("/chat")];
      const id = chat.id;
      const left = c.next(chat, "disconnect");
      chat.disconnect();
      c.equal((await left)[0], "io client disconnect");
      c.equal(await c.reason(id), "client namespace disconnect", "the server's reason");
      c.equal(await c.call(root, "echo", 1), [1]);
      chat.connect();
      await c.connected(chat);
      c.equal(await c.call(chat, "echo", 2), [2]);
      c.equal(await c.answer(chat, "id"), chat.id);
    },
  },
  {
    name: "namespaces: an unknown one is refused, the link stays",
    clients: all,
    async run(c) {
      const link = await c.link();
      const root = await link.open("/");
      const { message } = await c.refused(link.socket("/missing"));
      c.equal(message, "Invalid namespace");
      const { message: other } = await c.refused(link.socket("/room-x"));
      c.equal(other, "Invalid namespace");
      c.equal(await c.call(root, "echo", "fine"), ["fine"]);
    },
  },
  {
    name: "namespaces: an event sent on connection is the first to arrive",
    clients: all,
    async run(c) {
      const link = await c.link();
      const chat = link.socket("/chat");
      const hello = c.inbox(chat, "hello");
      await c.connected(chat);
      c.equal(await hello.take(1), [[chat.id, "from the server"]]);
    },
  },
  {
    name: "namespaces: dynamic ones are apart from each other",
    clients: all,
    async run(c) {
      const [a, b, other] = [await c.connect("/room-11"), await c.connect("/room-11"), await c.connect("/room-12")];
      const inboxes = [a, b, other].map((s) => c.inbox(s, "news"));
      await c.call(a, "all", "news", "for 11");
      await c.settled(a, b, other);
      c.equal(inboxes.map((inbox) => inbox.list), [[["for 11"]], [["for 11"]], []]);
    },
  },
  {
    name: "auth: accepted, and the handlers see it",
    clients: all,
    async run(c) {
      const auth = { token: "secret", user: "zoë 😀" };
      const socket = await c.connect("/auth", { auth });
      c.equal((await c.answer(socket, "handshake")).auth, auth);
    },
  },
  {
    name: "auth: a function that is asked at each attempt",
    clients: modern,
    async run(c) {
      const link = await c.link();
      const tokens = ["wrong", "secret"];
      const socket = link.socket("/auth", (give) => give({ token: tokens.shift(), nested: { n: [1, null] } }));
      c.equal((await c.refused(socket)).message, "not authorized");
      socket.connect();
      await c.connected(socket);
      c.equal((await c.answer(socket, "handshake")).auth, { token: "secret", nested: { n: [1, null] } });
    },
  },
  {
    name: "auth: refused with data, the link and other namespaces stay",
    clients: all,
    async run(c) {
      const link = await c.link();
      const root = await link.open("/");
      const socket = link.socket("/auth", { token: "wrong" });
      const { message, data } = await c.refused(socket);
      if (c.version !== 2) c.equal(message, "not authorized"); // a 2.x client gets the data alone
      c.equal(data, { why: "token", given: "wrong" });
      c.ok(!socket.connected, "connected after a refusal");
      c.equal(await c.call(root, "echo", "fine"), ["fine"]);
    },
  },
  {
    name: "auth: events emitted before the connection wait for it",
    clients: all,
    async run(c) {
      const link = await c.link();
      const socket = link.socket("/auth", { token: "secret" });
      const answers = await Promise.all([c.answer(socket, "echo", "first"), c.answer(socket, "echo", "second")]);
      c.equal(answers, ["first", "second"], `answers of ${show(socket.id)}`);
    },
  },
];
