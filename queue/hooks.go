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

// mergeHooks makes one Hooks of many; no field of it is nil.
func mergeHooks(all []Hooks) Hooks {
	return Hooks{
		Published: func(m *Message, took time.Duration, err error) {
			for _, h := range all {
				if h.Published != nil {
					h.Published(m, took, err)
				}
			}
		},
		Started: func(d *Delivery) {
			for _, h := range all {
				if h.Started != nil {
					h.Started(d)
				}
			}
		},
		Ended: func(d *Delivery, took time.Duration, err error) {
			for _, h := range all {
				if h.Ended != nil {
					h.Ended(d, took, err)
				}
			}
		},
		Retried: func(d *Delivery, at time.Time, err error) {
			for _, h := range all {
				if h.Retried != nil {
					h.Retried(d, at, err)
				}
			}
		},
		Buried:    func(d *Dead) { each(all, func(h *Hooks) func(*Dead) { return h.Buried }, d) },
		Duplicate: func(d *Delivery) { each(all, func(h *Hooks) func(*Delivery) { return h.Duplicate }, d) },
		Stale:     func(d *Delivery) { each(all, func(h *Hooks) func(*Delivery) { return h.Stale }, d) },
		Status:    func(s Status) { each(all, func(h *Hooks) func(Status) { return h.Status }, s) },
		Trouble: func(queue string, err error) {
			for _, h := range all {
				if h.Trouble != nil {
					h.Trouble(queue, err)
				}
			}
		},
	}
}

func each[T any](all []Hooks, field func(h *Hooks) func(T), v T) {
	for i := range all {
		if f := field(&all[i]); f != nil {
			f(v)
		}
	}
}
