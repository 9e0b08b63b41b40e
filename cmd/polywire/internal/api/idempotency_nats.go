package api

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
)

// answersBucket is where the servers of a cluster remember requests.
const answersBucket = "polywire-api-answers"

// maxBucketBytes bounds it; over that new requests with an Idempotency-Key are
// refused.
const maxBucketBytes = 1 << 30

// Shared is a store that all servers of a cluster have, and the next start.
type Shared struct{ kv natsjs.KeyValue }

// OpenShared opens the store, made on the first call of any server with so
// many replicas. The connection stays the caller's.
func OpenShared(ctx context.Context, conn *nats.Conn, replicas int) (*Shared, error) {
	js, err := natsjs.New(conn)
	if err != nil {
		return nil, err
	}
	kv, err := js.KeyValue(ctx, answersBucket) // it may have been made with other replicas, and stays so
	if errors.Is(err, natsjs.ErrBucketNotFound) {
		kv, err = js.CreateKeyValue(ctx, natsjs.KeyValueConfig{
			Bucket: answersBucket, Description: "requests to the API that were done", Storage: natsjs.FileStorage,
			Replicas: max(replicas, 1), History: 1, TTL: KeepAnswers, MaxBytes: maxBucketBytes,
		})
	}
	if err != nil {
		return nil, fmt.Errorf("the API's answers: %w", err)
	}
	return &Shared{kv}, nil
}

// Claim implements [Store]. The claim is the entry's revision.
func (s *Shared) Claim(ctx context.Context, key string, r Record) (*Record, uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, storeWait)
	defer cancel()
	value := r.append(nil)
	for {
		revision, err := s.kv.Create(ctx, key, value)
		if err == nil || !errors.Is(err, natsjs.ErrKeyExists) {
			return nil, revision, err
		}
		e, err := s.kv.Get(ctx, key)
		if errors.Is(err, natsjs.ErrKeyNotFound) {
			continue // forgotten this moment
		}
		if err != nil {
			return nil, 0, err
		}
		there, err := parseRecord(e.Value())
		if err != nil {
			return nil, 0, fmt.Errorf("a record of %q: %w", answersBucket, err)
		}
		if there.Done || time.Since(e.Created()) < claimLapse {
			return &there, 0, nil
		}
		revision, err = s.kv.Update(ctx, key, value, e.Revision())
		if err == nil {
			return nil, revision, nil
		}
		if ctx.Err() != nil { // else somebody else was first
			return nil, 0, err
		}
	}
}

// Finish implements [Store].
func (s *Shared) Finish(ctx context.Context, key string, claim uint64, r *Record) error {
	ctx, cancel := context.WithTimeout(ctx, storeWait)
	defer cancel()
	if r == nil {
		return s.kv.Purge(ctx, key, natsjs.LastRevision(claim))
	}
	_, err := s.kv.Update(ctx, key, r.append(nil), claim)
	return err
}
