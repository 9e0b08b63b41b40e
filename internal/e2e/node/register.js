// Registers scenarios as tests of Node's test runner.
import { test } from "node:test";
import { createRequire } from "node:module";
import { modes, run, scenarios } from "../scenarios/all.js";

const load = createRequire(import.meta.url);

/** The clients by major version, under their aliases in package.json. */
export const clients = { 2: "socket.io-client-2", 3: "socket.io-client-3", 4: "socket.io-client-4" };

/** register registers the scenarios of some clients and ways to connect whose names have a part; official: the server is the official one. */
export function register(control, { versions = Object.keys(clients).map(Number), ways = modes, only = "", official = false } = {}) {
  for (const version of versions) {
    const io = load(clients[version]);
    const env = { io: () => io, parser: load("socket.io-msgpack-parser"), raw: (bytes) => Buffer.from(bytes), control, browser: false };
    for (const mode of ways) {
      for (const scenario of scenarios(version, mode)) {
        if (!scenario.name.includes(only)) continue;
        if (official && scenario.unofficial?.(version, mode)) continue;
        test(`${version}/${mode}/${scenario.name}`, () => run(scenario, env, version, mode));
      }
    }
  }
}
