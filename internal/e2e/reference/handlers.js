// The handlers that the scenarios need, on the official server. The table in
// ../README.md says what each does; the Go side has the same ones.

/** Events that a client may send; any other is answered by the catch-all. */
export const known = {
  echo: (socket, ...args) => {
    const ack = takeAck(args);
    if (ack) ack(...args);
    else socket.emit("echo", ...args);
  },
  silent: () => {},
  fail: (socket, code, message, ...args) => {
    const ack = takeAck(args);
    ack({ error: { code, message, ...(args.length > 0 && { details: args[0] }) } });
  },
  id: (socket, ack) => ack(socket.id),
  handshake: (socket, ack) =>
    ack({ auth: socket.handshake.auth, tag: socket.handshake.query.tag ?? "", header: socket.handshake.headers["x-test"] ?? "" }),
  burst: (socket, count, ack) => {
    for (let i = 0; i < count; i++) socket.emit("burst", i, "🚀".repeat(i % 4));
    ack(count);
  },
  volatile: (socket, count, ack) => {
    for (let i = 0; i < count; i++) socket.volatile.emit("flash", i);
    ack(count);
  },
  ask: (socket, millis, kind, ...args) => {
    const ack = takeAck(args);
    socket.timeout(millis).emit(kind, ...args, (err, ...answers) => ack({ answers, timedOut: Boolean(err) }));
  },

  join: (socket, room, ack) => ack(void socket.join(room) ?? true),
  leave: (socket, room, ack) => ack(void socket.leave(room) ?? true),
  rooms: (socket, ack) => ack([...socket.rooms].filter((room) => room !== socket.id).sort()),
  say: (socket, room, kind, ...args) => {
    const ack = takeAck(args);
    socket.nsp.to(room).emit(kind, ...args);
    ack(true);
  },
  others: (socket, room, kind, ...args) => {
    const ack = takeAck(args);
    socket.to(room).emit(kind, ...args);
    ack(true);
  },
  except: (socket, rooms, without, kind, ...args) => {
    const ack = takeAck(args);
    socket.nsp.to(rooms).except(without).emit(kind, ...args);
    ack(true);
  },
  all: (socket, kind, ...args) => {
    const ack = takeAck(args);
    socket.nsp.emit(kind, ...args);
    ack(true);
  },
  rest: (socket, kind, ...args) => {
    const ack = takeAck(args);
    socket.broadcast.emit(kind, ...args);
    ack(true);
  },
  poll: (socket, room, millis, kind, value, ack) => {
    socket.nsp.to(room).timeout(millis).emit(kind, value, (err, answers) => ack({ answers, timedOut: Boolean(err) }));
  },

  kick: (socket) => socket.disconnect(),
  break: (socket) => socket.conn.close(),
  evict: (socket, room, ack) => {
    socket.nsp.in(room).disconnectSockets();
    ack(true);
  },

  remember: (socket, value, ack) => ack((socket.data.value = value)),
  recall: (socket, ack) => ack({ recovered: socket.recovered, value: socket.data.value ?? null }),
};

/** takeAck removes the acknowledgement from the end of an event's arguments. */
function takeAck(args) {
  return typeof args.at(-1) === "function" ? args.pop() : undefined;
}

/** serve gives a namespace's sockets all handlers and tells ended(socket, reason) of their ends. */
export function serve(namespace, ended) {
  namespace.on("connection", (socket) => {
    for (const [kind, handler] of Object.entries(known)) socket.on(kind, (...args) => handler(socket, ...args));
    socket.onAny((kind, ...args) => {
      if (kind in known) return;
      const ack = takeAck(args);
      if (ack) ack(kind, ...args);
      else socket.emit("caught", kind, ...args);
    });
    socket.on("disconnect", (reason) => ended(socket, reason));
  });
}
