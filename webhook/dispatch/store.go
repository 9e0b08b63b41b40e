package dispatch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/polywire/polywire/webhook"
)

// Errors; test for them with errors.Is.
var (
	// ErrNotFound says that there is no such endpoint or event.
	ErrNotFound = errors.New("dispatch: not found")
	// ErrConflict says that somebody else has changed the endpoint meanwhile, or
	// that one with this id is there already.
	ErrConflict = errors.New("dispatch: the endpoint was changed by somebody else")
	// ErrInvalid says that an argument or an option cannot be used.
	ErrInvalid = errors.New("dispatch: invalid")
	// ErrFull says that there is no room for more events. Nothing became of this one.
	ErrFull = errors.New("dispatch: there is no room for more events")
	// ErrClosed says that the dispatcher has been closed.
	ErrClosed = errors.New("dispatch: the dispatcher is closed")
)

// Endpoints keeps endpoints. Methods may be called by many goroutines at once.
type Endpoints interface {
	// Load returns an endpoint as it was last saved, or ErrNotFound.
	Load(ctx context.Context, id string) (Record, error)
	// Save keeps r if nobody has saved or removed the endpoint since r.Revision
	// was its revision; zero: if there is none with its id. It returns the new
	// revision, or ErrConflict.
	Save(ctx context.Context, r Record) (revision uint64, err error)
	// Delete removes an endpoint on the same condition.
	Delete(ctx context.Context, id string, revision uint64) error
	// Watch calls f, by one goroutine at a time, for each endpoint that is there,
	// then once with the zero Change, then for every change by whomever, soon
	// after it. f returns at once. Watch returns when ctx ends, with its error, or
	// with another when it cannot go on: whoever wants to know more calls it again.
	Watch(ctx context.Context, f func(Change)) error
}

// Record is an endpoint with what is known about it. It prints as its endpoint
// does: without secrets.
type Record struct {
	Endpoint webhook.Endpoint
	// Created and Updated are when it was added and last changed by somebody.
	Created, Updated time.Time
	// Retire says when secrets stop to sign: Retire[i] is for Secrets[i]. The zero
	// time, and none for it: never.
	Retire []time.Time
	// FailingSince is when the first attempt failed since the last success; zero:
	// it did not. It and LastFailure are a minute late at most.
	FailingSince time.Time
	// LastFailure is when an attempt failed last, to the hour.
	LastFailure time.Time
	// Revision is the store's, for the next Save; never zero for what a store returns.
	Revision uint64
}

// String is that of the endpoint.
func (r Record) String() string { return r.Endpoint.String() }

// GoString is [Record.String].
func (r Record) GoString() string { return r.String() }

// LogValue is that of the endpoint.
func (r Record) LogValue() slog.Value { return r.Endpoint.LogValue() }

// signing returns the endpoint with those secrets that sign at a time, and until
// when that is so; the zero time: for good.
func (r Record) signing(now time.Time) (e webhook.Endpoint, until time.Time) {
	e = r.Endpoint
	var secrets []webhook.Secret
	for i, s := range e.Secrets {
		if i >= len(r.Retire) || r.Retire[i].IsZero() {
			secrets = append(secrets, s)
			continue
		}
		if now.Before(r.Retire[i]) {
			secrets = append(secrets, s)
			if until.IsZero() || r.Retire[i].Before(until) {
				until = r.Retire[i]
			}
		}
	}
	e.Secrets = secrets
	return e, until
}

// pruned returns the record without the secrets that do not sign any more.
func (r Record) pruned(now time.Time) Record {
	e, _ := r.signing(now)
	var retire []time.Time
	for i := range r.Endpoint.Secrets {
		at := time.Time{}
		if i < len(r.Retire) {
			at = r.Retire[i]
		}
		if at.IsZero() || now.Before(at) {
			retire = append(retire, at)
		}
	}
	r.Endpoint.Secrets, r.Retire = e.Secrets, retire
	if !slices.ContainsFunc(retire, func(t time.Time) bool { return !t.IsZero() }) {
		r.Retire = nil
	}
	return r
}

// Change is what Watch tells.
type Change struct {
	// ID of the endpoint; empty: all that were there have been told.
	ID string
	// Record is nil for an endpoint that was removed.
	Record *Record
}

type recordJSON struct {
	Endpoint     json.RawMessage `json:"endpoint"`
	Created      time.Time       `json:"created"`
	Updated      time.Time       `json:"updated"`
	Retire       []time.Time     `json:"retire,omitempty"`
	FailingSince time.Time       `json:"failing_since,omitzero"`
	LastFailure  time.Time       `json:"last_failure,omitzero"`
}

// MarshalRecord encodes a record without its revision, for stores: secrets are in
// the clear.
func MarshalRecord(r Record) ([]byte, error) {
	e, err := webhook.MarshalEndpoint(r.Endpoint)
	if err != nil {
		return nil, err
	}
	return json.Marshal(recordJSON{e, r.Created, r.Updated, r.Retire, r.FailingSince, r.LastFailure})
}

// UnmarshalRecord is the way back. Errors wrap webhook.ErrEndpoint and have no
// values in them.
func UnmarshalRecord(b []byte) (Record, error) {
	var j recordJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return Record{}, fmt.Errorf("%w: it is not the JSON of a record", webhook.ErrEndpoint)
	}
	e, err := webhook.UnmarshalEndpoint(j.Endpoint)
	if err != nil {
		return Record{}, err
	}
	if len(j.Retire) > len(e.Secrets) {
		return Record{}, fmt.Errorf("%w: it has more times than secrets", webhook.ErrEndpoint)
	}
	return Record{
		Endpoint: e, Created: j.Created, Updated: j.Updated, Retire: j.Retire,
		FailingSince: j.FailingSince, LastFailure: j.LastFailure,
	}, nil
}

// Events keeps what was published, for replays. Methods may be called by many
// goroutines at once.
type Events interface {
	// Append keeps an event. nil: it is kept, as durable as the store documents.
	// The same ID again, soon after the first, may be kept once or twice.
	Append(ctx context.Context, e Stored) error
	// Load returns the event with an ID, or ErrNotFound. It was accepted at near,
	// as far as the caller knows; zero: it does not.
	Load(ctx context.Context, id string, near time.Time) (Stored, error)
	// Scan calls visit for the events that were accepted since a time and before
	// another (zero: no bound) and whose type a pattern has, about in the order in
	// which they were accepted, until it returns false.
	Scan(ctx context.Context, pattern string, since, until time.Time, visit func(Stored) (next bool)) error
}

// BoundedEvents is an optional power of [Events]. Where Bounded is true, Append may
// refuse with ErrFull, and Publish waits for it before it queues deliveries, so that
// what is refused is not delivered; else it does both at once.
type BoundedEvents interface{ Bounded() bool }

// Stored is an event as it is kept.
type Stored struct {
	ID   string    `json:"id"`
	Type string    `json:"type"`
	Time time.Time `json:"time"`
	// Accepted is when Publish was called.
	Accepted time.Time       `json:"accepted"`
	Data     json.RawMessage `json:"data"`
	// Trace is the event's.
	Trace map[string]string `json:"trace,omitempty"`
}

// State says where a delivery is after an attempt.
type State string

// The states.
const (
	StateDelivered State = "delivered" // the receiver has it
	StateScheduled State = "scheduled" // it failed, and will be tried again
	StateFailed    State = "failed"    // it failed, and that was the last try, or the receiver is gone
	StateDropped   State = "dropped"   // it was given up untried: the endpoint is disabled
)

// Final reports whether no attempt follows by itself.
func (s State) Final() bool { return s != StateScheduled }

// Entry is an attempt as it is kept, or the note that a delivery was given up.
type Entry struct {
	Endpoint string `json:"endpoint"`
	// Type is the event's; Attempt.ID is its id.
	Type string `json:"type"`
	// Attempt has only ID, Try, Start and Error if State is StateDropped.
	Attempt webhook.Attempt `json:"attempt"`
	State   State           `json:"state"`
	// Next is when the next try is due, of StateScheduled.
	Next time.Time `json:"next,omitzero"`
	// Accepted is when the event was.
	Accepted time.Time `json:"accepted"`
	// Replay tells the tries of a replay from others; empty: the first delivery.
	Replay string `json:"replay,omitempty"`
	// Trace is the event's, for hooks; it is not kept.
	Trace map[string]string `json:"-"`
}

// Attempts keeps attempts for some time. Methods may be called by many goroutines
// at once.
type Attempts interface {
	// Append keeps an entry. nil: it is kept, as durable as the store documents.
	Append(ctx context.Context, e Entry) error
	// Newest returns up to limit (at most MaxPage) entries of an endpoint, of all if
	// that is empty, newest first, older than those of the page whose Next is before; empty: from the newest.
	Newest(ctx context.Context, endpoint, before string, limit int) (Page, error)
	// Of returns the entries about an event, oldest first, at most MaxPage. It was
	// accepted at near, as far as the caller knows; zero: it does not.
	Of(ctx context.Context, event string, near time.Time) ([]Entry, error)
	// Scan calls visit for the entries of an endpoint that were appended since a
	// time and before another (zero: no bound), oldest first, until it returns false.
	Scan(ctx context.Context, endpoint string, since, until time.Time, visit func(Entry) (next bool)) error
}

// MaxPage is the most entries that one page has.
const MaxPage = 1000

// Page is a part of an endpoint's entries, newest first.
type Page struct {
	Entries []Entry
	Next    string // what to give to Newest for the next page; empty: this was the last
}
