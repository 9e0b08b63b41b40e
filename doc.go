// Package polywire lets one application talk over every wire: a [Server] owns
// listeners, connections and rooms, and gives every message, whatever the wire
// it came on, to the same handlers.
//
// # Concurrency
//
// All methods of all types may be called from many goroutines at once, unless
// a type says otherwise. Middleware, pipes, plugins and hooks are registered
// before the server runs; handlers may come later, too.
//
// Messages of one connection are handled in the order of their arrival, one at
// a time, or at most n at a time with [WithConcurrency]. Handlers may block:
// other connections are not held up, and answers to calls on the same
// connection are matched while its handlers run.
//
// # Ownership
//
// The bytes of a [Message]'s payload belong to the connection's read buffer and
// are valid until the handler returns; [Message.Bind] copies, and so does
// [Message.Clone].
package polywire
