// Runs scenarios in a browser: window.runScenarios(major version, mode) resolves to
// a list of {name, error}.
import { run, scenarios } from "../scenarios/all.js";

const bundles = {
  2: { json: "socket.io.js" },
  3: { json: "socket.io.js", msgpack: "socket.io.msgpack.min.js" },
  4: { json: "socket.io.js", msgpack: "socket.io.msgpack.min.js" },
};

/** load loads a client's bundle and returns what it puts into the window. */
function load(version, file) {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = `../node_modules/socket.io-client-${version}/dist/${file}`;
    script.onload = () => resolve(window.io);
    script.onerror = () => reject(new Error(`${script.src} does not load`));
    document.head.append(script);
  });
}

window.runScenarios = async (version, mode) => {
  const clients = {};
  for (const [parser, file] of Object.entries(bundles[version])) clients[parser] = await load(version, file);
  const env = {
    io: (parser) => clients[parser],
    raw: (bytes) => bytes.slice().buffer,
    control: location.origin,
    browser: true,
  };
  const results = [];
  for (const scenario of scenarios(version, mode, true)) {
    const result = { name: scenario.name };
    try {
      await run(scenario, env, version, mode);
    } catch (e) {
      result.error = `${e}\n${e?.stack}`;
    }
    results.push(result);
  }
  return results;
};
document.documentElement.dataset.ready = "yes";
