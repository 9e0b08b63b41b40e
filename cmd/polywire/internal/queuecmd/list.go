package queuecmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/polywire/polywire/cmd/polywire/internal/cli"
	"github.com/polywire/polywire/queue"
)

// Listed is a queue as JSON; null is what the broker does not tell.
type Listed struct {
	Queue   string     `json:"queue"`
	Waiting *int64     `json:"waiting"`
	Delayed *int64     `json:"delayed"`
	InHand  *int64     `json:"inHand"`
	Dead    *int64     `json:"dead"`
	Oldest  *time.Time `json:"oldest"`
}

func newList() *cobra.Command {
	var f brokerFlags
	c := &cobra.Command{
		Use:   "ls [QUEUE...]",
		Short: "List queues and how much is in them",
		Long: `List the named queues, or all: messages that wait, that are delayed, that are in
hand (given to a worker which has not answered yet), dead letters, and when the
oldest of those that wait was published.

RabbitMQ's protocol has no list of queues: name them. It does not tell what is
delayed or in hand, nor the age of the oldest: "?", or null in JSON.

  polywire queue ls --nats nats://127.0.0.1:4222
  polywire queue ls orders invoices --amqp amqp://127.0.0.1 --json`,
		RunE: func(c *cobra.Command, names []string) error {
			for _, name := range names {
				if err := queue.CheckQueue(name); err != nil {
					return err
				}
			}
			return f.with(c, func(ctx context.Context, b *queue.Broker) error { return f.list(ctx, c.OutOrStdout(), b, names) })
		},
	}
	f.register(c)
	return c
}

func (f *brokerFlags) list(ctx context.Context, w io.Writer, b *queue.Broker, names []string) error {
	all := len(names) == 0
	if all {
		asking, cancel := context.WithTimeout(ctx, f.timeout)
		defer cancel()
		var err error
		names, err = b.Queues(asking)
		if errors.Is(err, queue.ErrUnsupported) {
			return errors.New("RabbitMQ's protocol has no list of queues: name them, as in polywire queue ls orders")
		}
		if err != nil {
			return err
		}
	}
	found := make([]Listed, 0, len(names))
	var missing error
	for _, name := range names {
		d, err := f.inspect(ctx, b, name)
		switch {
		case errors.Is(err, queue.ErrNotFound) && all: // it went meanwhile
		case errors.Is(err, queue.ErrNotFound):
			missing = errors.Join(missing, noQueue(name))
		case err != nil:
			return err
		default:
			found = append(found, Listed{name, told(d.Waiting), told(d.Delayed), told(d.Unacked), told(d.Dead), known(d.Oldest)})
		}
	}
	return errors.Join(f.printList(w, found), missing)
}

func (f *brokerFlags) inspect(ctx context.Context, b *queue.Broker, name string) (queue.Depth, error) {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	return b.Inspect(ctx, name)
}

// noQueue says that a queue is not there.
func noQueue(name string) error {
	return fmt.Errorf("there is no queue %q: %w", name, queue.ErrNotFound)
}

func told(n int64) *int64 {
	if n < 0 {
		return nil
	}
	return &n
}

func (f *brokerFlags) printList(w io.Writer, found []Listed) error {
	if f.json {
		return cli.JSONLine(w, found)
	}
	if len(found) == 0 {
		return nil
	}
	number := func(n *int64) string {
		if n == nil {
			return "?"
		}
		return strconv.FormatInt(*n, 10)
	}
	tab := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tab, "QUEUE\tWAITING\tDELAYED\tIN HAND\tDEAD\tOLDEST")
	for _, q := range found {
		oldest := "-"
		switch {
		case q.Oldest != nil:
			oldest = time.Since(*q.Oldest).Round(time.Second).String()
		case q.Waiting != nil && *q.Waiting > 0:
			oldest = "?"
		}
		fmt.Fprintf(tab, "%s\t%s\t%s\t%s\t%s\t%s\n", visible(q.Queue), number(q.Waiting), number(q.Delayed), number(q.InHand), number(q.Dead), oldest)
	}
	return tab.Flush()
}
