package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/cluster"
	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/queue"
	"github.com/polywire/polywire/queue/jetstream"
	"github.com/polywire/polywire/queue/rabbitmq"
)

// amqpVariable is for the URL of a broker, which has a password.
const amqpVariable = "POLYWIRE_AMQP"

// queueRules say which messages go to queues, and where those of queues go.
type queueRules struct {
	in, out  []string
	amqp     []string
	optional bool
	replicas int
	wait     time.Duration

	takes []takeRule // of in
	sends []sendRule // of out
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

func (f *queueRules) register(c *cobra.Command) {
	flags := c.Flags()
	flags.StringArrayVar(&f.in, "queue-in", nil, "put messages of a kind into a queue: `kind=queue`; a call is answered when the queue has it for good.\n"+
		"A kind may be a beginning and *: 'order.*=orders'; may be repeated")
	flags.StringArrayVar(&f.out, "queue-out", nil, "send the messages of a queue to a room: `queue=room`, or queue=room,kind=news,reach,ordered,concurrency=8;\n"+
		"without kind it is the message's own, with reach they wait until somebody is in the room,\n"+
		"with ordered those of one connection stay in order; may be repeated")
	flags.StringSliceVar(&f.amqp, "amqp", nil, "`URLs` of a RabbitMQ for the queues ("+amqpVariable+"); default: the JetStream of --data-dir or --nats")
	flags.BoolVar(&f.optional, "amqp-optional", false, "start without the RabbitMQ, and connect when it comes")
	flags.IntVar(&f.replicas, "queue-replicas", 0, "on how many servers of a cluster messages are kept: 1, 3 or 5; default: 3 of three or more --cluster-peers, else 1")
	flags.DurationVar(&f.wait, "queue-wait", 5*time.Second, "how long a message may wait for a broker that is away, before its sender is told")
}

// used reports whether there is a rule.
func (f *queueRules) used() bool { return len(f.in)+len(f.out) > 0 }

// check takes the rules apart.
func (f *queueRules) check(c *clusterFlags) error {
	if text := os.Getenv(amqpVariable); text != "" && f.used() && len(f.amqp) == 0 {
		f.amqp = strings.Split(text, ",")
	}
	switch {
	case !f.used() && (len(f.amqp) > 0 || f.optional || f.replicas != 0):
		return errors.New("--amqp, --amqp-optional and --queue-replicas are for queues: --queue-in and --queue-out say which")
	case !f.used():
		return nil
	case len(f.amqp) == 0 && c.nats == "" && c.dataDir == "":
		return errors.New("--queue-in and --queue-out need a place for what is in the queues: --data-dir, --nats or --amqp")
	case len(f.amqp) == 0 && f.optional:
		return errors.New("--amqp-optional is for --amqp")
	case f.replicas != 0 && f.replicas != 1 && f.replicas != 3 && f.replicas != 5:
		return fmt.Errorf("--queue-replicas %d: want 1, 3 or 5", f.replicas)
	case f.wait <= 0:
		return fmt.Errorf("--queue-wait %v: want more than nothing", f.wait)
	}
	if f.replicas == 0 && len(c.peers) >= 3 && len(f.amqp) == 0 {
		f.replicas = 3
	}
	return f.parse()
}

func (f *queueRules) parse() error {
	kinds := polywire.NewMux()
	for _, own := range ownKinds() {
		kinds.Handle(own, polywire.HandlerFunc(echo))
	}
	for _, text := range f.in {
		pattern, name, ok := strings.Cut(text, "=")
		if !ok {
			return fmt.Errorf("--queue-in %q: want kind=queue", text)
		}
		if err := queue.CheckQueue(name); err != nil {
			return fmt.Errorf("--queue-in %q: %w", text, err)
		}
		if kinds.Handle(pattern, polywire.HandlerFunc(echo)); kinds.Err() != nil {
			return fmt.Errorf("--queue-in %q: %w", text, kinds.Err())
		}
		f.takes = append(f.takes, takeRule{pattern, name})
	}
	seen := make(map[string]bool)
	for _, text := range f.out {
		r, err := parseSend(text)
		if err == nil && seen[r.queue] {
			err = errors.New("this queue goes to a room already")
		}
		if err != nil {
			return fmt.Errorf("--queue-out %q: %w", text, err)
		}
		seen[r.queue] = true
		f.sends = append(f.sends, r)
	}
	return nil
}

// parseSend takes queue=room,name=value,... apart.
func parseSend(text string) (r sendRule, err error) {
	name, rest, ok := strings.Cut(text, "=")
	if !ok {
		return r, errors.New("want queue=room")
	}
	if err := queue.CheckQueue(name); err != nil {
		return r, err
	}
	parts := strings.Split(rest, ",")
	r.queue, r.room = name, parts[0]
	// Whoever waits for a room's server to come back is no dead letter.
	r.options = queue.HandleOptions{MaxAttempts: -1, Prefetch: 64, Backoff: queue.Backoff{Min: 500 * time.Millisecond, Max: 10 * time.Second}}
	if r.room == "" || len(r.room) > 255 {
		return r, errors.New("a room's name has 1 to 255 bytes")
	}
	for _, part := range parts[1:] {
		setting, value, has := strings.Cut(part, "=")
		switch setting {
		case "kind":
			if r.kind = value; value == "" {
				return r, errors.New("kind: want a name")
			}
		case "concurrency":
			n, err := strconv.Atoi(value)
			if err != nil || n < 1 || n > 1000 {
				return r, fmt.Errorf("concurrency %q: want 1 to 1000", value)
			}
			r.options.Concurrency = n
		case "ordered", "reach":
			if has {
				return r, fmt.Errorf("%s has no value", setting)
			}
			r.options.Ordered = r.options.Ordered || setting == "ordered"
			r.reach = r.reach || setting == "reach"
		default:
			return r, fmt.Errorf("%q: want kind=NAME, reach, ordered or concurrency=N", part)
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
	return queue.New(d, queue.Options{PublishTimeout: f.wait, Hooks: []queue.Hooks{{
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
	}}})
}

// handle puts the rules into effect.
func (f *queueRules) handle(srv *polywire.Server) {
	for _, r := range f.takes {
		srv.Handle(r.pattern, polywire.HandlerFunc(func(ctx context.Context, m *polywire.Message) (any, error) {
			return r.take(ctx, srv.Queues(), m, f.wait)
		}))
	}
	for _, r := range f.sends {
		srv.HandleQueue(r.queue, polywire.HandlerFunc(func(ctx context.Context, m *polywire.Message) (any, error) {
			return nil, r.send(ctx, srv, m)
		}), r.options)
	}
}

// taken is the answer to a message that is in a queue.
type taken struct {
	Queue string `json:"queue"`
	ID    string `json:"id"`
}

// take answers when the queue has the message.
func (r takeRule) take(ctx context.Context, b *queue.Broker, m *polywire.Message, wait time.Duration) (any, error) {
	if n := len(m.Args()); n > 1 {
		return nil, polywire.Errorf(polywire.CodeBadRequest, "a message for a queue has one argument, not %d", n)
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	id := queue.NewID(time.Now())
	err := b.Publish(ctx, queue.Message{Queue: r.queue, ID: id, Key: m.Conn().ID(), Kind: m.Kind(), Header: m.Headers(), Payload: m.Payload()})
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
