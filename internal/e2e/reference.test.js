// Checks the scenarios themselves, against the official server.
import { after } from "node:test";
import { register } from "./node/register.js";
import { start } from "./reference/server.js";

const { POLYWIRE_E2E_CLIENTS: versions, POLYWIRE_E2E_MODES: ways, POLYWIRE_E2E_ONLY: only, POLYWIRE_E2E_PORTS: ports } = process.env;
const reference = await start(ports?.split(",").map(Number));
after(() => reference.close());
register(reference.url, {
  official: true,
  only,
  ...(versions && { versions: versions.split(",").map(Number) }),
  ...(ways && { ways: ways.split(",") }),
});
