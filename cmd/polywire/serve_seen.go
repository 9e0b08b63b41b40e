package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/polywire/polywire/cmd/polywire/internal/webhookstore"
	"github.com/polywire/polywire/webhook"
)

const (
	seenBucket = "polywire-webhook-received"
	// seenLapse is when a claim counts for nothing that nobody has finished:
	// longer than a message may take to be passed on.
	seenLapse = time.Minute
	seenWait  = 5 * time.Second
)

// seenHooks remembers the ids of webhooks that came in, for all servers of a
// cluster and for the next start. nil: nobody does.
type seenHooks struct {
	conn *nats.Conn
	kv   natsjs.KeyValue
}

// remember opens what remembers, where there is a place for it.
func (f *webhookRules) remember(ctx context.Context, e *engine, c *clusterFlags, logger *slog.Logger) (*seenHooks, error) {
	if len(f.hooks) == 0 || c.dataDir == "" && c.nats == "" {
		return nil, nil //nolint:nilnil // each process by itself
	}
	conn, err := e.connect(nats.Name("polywire webhooks received"), nats.MaxReconnects(-1))
	if err != nil {
		return nil, fmt.Errorf("--webhook-in: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, webhookstore.Wait)
	defer cancel()
	s, err := openSeen(ctx, conn, max(f.keep.Replicas, 1))
	if err == nil {
		return s, nil
	}
	conn.Close()
	if errors.Is(err, natsjs.ErrJetStreamNotEnabled) {
		logger.Warn("the NATS server keeps nothing: ids of webhooks that come in are known to this process alone")
		return nil, nil //nolint:nilnil // as above
	}
	return nil, fmt.Errorf("--webhook-in: %w", err)
}

func openSeen(ctx context.Context, conn *nats.Conn, replicas int) (*seenHooks, error) {
	js, err := natsjs.New(conn)
	if err != nil {
		return nil, err
	}
	kv, err := js.KeyValue(ctx, seenBucket) // it may have been made with other replicas, and stays so
	if errors.Is(err, natsjs.ErrBucketNotFound) {
		kv, err = js.CreateKeyValue(ctx, natsjs.KeyValueConfig{
			Bucket: seenBucket, Description: "ids of webhooks that came in", Storage: natsjs.FileStorage, Replicas: replicas, History: 1, TTL: hookKeep,
		})
	}
	if err != nil {
		return nil, err
	}
	return &seenHooks{conn, kv}, nil
}

func (s *seenHooks) close() {
	if s != nil {
		s.conn.Close()
	}
}

// of returns the ids of one path; nil: those of the process.
func (s *seenHooks) of(path string) webhook.ReplayStore {
	if s == nil {
		return nil
	}
	return &seenPath{s.kv, path, seenLapse}
}

// seenPath implements webhook.ReplayStore.
type seenPath struct {
	kv    natsjs.KeyValue
	path  string
	lapse time.Duration
}

// What is kept of an id.
const (
	seenBusy = "busy"
	seenDone = "done"
)

func (s *seenPath) key(id string) string {
	sum := sha256.Sum256([]byte(s.path + "\x00" + id))
	return hex.EncodeToString(sum[:])
}

// Claim takes an id, or says who has it.
func (s *seenPath) Claim(ctx context.Context, id string, _ time.Duration) (webhook.Claim, error) {
	ctx, cancel := context.WithTimeout(ctx, seenWait)
	defer cancel()
	key := s.key(id)
	_, err := s.kv.Create(ctx, key, []byte(seenBusy))
	if err == nil {
		return webhook.ClaimNew, nil
	}
	if !errors.Is(err, natsjs.ErrKeyExists) {
		return 0, fmt.Errorf("the ids cannot be read: %w", err)
	}
	e, err := s.kv.Get(ctx, key)
	switch {
	case errors.Is(err, natsjs.ErrKeyNotFound):
		return webhook.ClaimBusy, nil // forgotten this moment: the next try will find that
	case err != nil:
		return 0, fmt.Errorf("the ids cannot be read: %w", err)
	case string(e.Value()) == seenDone:
		return webhook.ClaimHandled, nil
	case time.Since(e.Created()) < s.lapse:
		return webhook.ClaimBusy, nil
	}
	if _, err := s.kv.Update(ctx, key, []byte(seenBusy), e.Revision()); err != nil {
		return webhook.ClaimBusy, ctx.Err() // somebody else was first, or it is away
	}
	return webhook.ClaimNew, nil
}

// Finish keeps or forgets an id.
func (s *seenPath) Finish(ctx context.Context, id string, handled bool, _ time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, seenWait)
	defer cancel()
	if !handled {
		return s.kv.Purge(ctx, s.key(id))
	}
	_, err := s.kv.Put(ctx, s.key(id), []byte(seenDone))
	return err
}
