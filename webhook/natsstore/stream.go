package natsstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/polywire/polywire/internal/natsack"
)

// stream is one that is written to, and read by direct gets in batches (NATS ADR-31),
// which need no consumer on the server.
type stream struct {
	nc     *nats.Conn
	sent   *natsack.Book[chan error] // of both streams
	js     jetstream.JetStream
	name   string
	prefix string // of its subjects
	direct string // where direct gets go
}

// Headers of answers to direct gets.
const (
	headerStatus   = "Status"
	headerSequence = "Nats-Sequence"
	headerPending  = "Nats-Num-Pending"
	headerTime     = "Nats-Time-Stamp"

	statusNotFound = "404"
	statusEnd      = "204"
)

// Bounds of one batch.
const (
	batchMessages = 256
	batchBytes    = 4 << 20
	batchSilence  = 5 * time.Second // nothing comes for so long: it was lost on the way

	appendPatience = 5 * time.Second // with the confirmation, of callers who set no bound

	// Servers that have just elected a stream's leader do not all answer for it at
	// once: a request that reaches none is repeated for so long, after such pauses.
	electionPatience = 10 * time.Second
	electionPause    = 100 * time.Millisecond
)

// get is a request for messages.
type get struct {
	Seq       uint64     `json:"seq,omitempty"`
	Next      string     `json:"next_by_subj,omitempty"`
	Last      string     `json:"last_by_subj,omitempty"`
	StartTime *time.Time `json:"start_time,omitempty"`
	Batch     int        `json:"batch,omitempty"`
	MaxBytes  int        `json:"max_bytes,omitempty"`
}

// message is one that was read.
type message struct {
	seq     uint64
	pending uint64 // how many more match behind it
	time    time.Time
	data    []byte
}

var (
	errNoAnswer = errors.New("natsstore: JetStream does not answer")
	errAnswer   = errors.New("natsstore: JetStream answers what cannot be understood")
)

// read asks for messages and calls visit for each until it returns false. It reports
// how many the server had.
func (s *stream) read(ctx context.Context, g get, visit func(m message) bool) (n int, err error) {
	req, err := json.Marshal(g)
	if err != nil {
		return 0, err
	}
	err = untilHeard(ctx, func() error {
		n, err = s.readOnce(ctx, req, g.Batch == 0, visit)
		return err
	})
	return n, err
}

// untilHeard repeats a request that reached no server.
func untilHeard(ctx context.Context, ask func() error) error {
	for patience := electionPatience; ; patience -= electionPause {
		err := ask()
		if !errors.Is(err, nats.ErrNoResponders) || patience <= 0 {
			return err
		}
		pause := time.NewTimer(electionPause)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return ctx.Err()
		}
	}
}

// readOnce is one request of read. That nobody was there to answer it is
// nats.ErrNoResponders, and nothing was visited then.
func (s *stream) readOnce(ctx context.Context, req []byte, single bool, visit func(m message) bool) (n int, err error) {
	inbox := s.nc.NewInbox()
	sub, err := s.nc.SubscribeSync(inbox)
	if err != nil {
		return 0, err
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := s.nc.PublishRequest(s.direct, inbox, req); err != nil {
		return 0, err
	}
	for {
		patience, cancel := context.WithTimeout(ctx, batchSilence)
		m, err := sub.NextMsgWithContext(patience)
		cancel()
		switch {
		case err != nil && ctx.Err() != nil:
			return n, ctx.Err()
		case err != nil:
			return n, fmt.Errorf("%w: %w", errNoAnswer, err)
		}
		switch status := m.Header.Get(headerStatus); status {
		case "":
		case statusNotFound, statusEnd:
			return n, nil
		default:
			return n, fmt.Errorf("%w: %s %s", errNoAnswer, status, m.Header.Get("Description"))
		}
		got, err := parse(m)
		if err != nil {
			return n, err
		}
		n++
		if !visit(got) || single {
			return n, nil
		}
	}
}

// append stores a message, and waits for the confirmation.
func (s *stream) append(ctx context.Context, m *nats.Msg) error {
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, appendPatience)
		defer cancel()
	}
	return untilHeard(ctx, func() error { return s.store(ctx, m) })
}

// store is one try to append.
func (s *stream) store(ctx context.Context, m *nats.Msg) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	stored := make(chan error, 1)
	wait, err := s.sent.Send(m, stored)
	if err != nil {
		return err
	}
	select {
	case err := <-stored:
		return err
	case <-ctx.Done():
		s.sent.Drop(wait)
		return ctx.Err()
	}
}

func parse(m *nats.Msg) (message, error) {
	got := message{data: m.Data}
	var err error
	if got.seq, err = strconv.ParseUint(m.Header.Get(headerSequence), 10, 64); err != nil {
		return got, fmt.Errorf("%w: a sequence", errAnswer)
	}
	if text := m.Header.Get(headerPending); text != "" {
		if got.pending, err = strconv.ParseUint(text, 10, 64); err != nil {
			return got, fmt.Errorf("%w: how many are left", errAnswer)
		}
	}
	if got.time, err = time.Parse(time.RFC3339Nano, m.Header.Get(headerTime)); err != nil {
		return got, fmt.Errorf("%w: a time", errAnswer)
	}
	return got, nil
}

// walk visits the messages that a filter has, from a time on (zero: all), until
// visit returns false.
func (s *stream) walk(ctx context.Context, filter string, since time.Time, visit func(m message) bool) error {
	return s.walkSome(ctx, filter, 1, since, batchMessages, visit)
}

// walkSome is walk from a sequence on, where there is no time, in smaller batches: a
// server that is asked for more than there is looks for it to the end of the stream.
func (s *stream) walkSome(ctx context.Context, filter string, from uint64, since time.Time, batch int, visit func(m message) bool) error {
	g := get{Seq: max(from, 1), Next: filter, Batch: batch, MaxBytes: batchBytes}
	if !since.IsZero() {
		at := since.UTC()
		g.Seq, g.StartTime = 0, &at
	}
	for {
		var last message
		stopped := false
		n, err := s.read(ctx, g, func(m message) bool {
			last = m
			stopped = !visit(m)
			return !stopped
		})
		if err != nil || stopped || n == 0 || last.pending == 0 {
			return err
		}
		g.Seq, g.StartTime = last.seq+1, nil
	}
}

// count returns how many messages a filter has from a sequence on.
func (s *stream) count(ctx context.Context, filter string, from uint64) (n uint64, err error) {
	_, err = s.read(ctx, get{Seq: max(from, 1), Next: filter, Batch: 1, MaxBytes: 1}, func(m message) bool {
		n = m.pending + 1
		return false
	})
	return n, err
}

// newest returns up to limit messages that a filter has before a sequence (0: of all),
// newest first, and whether there are more. The server reads forwards only, so it looks
// for a place to begin: one behind which there are enough and not many more.
func (s *stream) newest(ctx context.Context, filter string, before uint64, limit int) (ms []message, more bool, err error) {
	if before == 0 {
		if _, err := s.read(ctx, get{Last: filter}, func(m message) bool { before = m.seq + 1; return true }); err != nil || before == 0 {
			return nil, false, err
		}
	}
	behind, err := s.count(ctx, filter, before)
	if err != nil {
		return nil, false, err
	}
	total, err := s.count(ctx, filter, 1)
	if err != nil || total <= behind {
		return nil, false, err
	}
	total -= behind // those before
	want := min(uint64(limit), total)
	from, n := uint64(1), total
	if total > 2*want {
		from, n, err = s.place(ctx, filter, before, behind, want, before/total+1)
	}
	if err != nil {
		return nil, false, err
	}
	var kept []message
	seen := uint64(0)
	err = s.walkSome(ctx, filter, from, time.Time{}, int(min(n, batchMessages)), func(m message) bool {
		if m.seq >= before {
			return false
		}
		seen++
		if kept = append(kept, m); len(kept) >= 2*limit {
			kept = append(kept[:0], kept[len(kept)-limit:]...)
		}
		return seen < n
	})
	if err != nil {
		return nil, false, err
	}
	kept = kept[max(len(kept)-limit, 0):]
	slices.Reverse(kept)
	ms = kept
	return ms, total > uint64(len(ms)), nil
}

// place returns a sequence with at least want matches between it and before, and if it
// can be had not many more. behind is how many match from before on, and one of
// every is one that matches, as a first guess.
func (s *stream) place(ctx context.Context, filter string, before, behind, want, every uint64) (from, n uint64, err error) {
	enough := func(from uint64) (uint64, error) {
		n, err := s.count(ctx, filter, from)
		return n - min(n, behind), err
	}
	most := uint64(math.MaxUint64) // from low on, as far as is known
	few := before                  // from here on there are too few
	span := want*every*3/2 + 16
	low := uint64(1)
	for span < before {
		low = before - span
		n, err := enough(low)
		if err != nil {
			return 0, 0, err
		}
		if n >= want {
			if n <= 4*want {
				return low, n, nil
			}
			most = n
			break
		}
		few, span, low = low, 8*span, 1
	}
	for low+want < few { // too many from low on, too few from few on
		middle := low + (few-low)/2
		n, err := enough(middle)
		switch {
		case err != nil:
			return 0, 0, err
		case n < want:
			few = middle
		case n <= 4*want:
			return middle, n, nil
		default:
			low, most = middle, n
		}
	}
	return low, most, nil
}
