// Package dispatch is the sender's side of webhooks: a [Dispatcher] takes events,
// finds the endpoints that want them, and delivers by way of a queue until each
// has answered or its schedule is over. docs/webhooks.md says at length what is
// promised.
//
// Deliveries are messages of package queue, so that they are as durable as its
// driver is. Endpoints, events and attempts are kept in stores with three small
// ports: [Endpoints], [Events] and [Attempts]. [Memory] implements them for tests
// and small programs, package webhook/natsstore on JetStream, and package
// dispatchtest checks implementations.
package dispatch
