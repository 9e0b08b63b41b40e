package queue

import "time"

// Hooks observe a broker; they never change what it does. Every field may be
// nil. They run where the thing happens, so they should be quick and must not
// panic; many may run at the same time.
type Hooks struct {
	// Published is called when a publish has ended, with its result.
	Published func(m *Message, took time.Duration, err error)
	// Started and Ended surround an attempt; err is what the handler returned.
	Started func(d *Delivery)
	Ended   func(d *Delivery, took time.Duration, err error)
	// Retried is called when a failed message will be tried again, not before at.
	Retried func(d *Delivery, at time.Time, err error)
	// Buried is called when a message has become a dead letter.
	Buried func(d *Dead)
	// Duplicate is called for a delivery that was not handled because its id
	// was done before, or is in hand.
	Duplicate func(d *Delivery)
	// Stale is called when an answer came too late: the message is or will be
	// delivered again.
	Stale func(d *Delivery)
	// Trouble is called when a queue cannot be consumed for now, and with nil
	// when it can again.
	Trouble func(queue string, err error)
	// Status is called when the driver's connection changes.
	Status func(s Status)
}
