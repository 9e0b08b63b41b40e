package queuecmd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/polywire/polywire/cmd/polywire/internal/cli"
	"github.com/polywire/polywire/queue"
	"github.com/polywire/polywire/queue/jetstream"
)

// tailFlags are those of `polywire queue tail`.
type tailFlags struct {
	brokerFlags
	limit  int
	follow bool
}

func newTail() *cobra.Command {
	var f tailFlags
	c := &cobra.Command{
		Use:   "tail QUEUE",
		Short: "Show what waits in a queue, and what passes, without taking it",
		Long: `Show messages of a queue without taking them away from its workers.

JetStream (--nats, --data-dir): the messages that wait and were never given to a
worker, oldest first, and with --follow then each message at the moment when
somebody publishes it: delayed ones (with their time) and retries (with their
attempts) as well, also when it is dropped as a duplicate. Those that a worker
has in hand are not shown.

RabbitMQ (--amqp) cannot show a message without giving it out, which would count
as a delivery. There it prints how many wait and how many are dead, with --follow
again whenever that changes.

  polywire queue tail orders --nats nats://127.0.0.1:4222 --limit 10
  polywire queue tail orders --follow --json`,
		Args: cli.Args,
		RunE: func(c *cobra.Command, args []string) error {
			if err := queue.CheckQueue(args[0]); err != nil {
				return err
			}
			switch {
			case f.limit < 0:
				return fmt.Errorf("--limit %d: want 0 or more", f.limit)
			case f.follow && f.dataDir != "":
				return errors.New("--follow: nobody publishes to a --data-dir while this command has it")
			}
			return f.with(c, func(ctx context.Context, b *queue.Broker) error {
				if d, ok := b.Driver().(*jetstream.Driver); ok {
					return f.messages(ctx, c, b, d, args[0])
				}
				return f.depths(ctx, c, b, args[0])
			})
		},
	}
	f.register(c)
	c.Flags().IntVarP(&f.limit, "limit", "n", 100, "how many of those that wait are shown")
	c.Flags().BoolVarP(&f.follow, "follow", "f", false, "go on with what is published, until interrupted")
	return c
}

// overlap is how long after its publication a message may be brought to who
// watches; one that has waited and comes later was published again.
const overlap = time.Second

// messages prints what waits, then what is published.
func (f *tailFlags) messages(ctx context.Context, c *cobra.Command, b *queue.Broker, d *jetstream.Driver, name string) error {
	coming := make(chan *queue.Envelope, 10_000)
	if f.follow { // first, so that none is between
		asking, cancel := context.WithTimeout(ctx, f.timeout)
		defer cancel()
		stop, err := d.Watch(asking, name, func(e *queue.Envelope) {
			select {
			case coming <- e:
			case <-ctx.Done():
			}
		})
		if err != nil {
			return err
		}
		defer stop()
	}
	seen := make(map[string]bool) // ids that are printed, and may be on their way to us as well
	var failed error
	err := b.Browse(ctx, name, f.limit, func(e *queue.Envelope) bool {
		seen[e.ID] = f.follow
		failed = f.show(c, e)
		return failed == nil
	})
	if errors.Is(err, queue.ErrNotFound) {
		if !f.follow {
			return noQueue(name)
		}
		err = nil // it may be made
	}
	if err = errors.Join(err, failed); err != nil || !f.follow {
		return err
	}
	settled := time.After(overlap)
	for {
		select {
		case <-settled:
			clear(seen)
		case e := <-coming:
			if e.Attempts == 0 && seen[e.ID] {
				delete(seen, e.ID)
				continue
			}
			if err := f.show(c, e); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}

func (f *tailFlags) show(c *cobra.Command, e *queue.Envelope) error {
	s, err := show(e)
	if err != nil {
		return err
	}
	return f.print(c.OutOrStdout(), &s)
}

// DepthLine is what tail prints of a RabbitMQ's queue, as JSON.
type DepthLine struct {
	Queue   string    `json:"queue"`
	Time    time.Time `json:"time"`
	Waiting int64     `json:"waiting"`
	Dead    int64     `json:"dead"`
}

const depthEvery = time.Second

// depths prints how much there is.
func (f *tailFlags) depths(ctx context.Context, c *cobra.Command, b *queue.Broker, name string) error {
	tick := time.NewTicker(depthEvery)
	defer tick.Stop()
	last := DepthLine{Waiting: -1}
	for {
		d, err := f.inspect(ctx, b, name)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, queue.ErrNotFound):
			return noQueue(name)
		case err != nil:
			return err
		}
		now := DepthLine{name, time.Now().UTC(), d.Waiting, d.Dead}
		if now.Waiting != last.Waiting || now.Dead != last.Dead {
			if err := f.printDepth(c, now); err != nil {
				return err
			}
			last = now
		}
		if !f.follow {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (f *tailFlags) printDepth(c *cobra.Command, d DepthLine) error {
	if f.json {
		return cli.JSONLine(c.OutOrStdout(), d)
	}
	_, err := fmt.Fprintf(c.OutOrStdout(), "%s %s: %d waiting, %d dead\n", d.Time.Local().Format(time.DateTime), visible(d.Queue), d.Waiting, d.Dead)
	return err
}
