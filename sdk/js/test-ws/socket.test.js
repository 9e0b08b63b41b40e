// The client on a real socket: the package ws as WebSocket, and the global
// one where Node has it (>= 22).
import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { WebSocket, WebSocketServer } from "ws";
import { Client } from "../polywire.js";

/** A server of a few kinds that keeps its connections for the test to break. */
async function serve(t) {
  const server = new WebSocketServer({ host: "127.0.0.1", port: 0, handleProtocols: (offered) => [...offered][0] });
  t.after(() => {
    for (const socket of server.clients) socket.terminate();
    return new Promise((resolve) => server.close(resolve));
  });
  await once(server, "listening");
  const links = [];
  server.on("connection", (socket) => {
    const say = (packet) => socket.send(JSON.stringify(packet));
    links.push({ socket, say, got: [] });
    const { got } = links.at(-1);
    socket.on("message", (data, isBinary) => {
      assert.equal(isBinary, false);
      const packet = JSON.parse(String(data));
      got.push(packet);
      if (packet.type === "hello") return say({ type: "welcome", key: `c${links.length}` });
      if (packet.kind === "fail") return say({ type: "error", id: packet.id, error: { code: "no", message: "never" } });
      if (packet.id && packet.type !== "reply") say({ type: "reply", id: packet.id, payload: packet.payload, data: packet.data });
    });
  });
  return { url: `ws://127.0.0.1:${server.address().port}/polywire`, links };
}

const constructors = { ws: WebSocket, ...(globalThis.WebSocket && { global: globalThis.WebSocket }) };

for (const [name, constructor] of Object.entries(constructors)) {
  test(`${name}: calls both ways, bytes, errors, close`, async (t) => {
    const { url, links } = await serve(t);
    const client = new Client(url, { WebSocket: constructor, headers: { authorization: "x" } });
    client.handle("double", (n) => n * 2);
    await client.connect();
    const [link] = links;
    assert.equal(link.socket.protocol, "polywire.v1.json");
    assert.deepEqual(link.got[0], { type: "hello", headers: { authorization: "x" } });
    assert.deepEqual(await client.call("echo", { ä: "✓" }), { ä: "✓" });
    assert.deepEqual(await client.call("echo", new Uint8Array([1, 2])), new Uint8Array([1, 2]));
    await assert.rejects(client.call("fail"), { code: "no", message: "never", remote: true });
    link.say({ type: "call", id: 5, kind: "double", payload: 4 });
    const [data] = await once(link.socket, "message");
    assert.deepEqual(JSON.parse(String(data)), { type: "reply", id: 5, payload: 8 });
    const closed = once(link.socket, "close");
    await client.close();
    assert.equal((await closed)[0], 1000);
  });

  test(`${name}: comes back with its rooms after the server broke the connection`, async (t) => {
    const { url, links } = await serve(t);
    const client = new Client(url, { WebSocket: constructor, backoff: { min: 1, max: 10 } });
    await client.connect();
    await client.subscribe("lobby");
    const back = new Promise((resolve) => client.on("connect", resolve));
    links[0].socket.terminate();
    assert.equal((await back).reconnected, true);
    assert.equal(client.id, "c2");
    assert.deepEqual(await client.call("echo", 1), 1);
    assert.deepEqual(links[1].got[1], { type: "subscribe", room: "lobby", id: 2 });
    await client.close();
  });

  test(`${name}: a final close code and a closed port`, async (t) => {
    const { url, links } = await serve(t);
    const client = new Client(url, { WebSocket: constructor });
    await client.connect();
    const ended = new Promise((resolve) => client.on("disconnect", resolve));
    links[0].socket.close(3503, "go away");
    assert.deepEqual(await ended, { code: 3503, reason: "go away", reconnect: false });
    assert.equal(client.status, "closed");

    const nobody = new Client("ws://127.0.0.1:1/polywire", { WebSocket: constructor });
    const retried = new Promise((resolve) => nobody.on("retry", resolve));
    const connecting = assert.rejects(nobody.connect(), { code: "unavailable" });
    assert.equal((await retried).error.code, "unavailable");
    await nobody.close();
    await connecting;
  });
}

/** A server of one room that keeps everything, and breaks its connections now and then. */
async function serveHistory(t) {
  const server = new WebSocketServer({ host: "127.0.0.1", port: 0, handleProtocols: (offered) => [...offered][0] });
  t.after(() => {
    for (const socket of server.clients) socket.terminate();
    return new Promise((resolve) => server.close(resolve));
  });
  await once(server, "listening");
  const log = [];
  const members = new Set();
  const frame = (n) => JSON.stringify({ type: "message", kind: "n", room: "log", offset: `e.${n + 1}`, payload: log[n] });
  server.on("connection", (socket) => {
    socket.on("close", () => members.delete(socket));
    socket.on("message", (data) => {
      const { type, id, offset } = JSON.parse(String(data));
      if (type === "hello") return socket.send(JSON.stringify({ type: "welcome", key: "c" }));
      if (type !== "subscribe") return;
      const from = offset === undefined || members.has(socket) ? log.length : Number(offset.slice(2));
      for (let n = from; n < log.length; n++) socket.send(frame(n));
      members.add(socket);
      socket.send(JSON.stringify({ type: "reply", id, offset: `e.${log.length}`, recovered: offset !== undefined }));
    });
  });
  return {
    url: `ws://127.0.0.1:${server.address().port}/polywire`,
    publish() {
      log.push(log.length);
      for (const socket of members) socket.send(frame(log.length - 1));
    },
    break: () => server.clients.forEach((socket) => socket.terminate()),
  };
}

for (const [name, constructor] of Object.entries(constructors)) {
  test(`${name}: nothing is missed and nothing comes twice while connections break`, async (t) => {
    const server = await serveHistory(t);
    const client = new Client(server.url, { WebSocket: constructor, backoff: { min: 5, max: 20 }, checkInterval: 10 });
    const got = [];
    const told = [];
    client.handle("n", (n) => got.push(n));
    client.on("recovered", ({ recovered }) => told.push(recovered));
    await client.connect();
    await client.subscribe("log");
    const TOTAL = 2000;
    for (let n = 0; n < TOTAL; n++) {
      server.publish();
      if (n % 200 === 150) server.break();
      if (n % 5 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    }
    const deadline = Date.now() + 120_000;
    while (got.length < TOTAL && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 5));
    assert.deepEqual(got, Array.from({ length: TOTAL }, (_, n) => n));
    assert.ok(told.length > 0 && told.every(Boolean), `${told}`);
    await client.close();
  });
}
