// What a TypeScript program may write, and what it may not: checked by tsc
// against the declarations that are packed. Never run.
import { Client, PolywireError, reconnects } from "@polywire/client";
import type { CallOptions, ClientOptions, Handler, Member, Message, PresenceEvent, Status } from "@polywire/client";

interface Sum {
  sum: number;
}

const options: ClientOptions = {
  headers: async () => ({ authorization: "Bearer x" }),
  backoff: { min: 100 },
  heartbeat: { interval: 1000, timeout: 500 },
  maxMessageBytes: 1 << 22,
  checkInterval: -1,
  logger: null,
};
const client = new Client(new URL("wss://example.com/polywire"), options);

export async function use(signal: AbortSignal): Promise<void> {
  await client.connect({ signal });
  const status: Status = client.status;
  const rooms: string[] = client.rooms;
  const { sum } = await client.call<Sum>("add", { a: 1 }, { timeout: 100, signal, headers: { tenant: "a" } });
  const anything = await client.call("add");
  anything.whatever;
  client.send("bytes", new Uint8Array([1]), { contentType: "application/protobuf" });
  await client.subscribe("chat", { timeout: 5 });
  await client.publish("chat", "said", { text: "hi" });
  await client.broadcast("hello");
  const members: Member[] = await client.presence("chat");
  await client.setPresence({ typing: members.length + sum > 0, status, rooms });
  await client.unsubscribe("chat");
  client.retry();
  await client.close();
}

const handler: Handler = (payload, message: Message) => [payload, message.isCall, message.room?.length, message.position];
const off: () => void = client.handle("chat.*", handler);
off();
client.on("presence", ({ room, change, member }: PresenceEvent) => `${room} ${change} ${member.user ?? member.id}`);
client.on("recovered", ({ room, recovered }) => room.length > 0 && recovered);
client.on("disconnect", ({ code, reason, reconnect }) => reconnects(code) === reconnect && reason.length);
client.on("status", (status, cause) => cause?.code.length ?? status.length);
client.on("retry", ({ attempt, delay, error }) => attempt + delay + error.message.length);
const wait: CallOptions = { timeout: Infinity };
throw new PolywireError("shop.sold_out", "nothing left", { details: wait, cause: new Error("x") });

// @ts-expect-error no such event
client.on("recover", () => {});
// @ts-expect-error an argument of another kind
client.on("recovered", (room: string) => room);
// @ts-expect-error no such option
new Client("ws://x", { retries: 3 });
// @ts-expect-error times are numbers
client.call("a", null, { timeout: "5s" });
// @ts-expect-error headers are strings
client.send("a", null, { headers: { n: 1 } });
// @ts-expect-error a message goes one way
client.send("a", null).then();
// @ts-expect-error not to be set
client.status = "running";
// @ts-expect-error a room is a string
client.subscribe(5);
// @ts-expect-error unknown until it is looked at
client.call<Sum>("add").then((answer) => answer.product);
