// Package rabbitmq is the driver of package queue for RabbitMQ 3.10 and later.
//
// A queue q is the quorum queue q, with "dead.q" for its dead letters; messages
// with a delay go through queues "delay.0" to "delay.24" that all queues share.
// The driver makes them on first use, checks those that are there, and says
// what differs. Names get [Options.Prefix] in front. docs/queues.md has the
// whole layout, and what each step survives.
//
// [New] makes the driver. [NewClient] adds the handling of package queue, and
// the words that users of RabbitMQ know: PublishMessage, RegisterConsumer.
package rabbitmq
