package natscluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/polywire/polywire/cluster"
)

// A page of a stream's answers has at most so many messages and about so many bytes.
const (
	pageMessages = 1000
	pageBytes    = 4 << 20
)

// expiryMargin is by how much replicas may differ about the age of a message.
const expiryMargin = 5 * time.Second

// getRequest is what the JetStream API calls a direct get, and a message get.
type getRequest struct {
	Seq      uint64 `json:"seq,omitempty"`
	Next     string `json:"next_by_subj,omitempty"`
	Last     string `json:"last_by_subj,omitempty"`
	Batch    int    `json:"batch,omitempty"`
	MaxBytes int    `json:"max_bytes,omitempty"`
}

// After implements [cluster.Log]. At most 32 calls a log ask NATS at a time;
// others wait, bounded by ctx alone. Once it asks it takes at most 5 s.
//
// With several replicas any of them may answer; what it says is held against
// what the leader has.
func (l *Log) After(ctx context.Context, topic string, p cluster.Position) (cluster.Page, error) {
	l.b.counters.reads.Add(1)
	page, err := l.after(ctx, topic, p)
	switch {
	case err != nil:
		l.b.counters.readErrors.Add(1)
	case !page.Complete:
		l.b.counters.incompleteReads.Add(1)
	}
	return page, err
}

func (l *Log) after(ctx context.Context, topic string, p cluster.Position) (cluster.Page, error) {
	if !validTopic(topic) {
		return cluster.Page{}, fmt.Errorf("natscluster: topic of %d bytes: 1 to %d", len(topic), cluster.MaxTopicBytes)
	}
	if err := l.b.usable(ctx); err != nil && !errors.Is(err, cluster.ErrUnavailable) {
		return cluster.Page{}, err
	}
	select {
	case l.reads <- struct{}{}:
	case <-ctx.Done():
		return cluster.Page{}, unavailable(context.Cause(ctx))
	case <-l.b.ctx.Done():
		return cluster.Page{}, cluster.ErrClosed
	}
	defer func() { <-l.reads }()
	ctx, cancel := context.WithTimeoutCause(ctx, answerTimeout, errors.New("the stream did not answer in time"))
	defer cancel()
	for {
		began := time.Now()
		if err := l.b.present(ctx); err != nil {
			return cluster.Page{}, err
		}
		r := &reading{l: l, s: l.b.sess.Load(), era: l.now.Load(), topic: topic, p: p}
		r.subject = l.appended(r.era.epoch) + token(topic)
		page, err := r.page(ctx)
		switch {
		case err == nil:
			return page, nil
		case errors.Is(err, nats.ErrNoResponders), errors.Is(err, errEpoch):
			if err = l.renew(ctx, began); err == nil && l.now.Load() == r.era {
				err = pause(ctx)
			}
		case errors.Is(err, errAgain):
			err = pause(ctx)
		}
		if err != nil {
			return cluster.Page{}, unavailable(err)
		}
	}
}

// errEpoch says that the stream has another epoch than was thought.
var errEpoch = errors.New("natscluster: another epoch")

// reading is one try of After.
type reading struct {
	l       *Log
	s       *session
	era     *era
	topic   string
	subject string
	p       cluster.Position
}

// page answers. A page is complete if at the moment of the last read nothing
// after the position had been discarded. Streams discard the oldest of a topic
// first, so either of these says so:
//
//   - the message at the position was there after that moment;
//   - nothing but the bound of the topic's size can have discarded, as the
//     stream still begins before or at the position, and no more than Size
//     messages came after it, so this one has not either: the stream is made
//     to keep one more.
func (r *reading) page(ctx context.Context) (cluster.Page, error) {
	if r.p.Epoch != r.era.epoch {
		return r.incomplete(ctx)
	}
	found, err := r.read(ctx)
	if err != nil {
		return cluster.Page{}, err
	}
	complete := found.witnessed
	if !complete {
		if complete, err = r.untouched(ctx, found); err != nil {
			return cluster.Page{}, err
		}
	}
	if !complete {
		return r.incomplete(ctx)
	}
	if r.era.lost.Load() {
		return cluster.Page{}, errEpoch // what was found may be of two epochs
	}
	page := cluster.Page{Complete: true, Top: r.p}
	for _, m := range found.messages {
		from, _, data, err := parseFrame(m.Data)
		if err != nil {
			r.l.b.counters.malformed.Add(1)
			continue
		}
		at := cluster.Position{Epoch: r.era.epoch, Offset: sequence(m)}
		page.Messages = append(page.Messages, cluster.Message{
			From: string(from), Topic: r.topic, Data: data, Log: r.l.name, At: at, Prev: page.Top.Offset,
		})
		page.Top = at
	}
	r.era.heard(page.Top.Offset)
	return page, nil
}

// sequence returns where a message stands in the stream.
func sequence(m *nats.Msg) uint64 {
	seq, _ := strconv.ParseUint(header(m, jetstream.SequenceHeader), 10, 64) // 0 is no sequence
	return seq
}

// found is what was read of a topic.
type found struct {
	messages  []*nats.Msg // after the position
	at        bool        // the one at the position was read too
	witnessed bool        // and it was still there after all were read
}

// take adds a batch.
func (f *found) take(batch []*nats.Msg, p cluster.Position) {
	if len(batch) > 0 && !f.at && len(f.messages) == 0 && sequence(batch[0]) == p.Offset {
		f.at, batch = true, batch[1:]
	}
	f.messages = append(f.messages, batch...)
}

// last returns the sequence of the last message that was read; 0: none.
func (f *found) last(p cluster.Position) uint64 {
	switch {
	case len(f.messages) > 0:
		return sequence(f.messages[len(f.messages)-1])
	case f.at:
		return p.Offset
	}
	return 0
}

// read reads what the topic has from the position on.
func (r *reading) read(ctx context.Context) (found, error) {
	var f found
	var leader *reply
	if r.l.clustered() {
		var err error
		if leader, err = r.ask(leaderGet, getRequest{Last: r.subject}, nil); err != nil {
			return f, err
		}
		defer leader.forget()
	}
	for next, more := max(r.p.Offset, 1), true; more; next = f.last(r.p) + 1 {
		batch, err := r.ask(directGet, getRequest{Seq: next, Next: r.subject, Batch: pageMessages, MaxBytes: pageBytes}, isStatus)
		if err != nil {
			return f, err
		}
		defer batch.forget()
		// A server answers in the order in which it was asked.
		witness, err := r.ask(directGet, getRequest{Seq: max(r.p.Offset, 1), Next: r.subject}, nil)
		if err != nil {
			return f, err
		}
		defer witness.forget()
		if err := batch.wait(ctx, 2*tryTimeout); err != nil {
			return f, err
		}
		m, err := witness.first(ctx)
		if err != nil {
			return f, err
		}
		f.witnessed = status(m) == "" && sequence(m) == r.p.Offset
		end := batch.all[len(batch.all)-1]
		if s := status(end); s != "204" && s != "404" {
			return f, fmt.Errorf("%w: a read was answered with %s %s", cluster.ErrUnavailable, s, header(end, "Description"))
		}
		if !whole(batch.all) {
			return f, errAgain
		}
		messages := batch.all[:len(batch.all)-1]
		f.take(messages, r.p)
		more = header(end, numPending) != "" && header(end, numPending) != "0"
		if more && !full(messages) && leader != nil {
			// This replica has dropped messages while it was reading, and it may
			// have been another one that was the witness.
			return f, errAgain
		}
	}
	f.witnessed = f.witnessed && f.at
	if leader != nil {
		return f, r.caughtUp(ctx, leader, &f)
	}
	return f, nil
}

// whole reports whether a batch has all that the server sent: each names the
// one before. Some get lost where the connection was away for a moment.
func whole(batch []*nats.Msg) bool {
	last := "0"
	for _, m := range batch {
		if before := header(m, lastSequence); before != "" && before != last {
			return false
		}
		last = header(m, jetstream.SequenceHeader)
	}
	return true
}

// lastSequence is that of the message before in a batch, or of the last one.
const lastSequence = "Nats-Last-Sequence"

// full reports whether a batch may have ended because of its bounds.
func full(batch []*nats.Msg) bool {
	size := 0
	for _, m := range batch {
		size += len(m.Data) + len(header(m, jetstream.SubjectHeader)) + 100 // with the stored headers
	}
	return len(batch) >= pageMessages || size >= pageBytes
}

// numPending says how many messages a batch has left.
const numPending = "Nats-Num-Pending"

func isStatus(m *nats.Msg) bool { return status(m) != "" }

// Ways to ask for messages: any replica, and the leader.
const (
	directGet = "$JS.API.DIRECT.GET."
	leaderGet = "$JS.API.STREAM.MSG.GET."
)

func (r *reading) ask(way string, q getRequest, last func(*nats.Msg) bool) (*reply, error) {
	text, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	p, err := r.s.replies.ask(way+r.l.stream, nil, text, last)
	if err != nil {
		return nil, r.l.b.askError(r.s.nc, err, len(text))
	}
	return p, nil
}

// stored is a message as the leader tells of it.
type stored struct {
	Error   *jetstream.APIError `json:"error"`
	Message *struct {
		Seq  uint64    `json:"seq"`
		Time time.Time `json:"time"`
	} `json:"message"`
}

// leaderSays takes the leader's answer; there may be no message.
func leaderSays(ctx context.Context, p *reply) (stored, error) {
	m, err := p.first(ctx)
	if err != nil {
		return stored{}, err
	}
	var s stored
	if err := json.Unmarshal(m.Data, &s); err != nil {
		return s, fmt.Errorf("%w: an answer that is none: %w", cluster.ErrUnavailable, err)
	}
	switch {
	case s.Error == nil && s.Message != nil, s.Error != nil && s.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return s, nil
	case s.Error != nil && s.Error.ErrorCode == jetstream.JSErrCodeStreamNotFound:
		return s, errEpoch
	case s.Error != nil && s.Error.Code < 500:
		return s, unavailable(s.Error)
	}
	return s, errAgain
}

// caughtUp fails if a replica has answered that does not have all yet.
func (r *reading) caughtUp(ctx context.Context, leader *reply, f *found) error {
	s, err := leaderSays(ctx, leader)
	if err != nil {
		return err
	}
	if s.Message != nil && s.Message.Seq >= r.p.Offset && s.Message.Seq > f.last(r.p) {
		return errAgain
	}
	return nil
}

// untouched reports whether the stream can have discarded nothing after the
// position. It looks after all was read.
func (r *reading) untouched(ctx context.Context, f found) (bool, error) {
	info, err := r.info(ctx)
	if err != nil {
		return false, err
	}
	s := &info.State
	if len(f.messages) > r.l.opts.Size || s.FirstSeq > r.p.Offset+1 || s.LastSeq < r.p.Offset {
		return false, nil
	}
	if info.Config.Replicas == 1 || r.l.opts.Age == 0 {
		return true, nil
	}
	// Replicas drop what is too old each by its own clock: the one that was
	// read may have done so before the leader.
	p, err := r.ask(leaderGet, getRequest{Seq: r.p.Offset + 1, Next: r.l.appended(r.era.epoch) + ">"}, nil)
	if err != nil {
		return false, err
	}
	defer p.forget()
	first, err := leaderSays(ctx, p)
	if err != nil || first.Message == nil {
		return err == nil, err
	}
	return time.Since(first.Message.Time) < r.l.opts.Age-min(expiryMargin, r.l.opts.Age/2), nil
}

// info asks for the stream's state, and whether its epoch is the one that this
// try goes by.
func (r *reading) info(ctx context.Context) (*jetstream.StreamInfo, error) {
	info, behind, err := r.l.look(ctx, r.s.js)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return nil, errEpoch
	case err != nil && ctx.Err() == nil:
		return nil, errAgain
	case err != nil:
		return nil, err
	}
	if r.l.epochIn(&info.Config) != r.era.epoch || behind {
		return nil, errEpoch
	}
	return info, nil
}

// incomplete answers with no messages. For a topic that has none the stream's
// last sequence is a place to begin at if none has come since.
func (r *reading) incomplete(ctx context.Context) (cluster.Page, error) {
	page := cluster.Page{Top: cluster.Position{Epoch: r.era.epoch}}
	var err error
	if page.Top.Offset, err = r.last(ctx); err != nil || page.Top.Offset > 0 {
		return page, err
	}
	info, err := r.info(ctx)
	if err != nil {
		return cluster.Page{}, err
	}
	if page.Top.Offset, err = r.last(ctx); err != nil || page.Top.Offset > 0 {
		return page, err
	}
	page.Top.Offset = info.State.LastSeq
	return page, nil
}

// last returns the sequence of the topic's last message; 0: there is none.
func (r *reading) last(ctx context.Context) (uint64, error) {
	way := directGet
	if r.l.clustered() {
		way = leaderGet
	}
	p, err := r.ask(way, getRequest{Last: r.subject}, nil)
	if err != nil {
		return 0, err
	}
	defer p.forget()
	if way == leaderGet {
		s, err := leaderSays(ctx, p)
		if err != nil || s.Message == nil {
			return 0, err
		}
		return s.Message.Seq, nil
	}
	m, err := p.first(ctx)
	if err != nil || status(m) == "404" {
		return 0, err
	}
	return sequence(m), nil
}
