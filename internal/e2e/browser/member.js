// A member of the hall with the client of the native wire. What it hears is
// given away one by one by window.heard(), in JSON with bytes as {"bytes": [...]}.
import { Client } from "/sdk/polywire.js";

const client = new Client("/polywire");
const got = [];
let wake = () => {};

/** plain makes bytes readable by JSON. */
const plain = (value) => (value instanceof Uint8Array ? { bytes: [...value] } : value);

client.handle("*", (payload, message) => {
  got.push(JSON.stringify({ kind: message.kind, payload: plain(payload) }));
  wake();
});
window.heard = async () => {
  while (got.length === 0) await new Promise((resolve) => (wake = resolve));
  return got.shift();
};
window.say = (kind, payload) => client.send(kind, payload?.bytes ? new Uint8Array(payload.bytes) : payload);
await client.connect();
document.documentElement.dataset.ready = "yes";
