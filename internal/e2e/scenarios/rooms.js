// Rooms, broadcasts, and broadcasts with acknowledgements.

const all = [2, 3, 4];

export default [
  {
    name: "rooms: joined, left, joined twice; several at once",
    clients: all,
    async run(c) {
      const [a, b] = await c.connectAll(2);
      const inbox = c.inbox(b, "news");
      for (const room of ["red", "blue", "red"]) await c.call(b, "join", room);
      c.equal(await c.answer(b, "rooms"), ["blue", "red"]);
      c.equal(await c.answer(a, "rooms"), []);
      await c.call(a, "say", "red", "news", 1);
      await c.call(a, "say", "green", "news", 2);
      await c.call(b, "leave", "red");
      await c.call(a, "say", "red", "news", 3);
      await c.call(a, "say", "blue", "news", 4, "more", c.bytes(3));
      await c.settled(b);
      c.equal(inbox.list, [[1], [4, "more", c.bytes(3)]]);
      c.equal(await c.answer(b, "rooms"), ["blue"]);
    },
  },
  {
    name: "rooms: a broken link leaves them",
    clients: all,
    async run(c) {
      const [a, b] = await c.connectAll(2);
      await c.call(a, "join", "here");
      await c.call(b, "join", "here");
      const { id } = b;
      c.breakLink(b);
      c.oneOf(await c.reason(id), ["transport close", "transport error"], "the server's reason");
      const news = c.inbox(a, "vote");
      c.equal(await c.answer(a, "poll", "here", 60, "vote", 1), { answers: [], timedOut: true }); // one member: a, which does not answer
      c.equal(news.list, [[1]]);
    },
  },
  {
    name: "rooms: others, except, each member once",
    clients: all,
    async run(c) {
      const [a, b, d] = await c.connectAll(3);
      const inboxes = [a, b, d].map((s) => c.inbox(s, "news"));
      await Promise.all([a, b, d].map((s) => c.call(s, "join", "everyone")));
      await c.call(b, "join", "muted");
      await c.call(d, "join", "second");
      await c.call(a, "others", "everyone", "news", "others");
      await c.call(a, "except", ["everyone", "second"], "muted", "news", "except", c.bytes(2));
      await c.call(a, "except", ["second", "muted"], ["nobody"], "news", "two rooms");
      await c.settled(a, b, d);
      const [others, except, two] = [["others"], ["except", c.bytes(2)], ["two rooms"]];
      c.equal(inboxes.map((inbox) => inbox.list), [[except], [others, two], [others, except, two]]);
    },
  },
  {
    name: "broadcast: to all and to the rest, in one namespace only",
    clients: all,
    async run(c) {
      const [a, b] = await c.connectAll(2, "/chat");
      const outside = await c.connect();
      const inboxes = [a, b, outside].map((s) => c.inbox(s, "news"));
      await c.call(a, "all", "news", 1, "two", { three: c.bytes(3) });
      await c.call(a, "rest", "news", "not for the sender");
      await c.settled(a, b, outside);
      const first = [1, "two", { three: c.bytes(3) }];
      c.equal(inboxes.map((inbox) => inbox.list), [[first], [first, ["not for the sender"]], []]);
    },
  },
  {
    name: "broadcast: 30 events from each of 4 members, in each sender's order",
    clients: all,
    async run(c) {
      const members = await c.connectAll(4);
      await Promise.all(members.map((s) => c.call(s, "join", "crowd")));
      const inboxes = members.map((s) => c.inbox(s, "news"));
      for (let i = 0; i < 30; i++) {
        for (const [who, s] of members.entries()) s.emit("say", "crowd", "news", who, i, i % 5 ? "😀" : c.bytes(i), () => {});
      }
      for (const inbox of inboxes) {
        const got = await inbox.take(120);
        for (const who of members.keys()) {
          const of = got.filter(([sender]) => sender === who).map(([, ...args]) => args);
          c.equal(of, Array.from({ length: 30 }, (_, i) => [i, i % 5 ? "😀" : c.bytes(i)]));
        }
      }
      await c.settled(...members);
      c.equal(inboxes.map((inbox) => inbox.list.length), [120, 120, 120, 120]);
    },
  },
  {
    name: "broadcast with acknowledgements: all answer",
    clients: all,
    async run(c) {
      const members = await c.connectAll(3);
      for (const [i, s] of members.entries()) {
        await c.call(s, "join", "jury");
        s.on("vote", (question, ack) => ack({ juror: i, question }));
      }
      const { answers, timedOut } = await c.answer(members[0], "poll", "jury", 20_000, "vote", "guilty?");
      answers.sort((a, b) => a.juror - b.juror);
      c.equal(answers, [0, 1, 2].map((juror) => ({ juror, question: "guilty?" })));
      c.equal(timedOut, false);
    },
  },
  {
    name: "broadcast with acknowledgements: binary answers",
    clients: all,
    async run(c) {
      const members = await c.connectAll(2);
      for (const s of members) {
        await c.call(s, "join", "album");
        s.on("picture", (of, ack) => ack(of));
      }
      const { answers } = await c.answer(members[0], "poll", "album", 20_000, "picture", c.bytes(12));
      c.equal(answers, [c.bytes(12), c.bytes(12)]);
    },
  },
  {
    name: "broadcast with acknowledgements: one client dead, the others' answers are there",
    clients: all,
    async run(c) {
      const members = await c.connectAll(3);
      for (const s of members) await c.call(s, "join", "jury");
      members[0].on("vote", (_, ack) => ack("yes"));
      members[1].on("vote", (_, ack) => ack("no"));
      members[2].io.engine.transport.send = () => {}; // it hears, and never says a word again
      // Those who live have a quarter of a second; on a machine that is too busy for that, more.
      let answers, timedOut;
      for (const millis of [250, 1000, 8000]) {
        ({ answers, timedOut } = await c.answer(members[0], "poll", "jury", millis, "vote", 1));
        if (answers.length >= 2) break;
      }
      c.equal([...answers].sort(), ["no", "yes"]);
      c.equal(timedOut, true);
    },
  },
  {
    name: "broadcast with acknowledgements: nobody there",
    clients: all,
    async run(c) {
      const socket = await c.connect();
      c.equal(await c.answer(socket, "poll", "empty", 20_000, "vote", 1), { answers: [], timedOut: false });
    },
  },
];
