package api

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/polywire/polywire"
	v1 "github.com/polywire/polywire/cmd/polywire/apiv1"
	"github.com/polywire/polywire/cmd/polywire/internal/traces"
	"github.com/polywire/polywire/queue"
)

// maxReplayed is how many dead letters are put back by one request.
const maxReplayed = 10_000

// broker returns the broker; name is that of a queue, if one is meant.
func (s *service) broker(name string) (*queue.Broker, error) {
	if s.queues == nil {
		return nil, problemf(codeUnsupported, "this server has no queues")
	}
	if name != "" {
		return s.queues, queue.CheckQueue(name)
	}
	return s.queues, nil
}

// ListQueues lists the queues.
func (s *service) ListQueues(ctx context.Context, _ *v1.ListQueuesRequest) (*v1.ListQueuesResponse, error) {
	b, err := s.broker("")
	if err != nil {
		return nil, err
	}
	names, err := b.Queues(ctx)
	if err != nil {
		return nil, err
	}
	out := &v1.ListQueuesResponse{}
	for _, name := range names {
		out.Queues = append(out.Queues, &v1.Queue{Name: valid(name)})
	}
	return out, nil
}

// ReadQueue reads how much a queue holds.
func (s *service) ReadQueue(ctx context.Context, in *v1.ReadQueueRequest) (*v1.ReadQueueResponse, error) {
	b, err := s.broker(in.GetQueue())
	if err != nil {
		return nil, err
	}
	d, err := b.Inspect(ctx, in.GetQueue())
	if err != nil {
		return nil, err
	}
	return &v1.ReadQueueResponse{
		Name: in.GetQueue(), Waiting: told(d.Waiting), Delayed: told(d.Delayed), Unacked: told(d.Unacked), Dead: told(d.Dead), Oldest: someStamp(d.Oldest),
	}, nil
}

// told returns nil for what a broker does not tell.
func told(n int64) *int64 {
	if n < 0 {
		return nil
	}
	return &n
}

// PublishToQueue puts a message into a queue.
func (s *service) PublishToQueue(ctx context.Context, in *v1.PublishToQueueRequest) (*v1.PublishToQueueResponse, error) {
	b, err := s.broker(in.GetQueue())
	if err != nil {
		return nil, err
	}
	delay, err := duration("delay", in.GetDelay(), queue.MaxDelay)
	if err != nil {
		return nil, err
	}
	var text *string
	if t, ok := in.GetPayload().(*v1.PublishToQueueRequest_Text); ok {
		text = &t.Text
	}
	var raw []byte
	if b, ok := in.GetPayload().(*v1.PublishToQueueRequest_Bytes); ok {
		raw = nonNil(b.Bytes)
	}
	payload, err := payloadIn(in.GetJson(), text, raw)
	if err != nil {
		return nil, err
	}
	m := queue.Message{Queue: in.GetQueue(), ID: in.GetId(), Key: in.GetKey(), Kind: in.GetKind(), Header: traces.Header(ctx, in.GetHeader()), Payload: payload, Delay: delay}
	if m.ID == "" {
		m.ID = queue.NewID(time.Now())
	}
	ctx, cancel := context.WithTimeout(ctx, s.publishWait)
	defer cancel()
	if err := b.Publish(ctx, m); err != nil {
		return nil, err
	}
	return &v1.PublishToQueueResponse{Id: m.ID}, nil
}

// PurgeQueue empties a queue.
func (s *service) PurgeQueue(ctx context.Context, in *v1.PurgeQueueRequest) (*v1.PurgeQueueResponse, error) {
	b, err := s.broker(in.GetQueue())
	if err != nil {
		return nil, err
	}
	n, err := b.Purge(ctx, in.GetQueue())
	if err != nil {
		return nil, err
	}
	return &v1.PurgeQueueResponse{Removed: told(n)}, nil
}

// reasons are what a letter may have died of.
func reasons() []queue.Reason {
	return []queue.Reason{queue.ReasonDiscarded, queue.ReasonAttempts, queue.ReasonLost, queue.ReasonBroker}
}

func deadFilter(in *v1.DeadFilter) (f queue.DeadFilter, err error) {
	if in == nil {
		return f, nil
	}
	f = queue.DeadFilter{IDs: in.GetIds(), Kind: in.GetKind(), Key: in.GetKey(), Reason: queue.Reason(in.GetReason()), Error: in.GetError()}
	if len(in.GetIds()) > maxElements {
		return f, invalid("ids: at most %d", maxElements)
	}
	if in.GetReason() != "" && !slices.Contains(reasons(), f.Reason) {
		return f, invalid("reason: want one of %v", reasons())
	}
	for text, to := range map[*string]*time.Time{&in.Since: &f.Since, &in.Until: &f.Until} {
		if *text == "" {
			continue
		}
		if *to, err = time.Parse(time.RFC3339, *text); err != nil {
			return f, invalid("since and until: want a time as 2006-01-02T15:04:05Z")
		}
	}
	return f, nil
}

// ListDeadLetters lists dead letters.
func (s *service) ListDeadLetters(ctx context.Context, in *v1.ListDeadLettersRequest) (*v1.ListDeadLettersResponse, error) {
	b, err := s.broker(in.GetQueue())
	if err != nil {
		return nil, err
	}
	limit, err := page(in.GetLimit())
	if err != nil {
		return nil, err
	}
	f, err := deadFilter(in.GetFilter())
	if err != nil {
		return nil, err
	}
	p, err := b.Dead(in.GetQueue()).List(ctx, f, in.GetAfter(), limit)
	if err != nil {
		return nil, err
	}
	out := &v1.ListDeadLettersResponse{Next: some(p.Next)}
	for i := range p.Letters {
		out.Letters = append(out.Letters, s.letter(&p.Letters[i]))
	}
	return out, nil
}

func (s *service) letter(d *queue.Dead) *v1.DeadLetter {
	l := &v1.DeadLetter{
		Id: valid(d.ID), Key: some(valid(d.Key)), Kind: some(valid(d.Kind)), Published: someStamp(d.Published), Died: someStamp(d.Died),
		Attempts: int32(d.Attempts), Reason: valid(string(d.Reason)), Error: some(valid(d.LastError)),
	}
	for name, value := range d.Header {
		if l.Header == nil {
			l.Header = make(map[string]string, len(d.Header))
		}
		l.Header[valid(name)] = valid(value)
	}
	s.putDead(l, d.Payload)
	return l
}

func (s *service) putDead(l *v1.DeadLetter, p polywire.Payload) {
	switch f := s.form(p); {
	case f.json != nil:
		l.Payload = &v1.DeadLetter_Json{Json: f.json}
	case f.text != nil:
		l.Payload = &v1.DeadLetter_Text{Text: *f.text}
	case f.bytes != nil:
		l.Payload = &v1.DeadLetter_Bytes{Bytes: f.bytes}
	}
}

// chosen returns the filter of a request that changes dead letters: an empty one
// has to be asked for by name.
func chosen(in *v1.DeadFilter, all bool) (f queue.DeadFilter, err error) {
	if f, err = deadFilter(in); err != nil {
		return f, err
	}
	empty := len(f.IDs) == 0 && f.Kind == "" && f.Key == "" && f.Reason == "" && f.Error == "" && f.Since.IsZero() && f.Until.IsZero()
	if empty != all {
		return f, invalid("want a filter, or all: true")
	}
	return f, nil
}

// ReplayDeadLetters puts dead letters back.
func (s *service) ReplayDeadLetters(ctx context.Context, in *v1.ReplayDeadLettersRequest) (*v1.ReplayDeadLettersResponse, error) {
	b, err := s.broker(in.GetQueue())
	if err != nil {
		return nil, err
	}
	f, err := chosen(in.GetFilter(), in.GetAll())
	if err != nil {
		return nil, err
	}
	if in.GetLimit() < 0 || in.GetLimit() > maxReplayed {
		return nil, invalid("limit: want 1 to %d", maxReplayed)
	}
	limit := int(in.GetLimit())
	if limit == 0 {
		limit = maxReplayed
	}
	n, err := b.Dead(in.GetQueue()).Replay(ctx, f, queue.ReplayOptions{Limit: limit})
	if err != nil {
		return nil, midway(n, err)
	}
	return &v1.ReplayDeadLettersResponse{Replayed: int64(n)}, nil
}

// PurgeDeadLetters removes dead letters.
func (s *service) PurgeDeadLetters(ctx context.Context, in *v1.PurgeDeadLettersRequest) (*v1.PurgeDeadLettersResponse, error) {
	b, err := s.broker(in.GetQueue())
	if err != nil {
		return nil, err
	}
	f, err := chosen(in.GetFilter(), in.GetAll())
	if err != nil {
		return nil, err
	}
	n, err := b.Dead(in.GetQueue()).Purge(ctx, f)
	if err != nil {
		return nil, midway(n, err)
	}
	return &v1.PurgeDeadLettersResponse{Removed: int64(n)}, nil
}

// midway tells of what ended after some letters.
func midway(n int, err error) error {
	if n == 0 {
		return err
	}
	p := problemOf(err)
	return &problem{code: p.code, detail: fmt.Sprintf("%s; %d letters are done", p.detail, n), err: err}
}
