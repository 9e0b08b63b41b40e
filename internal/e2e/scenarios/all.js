// All scenarios. Each is {name, clients: major versions, modes: those in which
// it has a meaning (default: all), browser: only there (true) or never (false),
// unofficial(version, mode): the official server is known to fail, run(context)}.
import connect from "./connect.js";
import ends from "./ends.js";
import limits from "./limits.js";
import messages from "./messages.js";
import msgpack from "./msgpack.js";
import recovery from "./recovery.js";
import rooms from "./rooms.js";
import { Context, within } from "./context.js";

/** The ways to connect. */
export const modes = ["polling", "websocket", "upgrade"];

/** scenarios returns those for a client's major version and a way to connect, in Node or in a browser. */
export function scenarios(version, mode, browser = false) {
  const every = [connect, messages, rooms, ends, limits, recovery, msgpack].flat();
  return every.filter((s) => s.clients.includes(version) && (s.modes ?? modes).includes(mode) && (s.browser ?? browser) === browser);
}

/** run runs one scenario; it throws when that fails. */
export async function run(scenario, env, version, mode) {
  const context = new Context(env, version, mode);
  try {
    await within(scenario.run(context), "the end of the scenario", 90_000);
  } finally {
    await context.close();
  }
}
