// A service with socket.io, which is a client of another one: argv has that
// one's URL and the port to listen on. It prints its port when it is ready.
import { createServer } from "node:http";
import { Server } from "socket.io";
import { io } from "socket.io-client-4";

const other = io(process.argv[2]);
const http = createServer();
const server = new Server(http, { allowEIO3: true });

server.on("connection", (socket) => {
  socket.on("echo", (message, answer) => answer({ ...message, success: true }));
  // Asks the other service, on behalf of the caller.
  socket.on("relay", async (n, answer) => answer(await other.timeout(10_000).emitWithAck("double", n)));
  // Asks the caller itself.
  socket.on("back", async (n, answer) => answer((await socket.timeout(10_000).emitWithAck("name")) + n));
  socket.on("hang", () => {});
  socket.on("tell", (text) => server.emit("news", text));
});

http.listen(Number(process.argv[3]), "127.0.0.1", () => console.log(http.address().port));
process.stdin.on("end", () => process.exit(0)).resume();
