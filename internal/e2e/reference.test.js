// Checks the scenarios themselves, against the official server.
import { after } from "node:test";
import { register } from "./node/register.js";
import { start } from "./reference/server.js";

const reference = await start();
after(() => reference.close());
const { POLYWIRE_E2E_CLIENTS: versions, POLYWIRE_E2E_MODES: ways, POLYWIRE_E2E_ONLY: only } = process.env;
register(reference.url, {
  official: true,
  only,
  ...(versions && { versions: versions.split(",").map(Number) }),
  ...(ways && { ways: ways.split(",") }),
});
