// The MessagePack parser instead of the JSON one.

const server = "msgpack";
const modern = [3, 4]; // the package wants a client from 3.0

export default [
  {
    name: "msgpack: events and acknowledgements, text, numbers and binary",
    clients: modern,
    async run(c) {
      const socket = await c.connect("/", { server });
      c.equal(await c.answer(socket, "id"), socket.id);
      const back = c.inbox(socket, "echo");
      const rows = [[], [1, -1, 127, 128, -129, 65536, 4294967296, 9007199254740991, 0.5, -1.25e-300], ["😀", "", "x".repeat(70_000)],
        [null, true, [], {}, { a: [{ b: null }] }], [c.rawBytes(0), c.rawBytes(300), { deep: [c.rawBytes(3)] }], Array.from({ length: 20 }, (_, i) => c.rawBytes(i))];
      for (const row of rows) socket.emit("echo", ...row);
      c.equal(await back.take(rows.length), rows);
      for (const row of rows) c.equal(await c.call(socket, "echo", ...row), row, "acknowledged");
    },
  },
  {
    name: "msgpack: acknowledgements from the client, rooms and broadcasts",
    clients: modern,
    async run(c) {
      const members = await c.connectAll(3, "/chat", { server });
      const inboxes = members.map((s) => c.inbox(s, "news"));
      for (const s of members) {
        await c.call(s, "join", "room");
        s.on("vote", (question, ack) => ack({ question, data: c.rawBytes(4) }));
      }
      await c.call(members[0], "others", "room", "news", 1, { data: c.rawBytes(5) });
      const { answers, timedOut } = await c.answer(members[1], "poll", "room", 20_000, "vote", "?");
      c.equal(answers, Array(3).fill({ question: "?", data: c.rawBytes(4) }));
      c.equal(timedOut, false);
      const asked = await c.answer(members[2], "ask", 20_000, "vote", { n: 1 });
      c.equal(asked, { answers: [{ question: { n: 1 }, data: c.rawBytes(4) }], timedOut: false });
      c.equal(inboxes.map((inbox) => inbox.list), [[], [[1, { data: c.rawBytes(5) }]], [[1, { data: c.rawBytes(5) }]]]);
    },
  },
  {
    name: "msgpack: a handler's error",
    clients: modern,
    async run(c) {
      const socket = await c.connect("/", { server });
      const details = { until: [1, { x: null }], "ü": 0.5 };
      c.equal(await c.call(socket, "fail", "E1", "no", details), [{ error: { code: "E1", message: "no", details } }]);
    },
  },
  {
    name: "msgpack: what the parser has extensions for: typed arrays, dates, undefined",
    clients: modern,
    browser: false, // there, typed arrays become objects
    async run(c) {
      const socket = await c.connect("/", { server });
      const lists = [0, 1, 2, 4, 7, 8, 9, 300].map((n) => [c.bytes(n), { deep: [c.bytes(n).buffer] }]);
      for (const list of lists) c.equal(await c.call(socket, "echo", ...list), list);
      const date = new Date("2026-11-21T10:20:30.456Z");
      const [echoed, { nested }, none] = await c.call(socket, "echo", date, { nested: date }, undefined);
      c.equal([echoed, nested].map((d) => new Date(d).getTime()), [date.getTime(), date.getTime()]);
      c.ok(none === undefined || none === null, `undefined became ${none}`);
      socket.on("question", (ack) => ack(c.bytes(8), { deep: c.bytes(1) }));
      c.equal(await c.answer(socket, "ask", 20_000, "question"), { answers: [c.bytes(8), { deep: c.bytes(1) }], timedOut: false });
    },
  },
  {
    name: "msgpack: namespaces, auth, refusals, disconnects",
    clients: modern,
    async run(c) {
      const link = await c.link({ server });
      const auth = { token: "secret", raw: [1, { x: null }] };
      const admitted = await link.open("/auth", auth);
      c.equal((await c.answer(admitted, "handshake")).auth, auth);
      c.equal((await c.refused(link.socket("/missing"))).message, "Invalid namespace");
      const refused = await c.refused((await c.link({ server })).socket("/auth", { token: "wrong" }));
      c.equal(refused, { message: "not authorized", data: { why: "token", given: "wrong" } });
      const { id } = admitted;
      const left = c.next(admitted, "disconnect");
      admitted.emit("kick");
      c.equal((await left)[0], "io server disconnect");
      c.equal(await c.reason(id, server), "server namespace disconnect");
    },
  },
];
