package queuecmd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/polywire/polywire/cmd/polywire/internal/cli"
	"github.com/polywire/polywire/queue"
)

// filterFlags pick dead letters.
type filterFlags struct {
	filter       queue.DeadFilter
	reason       string
	since, until string
}

func (f *filterFlags) register(c *cobra.Command) {
	flags := c.Flags()
	flags.StringVarP(&f.filter.Kind, "kind", "k", "", "letters of this kind")
	flags.StringVar(&f.filter.Key, "key", "", "with this key")
	flags.StringVar(&f.filter.Error, "error", "", "whose last error has this `text` in it")
	flags.StringVar(&f.reason, "reason", "", "that died of this: discarded, attempts, lost or broker")
	flags.StringVar(&f.since, "since", "", "that died since then: a `time` (2026-01-02T15:04:05Z), or how long ago (90m)")
	flags.StringVar(&f.until, "until", "", "that died before: a `time`, or how long ago")
}

// given reports whether letters are picked.
func (f *filterFlags) given() bool {
	return f.filter.Kind != "" || f.filter.Key != "" || f.filter.Error != "" || f.reason != "" || f.since != "" || f.until != ""
}

func (f *filterFlags) parse(now time.Time) (err error) {
	switch f.filter.Reason = queue.Reason(f.reason); f.filter.Reason {
	case "", queue.ReasonDiscarded, queue.ReasonAttempts, queue.ReasonLost, queue.ReasonBroker:
	default:
		return fmt.Errorf("--reason %q: want discarded, attempts, lost or broker", f.reason)
	}
	if f.filter.Since, err = cli.TimeOrAgo("--since", f.since, now); err != nil {
		return err
	}
	f.filter.Until, err = cli.TimeOrAgo("--until", f.until, now)
	return err
}

func newDead() *cobra.Command {
	c := &cobra.Command{
		Use:   "dead",
		Short: "List and read dead letters",
		Long: `List and read dead letters: messages that were given up, with the reason.

On RabbitMQ a command that looks at dead letters has them in hand until it ends:
two of them at a time see a part each.`,
	}
	c.AddCommand(newDeadList(), newDeadRead())
	return c
}

// DeadPage is what `dead ls --json` prints.
type DeadPage struct {
	Letters []Shown `json:"letters"`
	Next    string  `json:"next,omitempty"`
}

func newDeadList() *cobra.Command {
	var f brokerFlags
	var pick filterFlags
	var after string
	var limit int
	c := &cobra.Command{
		Use:   "ls QUEUE",
		Short: "List a queue's dead letters, oldest first",
		Long: `List a queue's dead letters, oldest first: when it died, id, kind, reason,
attempts, the last error and the payload.

When there are more than --limit, what comes next is told: as a line on standard
error, or as "next" in JSON. It goes into --after.

  polywire queue dead ls orders --nats nats://127.0.0.1:4222
  polywire queue dead ls orders --since 2h --error timeout --json`,
		Args: cli.Args,
		RunE: func(c *cobra.Command, args []string) error {
			if limit < 1 || limit > queue.MaxPage {
				return fmt.Errorf("--limit %d: want 1 to %d", limit, queue.MaxPage)
			}
			if err := errors.Join(queue.CheckQueue(args[0]), pick.parse(time.Now())); err != nil {
				return err
			}
			return f.with(c, func(ctx context.Context, b *queue.Broker) error {
				page, err := b.Dead(args[0]).List(ctx, pick.filter, after, limit)
				switch {
				case errors.Is(err, queue.ErrNotFound):
					return noQueue(args[0])
				case err != nil:
					return err
				}
				if len(page.Letters) == 0 {
					if err := f.exists(ctx, b, args[0]); err != nil {
						return err
					}
				}
				return f.printPage(c, page)
			})
		},
	}
	f.register(c)
	pick.register(c)
	c.Flags().IntVarP(&limit, "limit", "n", 100, "how many are listed at most")
	c.Flags().StringVar(&after, "after", "", "begin behind this one: what the page before told as next")
	return c
}

// exists fails when there is no such queue.
func (f *brokerFlags) exists(ctx context.Context, b *queue.Broker, name string) error {
	_, err := f.inspect(ctx, b, name)
	if errors.Is(err, queue.ErrNotFound) {
		return noQueue(name)
	}
	return err
}

func (f *brokerFlags) printPage(c *cobra.Command, page queue.DeadPage) error {
	p := DeadPage{Letters: make([]Shown, len(page.Letters)), Next: page.Next}
	for i := range page.Letters {
		var err error
		if p.Letters[i], err = showDead(&page.Letters[i]); err != nil {
			return err
		}
	}
	if f.json {
		return cli.JSONLine(c.OutOrStdout(), p)
	}
	if len(p.Letters) == 0 {
		fmt.Fprintln(c.ErrOrStderr(), "no dead letters")
	}
	for i := range p.Letters {
		if err := f.print(c.OutOrStdout(), &p.Letters[i]); err != nil {
			return err
		}
	}
	if p.Next != "" {
		fmt.Fprintln(c.ErrOrStderr(), "there are more: --after", p.Next)
	}
	return nil
}

func newDeadRead() *cobra.Command {
	var f brokerFlags
	c := &cobra.Command{
		Use:   "read QUEUE ID",
		Short: "Print a dead letter with all that is known about it",
		Long: `Print the oldest dead letter with an id: headers, payload, the last error and the
stack of where it failed.

  polywire queue dead read orders 0190f3c2-... --nats nats://127.0.0.1:4222`,
		Args: cli.Args,
		RunE: func(c *cobra.Command, args []string) error {
			if err := queue.CheckQueue(args[0]); err != nil {
				return err
			}
			return f.with(c, func(ctx context.Context, b *queue.Broker) error {
				d, err := b.Dead(args[0]).Read(ctx, args[1])
				if errors.Is(err, queue.ErrNotFound) {
					if err := f.exists(ctx, b, args[0]); err != nil {
						return err
					}
				}
				if err != nil {
					return err
				}
				s, err := showDead(&d)
				if err != nil {
					return err
				}
				if f.json {
					return cli.JSONLine(c.OutOrStdout(), s)
				}
				return s.details(c.OutOrStdout())
			})
		},
	}
	f.register(c)
	return c
}
