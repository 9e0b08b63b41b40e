package natsstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/polywire/polywire/webhook/dispatch"
)

// Endpoints implements dispatch.Endpoints, for many goroutines at once. A revision is
// that of the bucket.
type Endpoints struct{ kv jetstream.KeyValue }

var _ dispatch.Endpoints = (*Endpoints)(nil)

// Load implements dispatch.Endpoints.
func (s *Endpoints) Load(ctx context.Context, id string) (dispatch.Record, error) {
	e, err := s.get(ctx, id)
	if errors.Is(err, jetstream.ErrKeyNotFound) || errors.Is(err, jetstream.ErrInvalidKey) {
		return dispatch.Record{}, dispatch.ErrNotFound
	}
	if err != nil {
		return dispatch.Record{}, fmt.Errorf("natsstore: the endpoint cannot be read: %w", err)
	}
	return record(e)
}

func (s *Endpoints) get(ctx context.Context, id string) (e jetstream.KeyValueEntry, err error) {
	if !fits(id) {
		return nil, jetstream.ErrInvalidKey
	}
	err = untilHeard(ctx, func() error {
		e, err = s.kv.Get(ctx, escape(id))
		return err
	})
	return e, err
}

// record decodes an entry of the bucket.
func record(e jetstream.KeyValueEntry) (dispatch.Record, error) {
	r, err := dispatch.UnmarshalRecord(e.Value())
	if err != nil {
		return dispatch.Record{}, err
	}
	if escape(r.Endpoint.ID) != e.Key() {
		return dispatch.Record{}, fmt.Errorf("natsstore: the endpoint under key %.100q is another one", e.Key())
	}
	r.Revision = e.Revision()
	return r, nil
}

// Save implements dispatch.Endpoints.
func (s *Endpoints) Save(ctx context.Context, r dispatch.Record) (uint64, error) {
	data, err := dispatch.MarshalRecord(r)
	if err != nil {
		return 0, err
	}
	key := escape(r.Endpoint.ID)
	var revision uint64
	if r.Revision == 0 {
		revision, err = s.kv.Create(ctx, key, data)
	} else {
		revision, err = s.kv.Update(ctx, key, data, r.Revision)
	}
	if err != nil {
		return 0, conflict(err)
	}
	return revision, nil
}

// conflict tells that somebody else was first from other errors.
func conflict(err error) error {
	api, isAPI := errors.AsType[*jetstream.APIError](err)
	if errors.Is(err, jetstream.ErrKeyExists) || isAPI && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence ||
		api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant) {
		return dispatch.ErrConflict
	}
	return fmt.Errorf("natsstore: the endpoint cannot be saved: %w", err)
}

// Delete implements dispatch.Endpoints.
func (s *Endpoints) Delete(ctx context.Context, id string, revision uint64) error {
	switch _, err := s.get(ctx, id); {
	case errors.Is(err, jetstream.ErrKeyNotFound), errors.Is(err, jetstream.ErrInvalidKey):
		return dispatch.ErrNotFound
	case err != nil:
		return fmt.Errorf("natsstore: the endpoint cannot be read: %w", err)
	}
	if err := s.kv.Purge(ctx, escape(id), jetstream.LastRevision(revision)); err != nil {
		return conflict(err)
	}
	return nil
}

// Watch implements dispatch.Endpoints. Entries that cannot be decoded are passed over:
// Load tells what is wrong with them.
func (s *Endpoints) Watch(ctx context.Context, f func(dispatch.Change)) error {
	w, err := s.kv.WatchAll(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = w.Stop() }()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e, open := <-w.Updates():
			switch {
			case !open:
				return errors.Join(ctx.Err(), errors.New("natsstore: the watch of the bucket has ended"))
			case e == nil:
				f(dispatch.Change{})
			default:
				told(e, f)
			}
		}
	}
}

func told(e jetstream.KeyValueEntry, f func(dispatch.Change)) {
	id, ok := unescape(e.Key())
	if !ok {
		return
	}
	if e.Operation() != jetstream.KeyValuePut {
		f(dispatch.Change{ID: id})
		return
	}
	if r, err := record(e); err == nil {
		f(dispatch.Change{ID: id, Record: &r})
	}
}
