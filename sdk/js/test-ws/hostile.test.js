// A server that breaks WebSocket itself: frames that lie about their length,
// are none, or end in the middle. The connection ends, and nothing is uncaught
// (the runner fails a test for that).
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:net";
import { test } from "node:test";
import { WebSocket } from "ws";
import { Client } from "../polywire.js";

/** Accepts WebSockets by hand, says WELCOME, and then the given bytes. */
async function serve(t, bytes, { end = false } = {}) {
  const sockets = new Set();
  let connections = 0;
  const server = createServer((socket) => {
    sockets.add(socket.on("error", () => {}));
    let head = "";
    socket.on("data", function read(data) {
      head += data.toString("latin1");
      if (!head.includes("\r\n\r\n")) return;
      socket.off("data", read);
      const key = /sec-websocket-key: (.*)\r\n/i.exec(head)[1];
      const accept = createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
      socket.write(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
          `Sec-WebSocket-Accept: ${accept}\r\nSec-WebSocket-Protocol: polywire.v1.json\r\n\r\n`,
      );
      socket.write(text(`{"type":"welcome","key":"c${++connections}"}`));
      socket.write(bytes);
      if (end) socket.destroySoon();
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    return new Promise((resolve) => server.close(resolve));
  });
  return `ws://127.0.0.1:${server.address().port}/`;
}

function text(s) {
  const payload = Buffer.from(s);
  assert.ok(payload.length < 126);
  return Buffer.concat([Buffer.from([0x81, payload.length]), payload]);
}

const cases = {
  "a length of 2^63": Buffer.from([0x81, 127, 0x80, 0, 0, 0, 0, 0, 0, 0]),
  "a length of 1 TiB": Buffer.from([0x81, 127, 0, 0, 1, 0, 0, 0, 0, 0]),
  "an opcode that nobody knows": Buffer.from([0x83, 0]),
  "reserved bits": Buffer.from([0xf1, 0]),
  "a masked frame": Buffer.from([0x81, 0x80, 1, 2, 3, 4]),
  "text that is not UTF-8": Buffer.from([0x81, 1, 0xff]),
  "a long ping": Buffer.from([0x89, 126, 1, 0]),
  "a close code that does not exist": Buffer.from([0x88, 2, 0, 1]),
  "a continuation of nothing": Buffer.from([0x80, 0]),
};

for (const [name, bytes] of Object.entries(cases)) {
  test(`${name} ends the connection`, async (t) => {
    const client = new Client(await serve(t, bytes), { WebSocket, logger: null });
    t.after(() => client.close());
    const ended = new Promise((resolve) => client.on("disconnect", resolve));
    await client.connect();
    const call = client.call("a").then(assert.fail, (error) => error.code);
    const { code } = await ended;
    assert.ok(code >= 1002 && code <= 1015, String(code));
    assert.equal(await call, "unavailable");
  });
}

test("a frame that ends in the middle: the client comes back", async (t) => {
  const url = await serve(t, Buffer.from([0x81, 126, 0x10]), { end: true });
  const client = new Client(url, { WebSocket, backoff: { min: 1, max: 5 }, logger: null });
  t.after(() => client.close());
  let connections = 0;
  const thrice = new Promise((resolve) => client.on("connect", () => ++connections === 3 && resolve()));
  await client.connect();
  await thrice;
});

test("JSON that is no envelope ends it for good", async (t) => {
  const client = new Client(await serve(t, text('{"type":"nonsense"}')), { WebSocket, logger: null });
  const ended = new Promise((resolve) => client.on("disconnect", resolve));
  await client.connect();
  const { code, reconnect } = await ended;
  assert.deepEqual({ code, reconnect }, { code: 3501, reconnect: false });
});
