// Package rabbitmq is the driver of package queue for RabbitMQ 3.10 and later.
//
// A queue q is the quorum queue q, with "dead.q" for its dead letters; messages
// with a delay go through queues "delay.0" to "delay.24" that all queues share.
// The driver makes them on first use, checks those that are there, and says
// what differs. Names get [Options.Prefix] in front. docs/queues.md has the
// whole layout, and what each step survives.
//
// What the broker decides, and an operator should know: a delay restarts the
// step it is in when the broker was down, so it may be longer, never shorter.
// Messages that expired while a broker was starting may wait for
// rabbit.dead_letter_worker_publisher_confirm_timeout, 3 minutes by default, in
// its advanced.config; 10 seconds are better. RabbitMQ 3.10 may not start a
// quorum queue again that was made in the second before a kill -9 of its node.
// Before 4.3 a message that was returned counts as lost once more.
//
// [New] makes the driver. [NewClient] adds the handling of package queue, and
// the words that users of RabbitMQ know: PublishMessage, RegisterConsumer.
package rabbitmq
