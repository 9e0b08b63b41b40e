// The official server with the handlers that the scenarios need, and the same
// control routes as the Go side: to check the scenarios themselves.
import { once } from "node:events";
import { createServer } from "node:http";
import { Server } from "socket.io";
import parser from "socket.io-msgpack-parser";
import { serve } from "./handlers.js";

const common = { allowEIO3: true, cors: { origin: true, credentials: true }, maxHttpBufferSize: 4 << 20 };

/** The servers, each on a port of its own: what differs from the common options. */
const servers = {
  main: {},
  recovery: { connectionStateRecovery: { maxDisconnectionDuration: 60_000 } },
  msgpack: { parser },
  small: { maxHttpBufferSize: 20_000, pingInterval: 400, pingTimeout: 3000 },
  quick: { pingInterval: 400, pingTimeout: 3000 },
};

/** Instance is one of the servers. It can be restarted on its port. */
class Instance {
  #options;
  #io;
  #ended = new Map(); // the id of a socket that has ended: why
  #waiting = new Map(); // the id of one that a scenario waits for: functions to call

  constructor(options, port) {
    this.#options = { ...common, ...options };
    this.port = port; // 0: any at first, and the same then
  }

  async open() {
    const http = createServer();
    http.listen(this.port, "127.0.0.1");
    await once(http, "listening");
    this.port = http.address().port;
    this.#io = new Server(http, this.#options);
    this.#namespaces();
  }

  #namespaces() {
    const ended = (socket, reason) => this.#tell(socket.id, reason);
    serve(this.#io.of("/"), ended);
    serve(this.#io.of("/chat"), ended);
    serve(this.#io.of(/^\/room-\d+$/), ended);
    this.#io.of("/chat").on("connection", (socket) => socket.emit("hello", socket.id, "from the server"));
    const auth = this.#io.of("/auth");
    auth.use((socket, next) => {
      if (socket.handshake.auth.token === "secret") return next();
      next(Object.assign(new Error("not authorized"), { data: { why: "token", given: socket.handshake.auth.token ?? null } }));
    });
    serve(auth, ended);
  }

  #tell(id, reason) {
    this.#ended.set(id, reason);
    for (const tell of this.#waiting.get(id) ?? []) tell(reason);
    this.#waiting.delete(id);
  }

  /** reason returns why a socket has ended, and waits for its end. */
  async reason(id) {
    if (this.#ended.has(id)) return this.#ended.get(id);
    return new Promise((resolve) => this.#waiting.set(id, [...(this.#waiting.get(id) ?? []), resolve]));
  }

  async close() {
    const http = this.#io.httpServer;
    const closed = this.#io.close();
    http.closeAllConnections();
    await closed;
  }

  async restart(millis) {
    await this.close();
    await new Promise((resolve) => setTimeout(resolve, millis));
    await this.open();
  }
}

/** start starts all servers, at these ports or at any, and returns {url, close}: url is that of the control routes. */
export async function start(ports = []) {
  const instances = Object.fromEntries(Object.entries(servers).map(([name, options], i) => [name, new Instance(options, ports[i] ?? 0)]));
  await Promise.all(Object.values(instances).map((instance) => instance.open()));
  const routes = {
    "/servers": async () => Object.fromEntries(Object.entries(instances).map(([name, i]) => [name, `http://127.0.0.1:${i.port}`])),
    "/restart": async (query) => ({ done: (await instances[query.get("server")].restart(Number(query.get("millis"))), true) }),
    "/reason": async (query) => ({ reason: await instances[query.get("server")].reason(query.get("id")) }),
  };
  const control = createServer(async (request, response) => {
    const url = new URL(request.url, "http://control");
    const answer = await routes[url.pathname](url.searchParams);
    response.setHeader("Content-Type", "application/json");
    response.end(JSON.stringify(answer));
  });
  control.listen(0, "127.0.0.1");
  await once(control, "listening");
  return {
    url: `http://127.0.0.1:${control.address().port}`,
    close: async () => {
      control.closeAllConnections();
      control.close();
      await Promise.all(Object.values(instances).map((instance) => instance.close()));
    },
  };
}
