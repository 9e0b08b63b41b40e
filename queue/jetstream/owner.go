package jetstream

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/polywire/polywire/queue"
)

// owner is the right to consume a queue in order: a record that is renewed, and
// that only one can write next, by the sequence of the last. Whoever finds it
// not renewed for longer than its messages' leases takes the place.
type owner struct {
	s       *subscription
	subject string
	id      string
	ttl     time.Duration
	lost    chan struct{} // closed when somebody else may have the queue
	cancel  context.CancelFunc
	ended   chan struct{}

	forced bool // the one before did not give it back; only the loop uses it

	renewal sync.Mutex // one at a time

	mu     sync.Mutex
	seq    uint64
	losses []uint64
}

// ownRecord is what the stream has.
type ownRecord struct {
	Owner string        `json:"owner"` // empty: nobody
	TTL   time.Duration `json:"ttl"`   // nanoseconds
	// Losses has, for each time that an owner was lost, the last sequence that
	// had been delivered. What is there still of those before was in its hands:
	// the consumer is made anew then, which forgets how often it delivered what.
	Losses []uint64 `json:"losses,omitempty"`
}

// maxLosses bounds the record. It is more than any MaxLost that makes sense.
const maxLosses = 1000

// ownSlack is how much longer ownership lasts than the leases of the messages
// that an owner had, who is gone: these must come again first.
const ownSlack = 500 * time.Millisecond

// ownPoll is how often the record is read by those who wait for it.
const ownPoll = time.Second

// own returns when the queue is this subscription's.
func (s *subscription) own(l *link) error {
	o := s.owned()
	if o != nil {
		select {
		case <-o.lost:
		default:
			return nil // it was kept over an outage
		}
	}
	str, err := s.d.makeOwn(s.ctx, l)
	if err != nil {
		return err
	}
	o = &owner{
		s: s, subject: s.d.names.own(s.name), id: rand.Text(), ttl: s.lease + s.lease/3 + ownSlack,
		lost: make(chan struct{}), ended: make(chan struct{}),
	}
	if err := o.acquire(s.ctx, l, str); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(s.d.ctx)
	o.cancel = cancel
	if !s.d.begin(func() { o.keep(ctx) }) {
		cancel()
		return queue.ErrClosed
	}
	s.mu.Lock()
	s.owner = o
	s.mu.Unlock()
	return nil
}

func (s *subscription) owned() *owner {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.owner
}

// lost returns a channel that is closed when the queue is no longer this
// subscription's; nil where it need not be.
func (s *subscription) lost() <-chan struct{} {
	if o := s.owned(); o != nil {
		return o.lost
	}
	return nil
}

// acquire waits until the record is free, and takes it.
func (o *owner) acquire(ctx context.Context, l *link, str jetstream.Stream) error {
	changed := make(chan struct{}, 1)
	watch, err := l.nc.Subscribe(o.subject, func(*nats.Msg) {
		select {
		case changed <- struct{}{}:
		default:
		}
	})
	if err != nil {
		return translate(err)
	}
	defer func() { _ = watch.Unsubscribe() }()
	var seen uint64
	var since time.Time
	for {
		seq, rec, err := o.read(ctx, str)
		if err != nil {
			return err
		}
		if since.IsZero() || seq != seen {
			seen, since = seq, time.Now()
		}
		left := time.Until(since.Add(rec.TTL))
		if rec.Owner == "" || left <= 0 {
			o.losses = rec.Losses
			switch err := o.write(ctx, l, seq, o.id); {
			case err == nil:
				o.forced = rec.Owner != ""
				return nil
			case !errors.Is(err, errTaken):
				return err
			}
			continue
		}
		t := time.NewTimer(min(left, ownPoll))
		select {
		case <-changed:
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
		t.Stop()
	}
}

// read returns the record and its sequence; zero: there is none.
func (o *owner) read(ctx context.Context, str jetstream.Stream) (uint64, ownRecord, error) {
	m, err := str.GetLastMsgForSubject(ctx, o.subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, ownRecord{}, nil
	}
	if err != nil {
		return 0, ownRecord{}, translate(err)
	}
	var rec ownRecord
	if len(m.Data) > 0 && (json.Unmarshal(m.Data, &rec) != nil || rec.TTL <= 0 || rec.TTL > maxOwn) {
		rec = ownRecord{} // not one of ours
	}
	return m.Sequence, rec, nil
}

const maxOwn = 24 * time.Hour

// errTaken says that somebody else has written the record.
var errTaken = errors.New("jetstream: the queue has been taken by another")

// write writes the record if the last one has the sequence seq.
func (o *owner) write(ctx context.Context, l *link, seq uint64, id string) error {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	o.mu.Lock()
	data, err := json.Marshal(ownRecord{Owner: id, TTL: o.ttl, Losses: o.losses})
	o.mu.Unlock()
	if err != nil {
		return err
	}
	m := &nats.Msg{Subject: o.subject, Header: nats.Header{headerExpectSeq: {itoa(seq)}}, Data: data}
	ack, err := l.js.PublishMsg(ctx, m)
	var api *jetstream.APIError
	switch {
	case err == nil:
		o.mu.Lock()
		o.seq = ack.Sequence
		o.mu.Unlock()
		return nil
	case errors.As(err, &api) && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence ||
		api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant):
		return errTaken
	}
	return translate(err)
}

// keep renews the record, until it is released or lost. It gives the queue up
// at the moment at which that is due, however long a renewal takes: others go
// by the time alone.
func (o *owner) keep(ctx context.Context) {
	defer close(o.ended)
	every := o.s.lease / 3
	tick := time.NewTicker(every)
	defer tick.Stop()
	ends := time.Now().Add(o.ttl - ownSlack)
	end := time.NewTimer(time.Until(ends))
	defer end.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-end.C:
		case <-tick.C:
		}
		before := time.Now()
		err := queue.ErrUnavailable
		if l := o.s.d.current(); l != nil && before.Before(ends) {
			within, cancel := context.WithTimeout(ctx, min(every, ends.Sub(before)))
			err = o.renew(within, l)
			cancel()
		}
		if err == nil {
			ends = before.Add(o.ttl - ownSlack)
			end.Reset(time.Until(ends))
		}
		if errors.Is(err, errTaken) || !time.Now().Before(ends) {
			o.giveUp()
			return
		}
	}
}

// giveUp is for when somebody else may have the queue.
func (o *owner) giveUp() {
	o.s.mu.Lock()
	o.s.dropAll()
	if x := o.s.session; x != nil {
		x.deaf = true
	}
	o.s.mu.Unlock()
	close(o.lost)
}

// renew writes the record again. It may be called by the loop, while keep does. A write whose answer was lost may have been
// done: then the next one finds this owner's own record.
func (o *owner) renew(ctx context.Context, l *link) error {
	o.renewal.Lock()
	defer o.renewal.Unlock()
	err := o.write(ctx, l, o.last(), o.id)
	if !errors.Is(err, errTaken) {
		return err
	}
	str, err := l.js.Stream(ctx, o.s.d.names.ownStream())
	if err != nil {
		return translate(err)
	}
	seq, rec, err := o.read(ctx, str)
	if err != nil {
		return err
	}
	if rec.Owner != o.id {
		return fmt.Errorf("%w: %s", errTaken, rec.Owner)
	}
	return o.write(ctx, l, seq, o.id)
}

// lose notes that what was delivered up to a sequence was lost by an owner; of
// what is before first nothing is left.
func (o *owner) lose(ctx context.Context, l *link, delivered, first uint64) error {
	o.mu.Lock()
	left := make([]uint64, 0, len(o.losses)+1)
	for _, seq := range o.losses {
		if seq >= first {
			left = append(left, seq)
		}
	}
	left = append(left, delivered)
	o.losses = left[max(len(left)-maxLosses, 0):]
	o.mu.Unlock()
	return o.renew(ctx, l)
}

// lostBefore is how often a message was in the hands of an owner that was lost.
func (o *owner) lostBefore(seq uint64) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := 0
	for _, delivered := range o.losses {
		if seq <= delivered {
			n++
		}
	}
	return n
}

func (o *owner) last() uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.seq
}

// release lets others have the queue at once.
func (o *owner) release() {
	o.cancel()
	<-o.ended
	select {
	case <-o.lost:
		return
	default:
	}
	if l := o.s.d.current(); l != nil {
		ctx, cancel := context.WithTimeout(o.s.d.ctx, time.Second)
		defer cancel()
		_ = o.write(ctx, l, o.last(), "") // or it ends by its time
	}
}
