// What the client does with a real server, in Node and in browsers. Each
// scenario gets the constructor of a WebSocket, and the URL of routes that do
// something to the server; internal/e2e has them.
import { Client, PolywireError } from "../polywire.js";

/** Fails with both sides if they differ. Bytes are lists of numbers here. */
function same(got, want, what = "") {
  const text = (value) => JSON.stringify(value, (_, v) => (v instanceof Uint8Array ? { bytes: [...v] } : v));
  if (text(got) !== text(want)) throw new Error(`${what}\n got ${text(got)}\nwant ${text(want)}`.slice(0, 2000));
}

async function rejects(promise, want) {
  const thrown = await promise.then(
    (value) => new Error(`resolved with ${JSON.stringify(value)}`),
    (error) => error,
  );
  for (const [name, value] of Object.entries(want)) same(thrown[name], value, `${thrown}: ${name}`);
}

/** Waits until something holds. */
async function until(what, holds) {
  for (let i = 0; i < 3600; i++) {
    if (holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  throw new Error(`not within 90 s: ${what}`);
}

/** A client that notes what happens to it, connected. */
async function connect({ control, WebSocket, clients }, options = {}) {
  const ask = async (verb, query = {}) => {
    const answer = await fetch(`${control}${verb}?${new URLSearchParams(query)}`);
    if (!answer.ok) throw new Error(`${verb}: ${await answer.text()}`);
    return answer.json();
  };
  const { url } = await ask("url");
  const client = new Client(url, { WebSocket, backoff: { min: 10, max: 100 }, logger: null, ...options });
  clients.push(client);
  const told = { connect: [], disconnect: [], recovered: [], presence: [], error: [] };
  for (const name of Object.keys(told)) client.on(name, (event) => told[name].push(event));
  const numbers = [];
  client.handle("n", ({ n }, { room }) => room.startsWith("log") && numbers.push(n));
  await client.connect();
  return { client, ask, told, numbers };
}

const upTo = (n) => Array.from({ length: n }, (_, i) => i);

/** Plays a scenario, and closes its clients however it ends. */
export async function play({ run }, env) {
  const clients = [];
  try {
    await run({ ...env, clients });
  } finally {
    for (const client of clients) await client.close();
  }
}

/** Scenarios by name; those that need more than a WebSocket say so. */
export const scenarios = {
  "calls both ways, with all that JSON can say": {
    async run(env) {
      const { client, told } = await connect(env);
      client.handle("double", (n) => n * 2);
      for (const value of [null, 0, "", "ä€😀\u0000", [1, [2]], { a: { b: null } }, true]) {
        same(await client.call("echo", value), value);
      }
      same(await client.call("echo"), undefined);
      same(await client.call("twice", 21), 42);
      const many = await Promise.all(upTo(50).map((n) => client.call("twice", n)));
      same(many, upTo(50).map((n) => n * 2));
      same(told.error, []);
      await client.close();
    },
  },

  "bytes both ways": {
    async run(env) {
      const { client } = await connect(env);
      const bytes = new Uint8Array(100_000).map((_, i) => i % 251);
      const back = await client.call("echo", bytes);
      if (!(back instanceof Uint8Array)) throw new Error(`${back}`);
      same(back, bytes);
      same(await client.call("echo", new Uint8Array()), new Uint8Array());
      client.handle("double", (got) => new Uint8Array([...got, ...got]));
      same(await client.call("twice", new Uint8Array([0, 255]).buffer), new Uint8Array([0, 255, 0, 255]));
      await client.close();
    },
  },

  "calls that fail, take too long, and are given up": {
    async run(env) {
      const { client } = await connect(env);
      await rejects(client.call("fail"), { code: "shop.sold_out", message: "none left", details: { left: 0 }, remote: true });
      await rejects(client.call("nobody.has.this"), { code: "not_found", remote: true });
      await rejects(client.call("twice", 1), { code: "not_found" }); // what it calls here
      await rejects(client.call("never", null, { timeout: 50 }), { code: "deadline_exceeded", remote: false });
      await rejects(client.call("never", null, { signal: AbortSignal.timeout(50) }), { name: "TimeoutError" });
      const open = rejects(client.call("never"), { code: "unavailable", remote: false });
      same(await client.call("echo", 1), 1); // the connection is as good as before
      await client.close();
      await open;
    },
  },

  "close codes say whether to come back": {
    async run(env) {
      const { client, ask, told } = await connect(env);
      for (const code of [3011, 4000, 4499]) {
        const connections = told.connect.length;
        await ask("kick", { id: client.id, code });
        await until(`back after ${code}`, () => told.connect.length > connections);
      }
      same(told.disconnect, [3011, 4000, 4499].map((code) => ({ code, reason: "kicked", reconnect: true })));
      await ask("kick", { id: client.id, code: 3503 });
      await until("the end", () => client.status === "closed");
      same(told.disconnect.at(-1), { code: 3503, reason: "kicked", reconnect: false });
      await client.connect(); // if the program wants to
      same(await client.call("echo", 1), 1);
      await client.close();
    },
  },

  "the server is restarted: rooms, what was missed, and presence": {
    async run(env) {
      const { client, ask, told, numbers } = await connect(env);
      const room = `log.${Math.random()}`;
      await client.setPresence({ mood: "good" });
      await client.subscribe(room);
      await client.subscribe(`chat.${room}`);
      await ask("send", { room, from: 0, to: 5 });
      await ask("restart");
      await ask("send", { room, from: 5, to: 10 }); // perhaps before the client is back
      await until("all messages", () => numbers.length >= 10);
      await until("the word that it is all", () => told.recovered.length > 0); // which comes after them
      same(numbers, upTo(10));
      same(told.recovered, [{ room, recovered: true }]);
      same(told.disconnect.map((d) => [d.code, d.reconnect]), [[3001, true]]);
      same(told.connect.map((c) => c.reconnected), [false, true]);
      const [me, ...more] = await client.presence(`chat.${room}`);
      same([me.id, me.value, more], [client.id, { mood: "good" }, []]);
      same(told.error, []);
      await client.close();
    },
  },

  "the connection is cut again and again": {
    async run(env) {
      const { client, ask, told, numbers } = await connect(env);
      const room = `log.${Math.random()}`;
      await client.subscribe(room);
      for (let i = 0; i < 5; i++) {
        const connections = told.connect.length;
        await ask("send", { room, from: i * 40, to: i * 40 + 20 });
        await ask("cut");
        await ask("send", { room, from: i * 40 + 20, to: i * 40 + 40 });
        await until("the loss", () => client.status === "connecting");
        await ask("resume");
        await until("the next connection", () => told.connect.length > connections);
      }
      await until("all messages", () => numbers.length >= 200);
      same(numbers, upTo(200));
      same(new Set(told.recovered.map((r) => r.recovered)).has(false), false);
      same(told.error, []);
      await client.close();
    },
  },

  "nothing comes through any more: the heartbeat notices": {
    async run(env) {
      const { client, ask, told, numbers } = await connect(env, {
        heartbeat: { interval: 200, timeout: 3000 },
        openTimeout: 10_000,
      });
      const room = `log.${Math.random()}`;
      await client.subscribe(room);
      await ask("hole");
      await ask("send", { room, from: 0, to: 3 });
      const call = rejects(client.call("echo"), { code: "unavailable", remote: false });
      await until("the loss", () => told.disconnect.length > 0);
      same(told.disconnect[0].code, 3012);
      await call;
      await ask("resume");
      await until("all messages", () => numbers.length >= 3);
      same(numbers, upTo(3));
      await client.close();
    },
  },

  "a reader that is too slow is sent away, and gets what it missed": {
    needs: "a WebSocket that can be paused",
    async run(env) {
      const { client, ask, numbers, told } = await connect(env);
      const room = `log.${Math.random()}`;
      const flood = `flood.${Math.random()}`; // without a history
      await client.subscribe(room);
      await client.subscribe(flood);
      const { id } = client;
      const slow = env.WebSocket.last;
      slow.pause();
      await ask("send", { room, from: 0, to: 5 });
      // How much the network takes before anybody notices is the machine's affair.
      let flooding = true;
      const reasons = ask("reason", { id }).finally(() => (flooding = false));
      const floods = (async () => {
        while (flooding) await ask("send", { room: flood, from: 0, to: 100, size: 60_000 });
      })();
      const [{ reason }] = await Promise.all([reasons, floods]);
      if (!reason.includes("slow")) throw new Error(`it was sent away for ${JSON.stringify(reason)}`);
      await ask("send", { room, from: 5, to: 10 });
      slow.resume();
      await until("all messages", () => numbers.length >= 10);
      await until("the word that it is all", () => told.recovered.length > 0); // which comes after them
      same(numbers, upTo(10));
      same(told.recovered, [{ room, recovered: true }]);
      same(told.error, []);
      await client.close();
    },
  },

  "who comes, changes and goes": {
    async run(env) {
      const a = await connect(env);
      const b = await connect(env);
      const room = `chat.${Math.random()}`;
      await a.client.subscribe(room);
      await b.client.setPresence("here");
      await b.client.subscribe(room);
      await until("b to come", () => a.told.presence.length >= 1);
      const listed = await a.client.presence(room);
      same(listed.map((m) => [m.id, m.value]), [[a.client.id, undefined], [b.client.id, "here"]]);
      const { id } = b.client;
      await b.client.setPresence({ away: true });
      await until("b to change", () => a.told.presence.length >= 2);
      await b.client.close();
      await until("b to go", () => a.told.presence.length >= 3);
      same(
        a.told.presence.map((e) => [e.room, e.change, e.member.id, e.member.value]),
        [[room, "joined", id, "here"], [room, "changed", id, { away: true }], [room, "left", id, { away: true }]],
      );
      await rejects(a.client.setPresence("x".repeat(5000)), { code: "bad_request", remote: true });
      await a.client.close();
    },
  },

  "what goes wrong in listeners and handlers is told, and harms nobody": {
    async run(env) {
      const { client, ask, told } = await connect(env);
      client.on("disconnect", async () => {
        throw new Error("from a listener");
      });
      client.handle("double", async () => {
        throw new Error("secret");
      });
      await rejects(client.call("twice", 1), { code: "internal" });
      await ask("kick", { id: client.id, code: 3011 });
      await until("back", () => told.connect.length > 1);
      same(told.error.map((e) => [e.message, e instanceof PolywireError]), [["secret", false], ["from a listener", false]]);
      await client.close();
    },
  },
};
