// Events and acknowledgements.
import { pause } from "./context.js";

const all = [2, 3, 4];

/** Values that JSON can say. */
const values = {
  text: ["plain", "", "ünï©ødé ✓", "😀👩‍👩‍👧‍👦🚀", "line\u2028and\u2029paragraph", "quote \" back \\ slash / tab \t nul \u0000 sep \u001e", "<script>&amp;</script>"],
  numbers: [0, 1, -1, 0.1, 1e-7, 1e21, 1.5e300, 9007199254740991, -9007199254740991, 4294967296],
  "large integers as text": ["12345678901234567890", "-9223372036854775808"],
  others: [null, true, false, [], {}, [[]], { a: { b: { c: [1, { d: null }] } } }, { "": "", "key with \"": 1, _placeholder: false }],
};

export default [
  {
    name: "events: several arguments of every kind come back as they were",
    clients: all,
    async run(c) {
      const socket = await c.connect();
      const back = c.inbox(socket, "echo");
      const rows = [[], ["one"], [1, "two", { three: [3] }, null, 5], ...Object.values(values)];
      for (const row of rows) socket.emit("echo", ...row);
      c.equal(await back.take(rows.length), rows);
      for (const row of rows) c.equal(await c.call(socket, "echo", ...row), row, "acknowledged");
    },
  },
  {
    name: "events: long text of many bytes a character",
    clients: all,
    async run(c) {
      const socket = await c.connect();
      const text = "aé✓😀".repeat(40_000);
      c.ok((await c.answer(socket, "echo", text)) === text, "the text came back changed");
      c.equal((await c.call(socket, "echo", "😀", text, "✓")).map((s) => s.length), [2, text.length, 1]);
    },
  },
  {
    name: "events: in order, hundreds each way",
    clients: all,
    async run(c) {
      const socket = await c.connect();
      const back = c.inbox(socket, "echo");
      for (let i = 0; i < 500; i++) socket.emit("echo", i, "x".repeat(i % 50));
      c.equal((await back.take(500)).map(([i]) => i), Array.from({ length: 500 }, (_, i) => i));
      const burst = c.inbox(socket, "burst");
      c.equal(await c.answer(socket, "burst", 500), 500);
      c.equal((await burst.take(500)).map(([i, rocket]) => [i, rocket.length / 2]), Array.from({ length: 500 }, (_, i) => [i, i % 4]));
    },
  },
  {
    name: "events: nothing is lost, doubled or reordered while the link upgrades",
    clients: all,
    modes: ["upgrade"],
    async run(c) {
      const socket = await c.connect();
      const [back, burst] = [c.inbox(socket, "echo"), c.inbox(socket, "burst")];
      let sent = 0;
      const upgraded = c.upgraded(socket);
      let going = true;
      upgraded.finally(() => (going = false));
      let bursts = 0;
      while (going || sent < 50) {
        socket.emit("echo", sent++, c.bytes(sent % 3));
        if (sent % 10 === 0) bursts += await c.answer(socket, "burst", 5);
        await pause(1);
      }
      await upgraded;
      for (let i = 0; i < 20; i++) socket.emit("echo", sent++, c.bytes(0));
      c.equal((await back.take(sent)).map(([i]) => i), Array.from({ length: sent }, (_, i) => i));
      c.equal((await burst.take(bursts)).map(([i]) => i), Array.from({ length: bursts }, (_, i) => i % 5));
      await c.settled(socket);
      c.equal([back.list.length, burst.list.length], [sent, bursts], "numbers of events");
    },
  },
  {
    name: "binary: alone, among others, nested, empty, as a slice",
    clients: all,
    async run(c) {
      const socket = await c.connect();
      const back = c.inbox(socket, "echo");
      const big = c.bytes(300);
      const rows = [
        [c.bytes(5)],
        [c.bytes(0)],
        [new Uint8Array(10).fill(7).buffer],
        ...(c.version === 2 ? [] : [[new Uint8Array(big.buffer, big.byteOffset + 100, 50)]]),
        ["a", c.bytes(3), 1, c.bytes(4, 99), null],
        [{ picture: c.bytes(20), of: { face: [c.bytes(1), { deep: c.bytes(2) }] }, name: "😀" }],
        [[c.bytes(1), [c.bytes(2), [c.bytes(3)]]], { plain: true }],
        Array.from({ length: 10 }, (_, i) => c.bytes(i)),
        [big, "text after", { _placeholder: false, num: 0 }],
      ];
      for (const row of rows) socket.emit("echo", ...row);
      c.equal(await back.take(rows.length), rows);
      for (const row of rows) c.equal(await c.call(socket, "echo", ...row), row, "acknowledged");
    },
  },
  {
    name: "binary: text and binary events in turn, on two namespaces",
    clients: all,
    async run(c) {
      const link = await c.link();
      const sockets = [await link.open("/"), await link.open("/chat")];
      const inboxes = sockets.map((s) => c.inbox(s, "echo"));
      for (let i = 0; i < 60; i++) sockets[i % 2].emit("echo", i, i % 3 ? "text" : { b: c.bytes(i) });
      for (const [which, inbox] of inboxes.entries()) {
        const want = Array.from({ length: 30 }, (_, n) => 2 * n + which).map((i) => [i, i % 3 ? "text" : { b: c.bytes(i) }]);
        c.equal(await inbox.take(30), want);
      }
    },
  },
  {
    name: "binary: a megabyte each way",
    clients: all,
    async run(c) {
      const socket = await c.connect();
      const big = c.bytes(1 << 20);
      c.equal(await c.call(socket, "echo", big), [big]);
      const back = c.inbox(socket, "echo");
      socket.emit("echo", { name: "big", data: big, more: [c.bytes(3)] });
      socket.emit("echo", "and small after it");
      c.equal(await back.take(2), [[{ name: "big", data: big, more: [c.bytes(3)] }], ["and small after it"]]);
    },
  },
  {
    name: "acks: none, one, several arguments; binary; a hundred at once",
    clients: all,
    async run(c) {
      const socket = await c.connect();
      c.equal(await c.call(socket, "echo"), []);
      c.equal(await c.call(socket, "echo", 1), [1]);
      c.equal(await c.call(socket, "echo", 1, [2], { b: c.bytes(9) }), [1, [2], { b: c.bytes(9) }]);
      const answers = await Promise.all(Array.from({ length: 100 }, (_, i) => c.call(socket, "echo", i, i % 7 ? "t" : c.bytes(i))));
      c.equal(answers, Array.from({ length: 100 }, (_, i) => [i, i % 7 ? "t" : c.bytes(i)]));
    },
  },
  {
    name: "acks: a handler's error",
    clients: all,
    async run(c) {
      const socket = await c.connect();
      c.equal(await c.call(socket, "fail", "conflict", "not now 😀"), [{ error: { code: "conflict", message: "not now 😀" } }]);
      const details = { until: [1, { x: null }], "ü": 0.5 };
      c.equal(await c.call(socket, "fail", "E1", "", details), [{ error: { code: "E1", message: "", details } }]);
      c.equal(await c.call(socket, "echo", 1), [1]);
    },
  },
  {
    name: "acks: from the client, with several and with binary arguments",
    clients: all,
    async run(c) {
      const socket = await c.connect();
      socket.on("question", (n, data, ack) => ack(n * 2, data, { nested: data }));
      const first = await c.answer(socket, "ask", 20_000, "question", 21, c.bytes(6));
      c.equal(first, { answers: [42, c.bytes(6), { nested: c.bytes(6) }], timedOut: false });
      socket.on("nothing", (ack) => ack());
      c.equal(await c.answer(socket, "ask", 20_000, "nothing"), { answers: [], timedOut: false });
    },
  },
  {
    name: "acks: a client that never answers, one that answers too late",
    clients: all,
    async run(c) {
      const socket = await c.connect();
      c.equal(await c.answer(socket, "ask", 60, "unheard"), { answers: [], timedOut: true });
      const late = c.inbox(socket, "late");
      c.equal(await c.answer(socket, "ask", 60, "late"), { answers: [], timedOut: true });
      late.acks[0]("too late");
      socket.on("question", (ack) => ack("in time"));
      c.equal(await c.answer(socket, "ask", 20_000, "question"), { answers: ["in time"], timedOut: false });
    },
  },
  {
    name: "acks: the client's own timeout",
    clients: [4],
    async run(c) {
      const socket = await c.connect();
      const err = await new Promise((resolve) => socket.timeout(50).emit("silent", 1, resolve));
      c.equal(err?.message, "operation has timed out");
      c.equal(await socket.timeout(20_000).emitWithAck("echo", "a", "b"), "a");
      await socket.timeout(50).emitWithAck("silent").then(
        () => c.ok(false, "an answer to a silent event"),
        (e) => c.equal(e.message, "operation has timed out"),
      );
    },
  },
  {
    name: "acks: the client's retries end with the first answer",
    clients: [4],
    async run(c) {
      const link = await c.link();
      const socket = await link.open("/", undefined, { retries: 3, ackTimeout: 2000 });
      const answers = await Promise.all([1, 2, 3].map((n) => c.call(socket, "echo", n)));
      c.equal(answers, [[null, 1], [null, 2], [null, 3]]);
    },
  },
  {
    name: "catch-all: the server's handler gets what no other does",
    clients: all,
    async run(c) {
      const socket = await c.connect();
      const caught = c.inbox(socket, "caught");
      socket.emit("surprise", 1, c.bytes(2));
      socket.emit("ünknown 😀 event");
      c.equal(await caught.take(2), [["surprise", 1, c.bytes(2)], ["ünknown 😀 event"]]);
      c.equal(await c.call(socket, "another", "x"), ["another", "x"]);
      socket.emit("message", "send");
      c.equal((await caught.take(3))[2], ["message", "send"]);
    },
  },
  {
    name: "catch-all: the client's listener gets every event",
    clients: [3, 4],
    async run(c) {
      const socket = await c.connect();
      const got = [];
      socket.onAny((kind, ...args) => got.push([kind, ...args]));
      const back = c.inbox(socket, "echo");
      socket.emit("echo", 1, c.bytes(1));
      await back.take(1);
      await c.call(socket, "burst", 1);
      c.equal(got, [["echo", 1, c.bytes(1)], ["burst", 0, ""]]);
    },
  },
  {
    name: "volatile: on a link that is ready the first arrives, in order, before what follows",
    clients: all,
    async run(c) {
      const socket = await c.connect();
      if (c.mode === "upgrade") await c.upgraded(socket);
      const flash = c.inbox(socket, "flash");
      let got = [];
      // A poll may not be there, or what was written before not be done, when a
      // volatile event is sent: then the first is lost, and it is asked for again.
      for (let i = 0; i < 20 && got[0] !== 0; i++) {
        const before = flash.list.length;
        c.equal(await c.answer(socket, "volatile", 3), 3);
        got = flash.list.slice(before).map(([i]) => i); // they come before the answer
        c.equal(got, [...got].sort(), "order");
      }
      c.equal(got[0], 0, "the first, in 20 attempts");
      await c.settled(socket);
      c.equal(flash.list.slice(-got.length).map(([i]) => i), got, "what came later");
    },
  },
  {
    name: "volatile: nothing waits for a client that does not poll",
    clients: all,
    modes: ["polling"],
    async run(c) {
      const socket = await c.connect();
      const flash = c.inbox(socket, "flash");
      const transport = socket.io.engine.transport;
      const name = typeof transport._poll === "function" ? "_poll" : "poll";
      const poll = transport[name].bind(transport);
      const paused = new Promise((resolve) => (transport[name] = resolve));
      socket.emit("echo", "ends the poll that is open");
      await paused;
      await c.drained(socket);
      const answer = c.answer(socket, "volatile", 3);
      await c.drained(socket);
      delete transport[name];
      poll();
      c.equal(await answer, 3, "what is not volatile has waited");
      await c.settled(socket);
      c.equal(flash.list, [], "volatile events");
    },
  },
  {
    name: "volatile: from the client, when connected",
    clients: [3, 4],
    async run(c) {
      const socket = await c.connect();
      const back = c.inbox(socket, "echo");
      // A transport is not writable just after it has sent something.
      for (let i = 0; i < 50 && back.list.length === 0; i++) {
        await pause(5);
        socket.volatile.emit("echo", "flash");
        await c.settled(socket);
      }
      c.equal(back.list[0], ["flash"]);
    },
  },
];
