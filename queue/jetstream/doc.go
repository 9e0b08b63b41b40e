// Package jetstream is the driver of package queue for NATS JetStream: the
// server embedded in this program (package natsembed), or others by their URLs.
// It needs NATS 2.12 or newer, for delays.
//
// # What is kept, and what is lost when
//
// Publish returns nil when the server says that it has the message. What that
// promises is the server's setting:
//
//   - SyncAlways (natsembed's default; "sync_interval: always" of a server of
//     its own): the message is on the disk. The end of the program, of the
//     server, of the operating system and of the power lose nothing. Each
//     publish waits for the disk; many at a time, or a batch, share the waits.
//   - Without it (natsembed's NoSync; a NATS server's own default): the operating
//     system has the message. kill -9 of program and server loses nothing. A
//     power cut or a crash of the operating system loses what was accepted in
//     the last two minutes, at most.
//   - With Replicas 3 on a cluster a majority has it. Without SyncAlways that
//     stands the loss of one machine at a time, not of the power of all.
//
// A single server has one copy: a disk that dies, or rots, takes the messages
// with it. An acknowledgement that a power cut takes back only makes the
// message come again.
//
// # How it is kept
//
// Each queue is a stream with work-queue retention, kept in files, and one
// durable pull consumer. Messages with a delay wait in the same stream as
// message schedules (NATS ADR-51), and a failed message becomes a new one with
// its attempts counted: nothing waits in a program's memory. The server looks at
// schedules four times a second; ten messages a second of a program come
// more exactly. Dead letters of all queues are
// in one stream with limits retention and no limits. A message that is published twice with the same ID
// within [Options.Dedup] is kept once; the server holds the ids of that time in
// its memory.
//
// A delivery that was given back, by a shutdown for example, counts as lost
// once in [queue.Delivery.Lost], and as Unacked in [queue.Depth] until somebody
// takes it: JetStream does not tell it apart.
//
// Streams have no bound of their own, because a stream with schedules would
// drop its oldest messages at it. The server's bound (natsembed's
// MaxStoreBytes) refuses publishes instead: [queue.ErrRefused].
//
// # Names
//
// With the prefix "polywire" the queue "orders" is the stream
// "polywire-q-orders"; "polywire.q.orders.now" is the subject to which programs
// without this package publish. Bytes of a queue's name other than letters,
// digits, '-' and '_' are "=XX", in hexadecimal. Dead letters are on
// "polywire.dead.orders" of the stream "polywire-dead".
package jetstream
