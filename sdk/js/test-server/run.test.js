// The scenarios in Node, for internal/e2e, which says where the server is. An
// unhandled rejection fails the test that is running.
import { test } from "node:test";
import { WebSocket as WS } from "ws";
import { play, scenarios } from "./scenarios.js";

const control = process.env.POLYWIRE_SDK_CONTROL;

/** A WebSocket that can stop to read. */
class Pausable extends WS {
  static last;

  constructor(...args) {
    super(...args);
    Pausable.last = this;
  }
}

const constructors = { ws: Pausable, ...(globalThis.WebSocket && { global: globalThis.WebSocket }) };

for (const [constructor, WebSocket] of Object.entries(constructors)) {
  for (const [name, scenario] of Object.entries(scenarios)) {
    if (!scenario.needs || WebSocket === Pausable) {
      test(`${constructor}: ${name}`, { timeout: 120_000 }, () => play(scenario, { control, WebSocket }));
    }
  }
}
