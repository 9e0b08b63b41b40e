// A member of the hall with socket.io-client: each line of its input is
// [kind, ...arguments] to emit, each line of its output an event that it got.
// Bytes are {"bytes": [...]} in both.
import { createInterface } from "node:readline";
import { io } from "socket.io-client-4";

const say = (...event) => console.log(JSON.stringify(event, (_, v) => (v?.type === "Buffer" ? { bytes: v.data } : v)));

const socket = io(process.argv[2]);
socket.on("connect", () => say("connected"));
socket.on("connect_error", (e) => say("connect_error", e.message));
socket.onAny(say);

for await (const line of createInterface({ input: process.stdin })) {
  socket.emit(...JSON.parse(line, (_, v) => (Array.isArray(v?.bytes) ? Buffer.from(v.bytes) : v)));
}
socket.disconnect();
