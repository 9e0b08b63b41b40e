// The official Socket.IO server, doing what the load generator asks: event
// "echo" is acknowledged with its argument, event "broadcast" sends its
// argument as "news" to everybody. It says where it listens.
//
//   node server.js [host:port]
//
// These are the library's fastest settings for this work: no compression of
// messages or of poll answers, no files to serve, and the native helper for
// masks (bufferutil) that ws loads where it is installed. Heartbeats stay at
// their defaults: a ping every 25 seconds, 20 seconds for its answer.
import { createServer } from 'node:http';
import process from 'node:process';
import { Server } from 'socket.io';

const [host, port] = (process.argv[2] ?? '127.0.0.1:9003').split(':');

const http = createServer();
http.keepAliveTimeout = 60_000; // pollers keep their connections, as they do with other servers

const io = new Server(http, {
	perMessageDeflate: false,
	httpCompression: false,
	serveClient: false,
});

io.on('connection', (socket) => {
	socket.on('echo', (payload, acknowledge) => acknowledge(payload));
	socket.on('broadcast', (payload) => io.emit('news', payload));
});

process.on('SIGTERM', () => process.exit(0));

// The backlog that Go's servers have; Node's own is 511.
http.listen({ host, port: Number(port), backlog: 4096 }, () => {
	process.stdout.write(`listening on ws://${host}:${http.address().port}/\n`);
});
