// Runs the scenarios against the server whose control routes are at
// POLYWIRE_E2E_URL. POLYWIRE_E2E_CLIENTS (2,3,4) and POLYWIRE_E2E_MODES
// (polling,websocket,upgrade) choose among the clients and ways to connect,
// POLYWIRE_E2E_ONLY is a part of the scenarios' names.
import { modes } from "./scenarios/all.js";
import { clients, register } from "./node/register.js";

const { POLYWIRE_E2E_URL: url, POLYWIRE_E2E_CLIENTS: versions, POLYWIRE_E2E_MODES: ways, POLYWIRE_E2E_ONLY: only } = process.env;
if (!url) throw new Error("POLYWIRE_E2E_URL is not set");

/** chosen returns the parts of a list that exist; a mistake in it is an error. */
function chosen(list, all) {
  const parts = list ? list.split(",") : all;
  for (const part of parts) if (!all.includes(part)) throw new Error(`unknown: ${part}`);
  return parts;
}

register(url, { versions: chosen(versions, Object.keys(clients)).map(Number), ways: chosen(ways, modes), only });
