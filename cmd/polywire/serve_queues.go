package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/cluster"
	"github.com/polywire/polywire/cmd/polywire/internal/config"
	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/queue"
	"github.com/polywire/polywire/queue/jetstream"
	"github.com/polywire/polywire/queue/rabbitmq"
)

// queueRules say which messages go to queues, and where those of queues go.
type queueRules struct {
	amqp     []string
	optional bool
	replicas int
	wait     time.Duration
	metrics  *metrics // nil: none
	tracer   *tracer  // nil: none

	takes []takeRule
	sends []sendRule
}

// takeRule sends messages of a kind to a queue.
type takeRule struct{ pattern, queue string }

// sendRule sends a queue's messages to a room.
type sendRule struct {
	queue, room string
	kind        string // empty: the message's own
	reach       bool   // it waits until somebody is there
	options     queue.HandleOptions
}

// used reports whether there is a rule.
func (f *queueRules) used() bool { return len(f.takes)+len(f.sends) > 0 }

// check says what does not go together.
func (f *queueRules) check(c *clusterFlags) error {
	switch {
	case !f.used() && (len(f.amqp) > 0 || f.optional || f.replicas != 0):
		return errors.New("--amqp, --amqp-optional and --queue-replicas are for queues: --queue-in and --queue-out say which")
	case !f.used():
		return nil
	case len(f.amqp) == 0 && c.nats == "" && c.dataDir == "":
		return errors.New("--queue-in and --queue-out need a place for what is in the queues: --data-dir, --nats or --amqp")
	case len(f.amqp) == 0 && f.optional:
		return errors.New("--amqp-optional is for --amqp")
	}
	if f.replicas == 0 && len(c.peers) >= 3 && len(f.amqp) == 0 {
		f.replicas = 3
	}
	return f.checkTwice()
}

// checkTwice wants each kind and each queue in one rule.
func (f *queueRules) checkTwice() error {
	kinds := polywire.NewMux()
	for _, own := range ownKinds() {
		kinds.Handle(own, echo)
	}
	for _, r := range f.takes {
		if kinds.Handle(r.pattern, echo); kinds.Err() != nil {
			return fmt.Errorf("--queue-in %q: %w", r.pattern+"="+r.queue, kinds.Err())
		}
	}
	seen := make(map[string]bool)
	for _, r := range f.sends {
		if seen[r.queue] {
			return fmt.Errorf("--queue-out %q: this queue goes to a room already", r.queue)
		}
		seen[r.queue] = true
	}
	return nil
}

func takeForm() config.Form {
	return config.Form{
		Want: "kind=queue",
		Fields: []config.Field{
			{Name: "kind", Doc: "kind of the messages, or its beginning and *", Required: true},
			{Name: "queue", Doc: "the queue's name", Required: true},
		},
		Split: func(line string) ([]config.Pair, error) {
			pattern, name, ok := strings.Cut(line, "=")
			if !ok {
				return nil, errors.New("want kind=queue")
			}
			return []config.Pair{{Name: "kind", Value: pattern}, {Name: "queue", Value: name}}, nil
		},
	}
}

func buildTake(pairs []config.Pair) (takeRule, error) {
	r := takeRule{pairs[0].Value, pairs[1].Value}
	if err := queue.CheckQueue(r.queue); err != nil {
		return r, err
	}
	kinds := polywire.NewMux()
	kinds.Handle(r.pattern, echo)
	return r, kinds.Err()
}

func sendForm() config.Form {
	return config.Form{
		Want: "queue=room,kind=news,reach,ordered,concurrency=8",
		Fields: []config.Field{
			{Name: "queue", Doc: "the queue's name", Required: true},
			{Name: "room", Doc: "the room's name", Required: true},
			{Name: "kind", Doc: "kind that the room gets; without it the message's own"},
			{Name: "reach", Doc: "messages wait until somebody is in the room", Word: true},
			{Name: "ordered", Doc: "those of one connection stay in order", Word: true},
			{Name: "concurrency", Doc: "how many at once, 1 to 1000"},
		},
		Split: splitSend,
	}
}

// splitSend takes queue=room,name=value,... apart.
func splitSend(text string) ([]config.Pair, error) {
	name, rest, ok := strings.Cut(text, "=")
	if !ok {
		return nil, errors.New("want queue=room")
	}
	parts := strings.Split(rest, ",")
	pairs := []config.Pair{{Name: "queue", Value: name}, {Name: "room", Value: parts[0]}}
	for _, part := range parts[1:] {
		setting, value, has := strings.Cut(part, "=")
		if has && (setting == "ordered" || setting == "reach") {
			return nil, fmt.Errorf("%s has no value", setting)
		}
		pairs = append(pairs, config.Pair{Name: setting, Value: value})
	}
	return pairs, nil
}

func buildSend(pairs []config.Pair) (r sendRule, err error) {
	r.queue, r.room = pairs[0].Value, pairs[1].Value
	if err := queue.CheckQueue(r.queue); err != nil {
		return r, err
	}
	// Whoever waits for a room's server to come back is no dead letter.
	r.options = queue.HandleOptions{MaxAttempts: -1, Prefetch: 64, Backoff: queue.Backoff{Min: 500 * time.Millisecond, Max: 10 * time.Second}}
	if r.room == "" || len(r.room) > 255 {
		return r, errors.New("a room's name has 1 to 255 bytes")
	}
	for _, p := range pairs[2:] {
		switch p.Name {
		case "kind":
			if r.kind = p.Value; r.kind == "" {
				return r, errors.New("kind: want a name")
			}
		case "concurrency":
			n, err := strconv.Atoi(p.Value)
			if err != nil || n < 1 || n > 1000 {
				return r, fmt.Errorf("concurrency %q: want 1 to 1000", p.Value)
			}
			r.options.Concurrency = n
		case "ordered":
			r.options.Ordered = true
		case "reach":
			r.reach = true
		default:
			return r, fmt.Errorf("%q: want kind=NAME, reach, ordered or concurrency=N", p.Name)
		}
	}
	return r, nil
}

// open connects to the broker; nil: there are no rules.
func (f *queueRules) open(ctx context.Context, e *engine, logger *slog.Logger) (*queue.Broker, error) {
	if !f.used() {
		return nil, nil //nolint:nilnil // there need not be one
	}
	var d queue.Driver
	var err error
	if len(f.amqp) > 0 {
		ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		d, err = rabbitmq.New(ctx, rabbitmq.Options{URLs: f.amqp, Optional: f.optional, Replicas: f.replicas, Name: "polywire serve", Logger: logger})
	} else {
		d, err = jetstream.New(ctx, jetstream.Options{Connect: e.connect, Replicas: f.replicas, Logger: logger})
	}
	if err != nil {
		return nil, fmt.Errorf("queues: %w", err)
	}
	b, err := queue.New(d, queue.Options{PublishTimeout: f.wait, Hooks: f.metrics.queueHooks(queueLog(logger))})
	if err != nil {
		return nil, errors.Join(err, d.Shutdown(ctx))
	}
	f.metrics.watch(b)
	return b, nil
}

// queueLog tells an operator what he should know.
func queueLog(logger *slog.Logger) queue.Hooks {
	return queue.Hooks{
		Buried: func(d *queue.Dead) {
			logger.Warn("a message is a dead letter", "queue", d.Queue, "id", d.ID, "kind", d.Kind, "reason", d.Reason, "error", d.LastError)
		},
		Retried: func(d *queue.Delivery, at time.Time, err error) {
			if errors.Is(err, polywire.ErrNoConnections) {
				return // as it is meant to be
			}
			logger.Warn("a message of a queue is tried again", "queue", d.Queue, "id", d.ID, "at", at, "error", err)
		},
		Trouble: func(name string, err error) {
			if err == nil {
				logger.Info("a queue can be consumed again", "queue", name)
				return
			}
			logger.Warn("a queue cannot be consumed", "queue", name, "error", err)
		},
	}
}

// handle puts the rules into effect.
func (f *queueRules) handle(srv *polywire.Server) {
	for _, r := range f.takes {
		srv.Handle(r.pattern, func(ctx context.Context, m *polywire.Message) (any, error) {
			return r.take(ctx, f.tracer.publisher(srv.Queues()), m, f.wait)
		})
	}
	for _, r := range f.sends {
		srv.HandleQueue(r.queue, func(ctx context.Context, m *polywire.Message) (any, error) {
			return nil, r.send(ctx, srv, m)
		}, r.options)
	}
}

// taken is the answer to a message that is in a queue.
type taken struct {
	Queue string `json:"queue"`
	ID    string `json:"id"`
}

// take answers when the queue has the message.
func (r takeRule) take(ctx context.Context, to queue.Publisher, m *polywire.Message, wait time.Duration) (any, error) {
	if n := len(m.Args()); n > 1 {
		return nil, polywire.Errorf(polywire.CodeBadRequest, "a message for a queue has one argument, not %d", n)
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	id := queue.NewID(time.Now())
	err := to.Publish(ctx, queue.Message{Queue: r.queue, ID: id, Key: m.Conn().ID(), Kind: m.Kind(), Header: m.Headers(), Payload: m.Payload()})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", r.refusal(err), err) // the peer is told the first, the log has both
	}
	return taken{r.queue, id}, nil
}

// refusal is what the sender is told.
func (r takeRule) refusal(err error) error {
	switch {
	case errors.Is(err, queue.ErrInvalid):
		return polywire.Errorf(polywire.CodeBadRequest, "%s", strings.TrimPrefix(err.Error(), "queue: "))
	case errors.Is(err, queue.ErrTooLarge):
		return polywire.Errorf(polywire.CodeTooLarge, "larger than the broker of queue %q takes", r.queue)
	case errors.Is(err, queue.ErrRefused), errors.Is(err, queue.ErrUnroutable):
		return polywire.Errorf(polywire.CodeUnavailable, "the broker of queue %q does not take it; it is not queued", r.queue)
	case errors.Is(err, queue.ErrClosed):
		return polywire.Errorf(polywire.CodeUnavailable, "the server is shutting down; it is not queued")
	case errors.Is(err, queue.ErrUnavailable):
		return polywire.Errorf(polywire.CodeUnavailable, "the broker of queue %q has not confirmed it; it may be queued or not", r.queue)
	}
	return polywire.Errorf(polywire.CodeOf(err), "not queued")
}

// send is done when the room's members, on all servers, have been sent the message.
func (r sendRule) send(ctx context.Context, srv *polywire.Server, m *polywire.Message) error {
	p := m.Payload()
	if p.Type == "" && len(p.Data) > 0 { // of a program without this package
		if p.Type = codec.TypeBytes; json.Valid(p.Data) {
			p.Type = codec.TypeJSON
		}
	}
	opts := make([]polywire.SendOption, 0, len(m.Headers())+1)
	for name, value := range m.Headers() {
		opts = append(opts, polywire.WithHeader(name, value))
	}
	if r.reach {
		opts = append(opts, polywire.MustReach())
	}
	err := srv.Room(r.room).Send(ctx, cmp.Or(r.kind, m.Kind()), p, opts...)
	switch {
	case err == nil, errors.Is(err, cluster.ErrUnavailable), errors.Is(err, polywire.ErrNoConnections), ctx.Err() != nil:
		return err
	}
	return queue.Discard(err) // it will not be better next time
}
