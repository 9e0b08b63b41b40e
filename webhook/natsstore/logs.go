package natsstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/polywire/polywire/webhook"
	"github.com/polywire/polywire/webhook/dispatch"
)

// skew is by how much clocks of programs and servers may differ.
const skew = 5 * time.Minute

// Events implements dispatch.Events, for many goroutines at once. Their subjects are
// prefix.webhook.event., the drawer and the type.
type Events struct {
	stream

	bounded bool
}

var _ dispatch.Events = (*Events)(nil)

// Bounded implements dispatch.BoundedEvents: with Options.EventMaxBytes it is true.
func (s *Events) Bounded() bool { return s.bounded }

// Append implements dispatch.Events.
func (s *Events) Append(ctx context.Context, e dispatch.Stored) error {
	err := s.append(ctx, &nats.Msg{
		Subject: s.prefix + drawer(e.ID) + "." + e.Type, Header: nats.Header{nats.MsgIdHdr: {escape(e.ID)}},
		Data: appendStored(make([]byte, 0, len(e.Data)+256), e),
	})
	if api, ok := errors.AsType[*jetstream.APIError](err); ok && s.bounded && full(api) {
		return fmt.Errorf("%w: %w", dispatch.ErrFull, err)
	}
	if err != nil {
		return fmt.Errorf("natsstore: the event cannot be kept: %w", err)
	}
	return nil
}

// full reports whether the server refused a message because it has no room for it. The
// codes are those of its errors JSStreamStoreFailedF, which says what the bound is, and
// JSInsufficientResourcesErr, of nats-server 2.12 to 2.15.
func full(err *jetstream.APIError) bool {
	const storeFailed, insufficientResources = 10077, 10023
	return err.ErrorCode == insufficientResources || err.ErrorCode == storeFailed && strings.Contains(err.Description, "maximum")
}

// Load implements dispatch.Events.
func (s *Events) Load(ctx context.Context, id string, near time.Time) (dispatch.Stored, error) {
	filter := s.prefix + drawer(id) + ".>"
	var found *dispatch.Stored
	look := func(since time.Time) error {
		return s.walk(ctx, filter, since, func(m message) bool {
			var e dispatch.Stored
			if json.Unmarshal(m.data, &e) == nil && e.ID == id {
				found = &e
			}
			return found == nil
		})
	}
	var err error
	if !near.IsZero() {
		err = look(near.Add(-skew))
	}
	if err == nil && found == nil {
		err = look(time.Time{})
	}
	switch {
	case err != nil:
		return dispatch.Stored{}, fmt.Errorf("natsstore: the event cannot be read: %w", err)
	case found == nil:
		return dispatch.Stored{}, fmt.Errorf("%w: event %.255q", dispatch.ErrNotFound, id)
	}
	return *found, nil
}

// Scan implements dispatch.Events.
func (s *Events) Scan(ctx context.Context, pattern string, since, until time.Time, visit func(dispatch.Stored) bool) error {
	filter := s.prefix + "*." + pattern
	if prefix, wild := strings.CutSuffix(pattern, "*"); wild {
		filter = s.prefix + "*." + prefix + ">"
	}
	err := s.walk(ctx, filter, since, func(m message) bool {
		if !until.IsZero() && !m.time.Before(until) {
			return false
		}
		var e dispatch.Stored
		if json.Unmarshal(m.data, &e) != nil || !webhook.MatchType(pattern, e.Type) {
			return true // not one of ours
		}
		return visit(e)
	})
	if err != nil {
		return fmt.Errorf("natsstore: the events cannot be read: %w", err)
	}
	return nil
}

// Attempts implements dispatch.Attempts. Their subjects are prefix.webhook.attempt., the
// endpoint and the event's drawer.
type Attempts struct{ stream }

var _ dispatch.Attempts = (*Attempts)(nil)

// Append implements dispatch.Attempts.
func (s *Attempts) Append(ctx context.Context, e dispatch.Entry) error {
	data, err := appendEntry(make([]byte, 0, 512), e)
	if err != nil {
		return fmt.Errorf("natsstore: the attempt cannot be encoded: %w", err)
	}
	subject := s.prefix + escape(e.Endpoint) + "." + drawer(e.Attempt.ID)
	if err := s.append(ctx, &nats.Msg{Subject: subject, Data: data}); err != nil {
		return fmt.Errorf("natsstore: the attempt cannot be kept: %w", err)
	}
	return nil
}

// Newest implements dispatch.Attempts.
func (s *Attempts) Newest(ctx context.Context, endpoint, before string, limit int) (dispatch.Page, error) {
	var seq uint64
	if before != "" {
		var err error
		if seq, err = strconv.ParseUint(before, 10, 64); err != nil || seq == 0 {
			return dispatch.Page{}, fmt.Errorf("%w: no such page", dispatch.ErrInvalid)
		}
	}
	if limit <= 0 || limit > dispatch.MaxPage {
		limit = dispatch.MaxPage
	}
	if !fits(endpoint) {
		return dispatch.Page{}, nil
	}
	filter := ">" // the stream has nothing else, and the server then need not look at each subject
	if endpoint != "" {
		filter = s.prefix + escape(endpoint) + ".*"
	}
	ms, more, err := s.newest(ctx, filter, seq, limit)
	if err != nil {
		return dispatch.Page{}, fmt.Errorf("natsstore: the attempts cannot be read: %w", err)
	}
	var p dispatch.Page
	for _, m := range ms {
		var e dispatch.Entry
		if json.Unmarshal(m.data, &e) == nil && (endpoint == "" || e.Endpoint == endpoint) {
			p.Entries = append(p.Entries, e)
		}
	}
	if more {
		p.Next = strconv.FormatUint(ms[len(ms)-1].seq, 10)
	}
	return p, nil
}

// Of implements dispatch.Attempts.
func (s *Attempts) Of(ctx context.Context, event string, near time.Time) ([]dispatch.Entry, error) {
	if !near.IsZero() {
		near = near.Add(-skew)
	}
	var all []dispatch.Entry
	err := s.walk(ctx, s.prefix+"*."+drawer(event), near, func(m message) bool {
		var e dispatch.Entry
		if json.Unmarshal(m.data, &e) == nil && e.Attempt.ID == event {
			all = append(all, e)
		}
		return len(all) < dispatch.MaxPage
	})
	if err != nil {
		return nil, fmt.Errorf("natsstore: the attempts cannot be read: %w", err)
	}
	return all, nil
}

// Scan implements dispatch.Attempts.
func (s *Attempts) Scan(ctx context.Context, endpoint string, since, until time.Time, visit func(dispatch.Entry) bool) error {
	if !fits(endpoint) {
		return nil
	}
	err := s.walk(ctx, s.prefix+escape(endpoint)+".*", since, func(m message) bool {
		if !until.IsZero() && !m.time.Before(until) {
			return false
		}
		var e dispatch.Entry
		if json.Unmarshal(m.data, &e) != nil || e.Endpoint != endpoint {
			return true // not one of ours
		}
		return visit(e)
	})
	if err != nil {
		return fmt.Errorf("natsstore: the attempts cannot be read: %w", err)
	}
	return nil
}
