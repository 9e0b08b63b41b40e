package queuecmd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/polywire/polywire/cmd/polywire/internal/cli"
	"github.com/polywire/polywire/queue"
)

func newReplay() *cobra.Command {
	var f brokerFlags
	var pick filterFlags
	var o queue.ReplayOptions
	var all bool
	c := &cobra.Command{
		Use:   "replay QUEUE [ID...]",
		Short: "Publish dead letters once more",
		Long: `Publish dead letters once more: those with the ids, those that the filters pick,
or --all. They keep id, headers and payload, and begin at attempt 1. A letter is
removed when the queue has the message again; what dies meanwhile is left alone.

  polywire queue replay orders 0190f3c2-... --nats nats://127.0.0.1:4222
  polywire queue replay orders --error timeout --since 2h --rate 20
  polywire queue replay orders --all --limit 1000 --json`,
		Args: cli.Args,
		RunE: func(c *cobra.Command, args []string) error {
			switch picked := len(args) > 1 || pick.given(); {
			case !picked && !all:
				return errors.New("which ones? Say ids, filters such as --since 2h, or --all")
			case picked && all:
				return errors.New("--all is for no ids and no filters")
			case o.Rate < 0 || o.Rate != o.Rate:
				return fmt.Errorf("--rate %v: want 0 or more", o.Rate)
			case o.Limit < 0:
				return fmt.Errorf("--limit %d: want 0 or more", o.Limit)
			}
			if err := errors.Join(queue.CheckQueue(args[0]), pick.parse(time.Now())); err != nil {
				return err
			}
			pick.filter.IDs = distinct(args[1:])
			return f.with(c, func(ctx context.Context, b *queue.Broker) error {
				w := &deadWork{brokerFlags: &f, pick: &pick, b: b, queue: args[0], limit: o.Limit, word: "replayed"}
				return w.run(ctx, c, func(done func(int)) (int, error) {
					o.Done = done
					return b.Dead(args[0]).Replay(ctx, pick.filter, o)
				})
			})
		},
	}
	f.register(c)
	pick.register(c)
	c.Flags().BoolVar(&all, "all", false, "all letters of the queue")
	c.Flags().Float64Var(&o.Rate, "rate", 0, "how many a second at most; 0 is as fast as it goes")
	c.Flags().IntVarP(&o.Limit, "limit", "n", 0, "how many at most; 0 is no limit")
	return c
}

func newPurge() *cobra.Command {
	var f brokerFlags
	var pick filterFlags
	var dead, yes bool
	c := &cobra.Command{
		Use:   "purge QUEUE [ID...]",
		Short: "Remove messages for good",
		Long: `Remove all messages that wait in a queue, delayed ones too, for good; or with
--dead its dead letters, those with the ids, those that the filters pick, or all.
What workers have in hand stays. It asks first, unless --yes is given.

  polywire queue purge orders --nats nats://127.0.0.1:4222
  polywire queue purge orders --dead --until 720h --yes`,
		Args: cli.Args,
		RunE: func(c *cobra.Command, args []string) error {
			if !dead && (len(args) > 1 || pick.given()) {
				return errors.New("ids and filters are for dead letters: say --dead")
			}
			if err := errors.Join(queue.CheckQueue(args[0]), pick.parse(time.Now())); err != nil {
				return err
			}
			pick.filter.IDs = distinct(args[1:])
			return f.with(c, func(ctx context.Context, b *queue.Broker) error {
				w := &deadWork{brokerFlags: &f, pick: &pick, b: b, queue: args[0], word: "purged"}
				if !yes {
					if err := w.ask(ctx, c, dead); err != nil {
						return err
					}
				}
				if !dead {
					return w.purgeWaiting(ctx, c)
				}
				return w.run(ctx, c, func(done func(int)) (int, error) { return w.purge(ctx, done) })
			})
		},
	}
	f.register(c)
	pick.register(c)
	c.Flags().BoolVar(&dead, "dead", false, "the dead letters, not what waits")
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return c
}

func distinct(ids []string) []string {
	ids = slices.Sorted(slices.Values(ids))
	return slices.Compact(ids)
}

// deadWork is something that is done to many messages of a queue.
type deadWork struct {
	*brokerFlags
	pick  *filterFlags
	b     *queue.Broker
	queue string
	limit int
	word  string // what has been done to them
}

// Worked is what is printed about it as JSON; Count is null where the broker
// does not tell.
type Worked struct {
	Queue string `json:"queue"`
	Done  string `json:"done"`
	Count *int64 `json:"count"`
}

// run does it and says how many it were, also when it ended early.
func (w *deadWork) run(ctx context.Context, c *cobra.Command, do func(done func(int)) (int, error)) error {
	total := int64(len(w.pick.filter.IDs))
	if total == 0 {
		d, err := w.inspect(ctx, w.b, w.queue)
		switch {
		case errors.Is(err, queue.ErrNotFound):
			return noQueue(w.queue)
		case err != nil:
			return err
		}
		if total = d.Dead; w.pick.given() {
			total = -1 // not known before it is over
		}
		if w.limit > 0 && total > int64(w.limit) {
			total = int64(w.limit)
		}
	}
	bar := cli.StartCounter(c.ErrOrStderr(), cli.Terminal(c.ErrOrStderr()), total, strings.TrimSuffix(w.word, "ed")+"ing")
	n, err := do(bar.At)
	bar.Clear()
	missing := len(w.pick.filter.IDs) - n
	switch {
	case err != nil && ctx.Err() != nil:
		err = fmt.Errorf("interrupted: %d %s", n, w.word)
	case err != nil:
		err = fmt.Errorf("%w; %s before: %d", err, w.word, n)
	case missing > 0 && w.limit == 0:
		err = fmt.Errorf("%d of %d ids: %w", missing, len(w.pick.filter.IDs), queue.ErrNotFound)
	}
	return errors.Join(w.report(c, int64(n)), err)
}

func (w *deadWork) report(c *cobra.Command, n int64) error {
	if w.json {
		return cli.JSONLine(c.OutOrStdout(), Worked{w.queue, w.word, told(n)})
	}
	text := strconv.FormatInt(n, 10)
	if n < 0 {
		text = "all"
	}
	_, err := fmt.Fprintln(c.OutOrStdout(), text, w.word)
	return err
}

// purge removes dead letters.
func (w *deadWork) purge(ctx context.Context, done func(int)) (int, error) {
	n := 0
	filter := w.pick.filter
	filter.Match = func(*queue.Dead) bool { // the last one asked, so it is picked
		n++
		done(n)
		return true
	}
	return w.b.Dead(w.queue).Purge(ctx, filter)
}

func (w *deadWork) purgeWaiting(ctx context.Context, c *cobra.Command) error {
	n, err := w.b.Purge(ctx, w.queue)
	switch {
	case errors.Is(err, queue.ErrNotFound):
		return noQueue(w.queue)
	case err != nil:
		return fmt.Errorf("%w; purged before: %d", err, n)
	}
	return w.report(c, n)
}

// ask wants a yes from whoever sits there.
func (w *deadWork) ask(ctx context.Context, c *cobra.Command, dead bool) error {
	d, err := w.inspect(ctx, w.b, w.queue)
	switch {
	case errors.Is(err, queue.ErrNotFound):
		return noQueue(w.queue)
	case err != nil:
		return err
	}
	what := fmt.Sprintf("the %d messages that wait", d.Waiting+max(d.Delayed, 0))
	switch {
	case len(w.pick.filter.IDs) > 0 || w.pick.given():
		what = "the dead letters that were picked"
	case dead:
		what = fmt.Sprintf("all %d dead letters", d.Dead)
	}
	fmt.Fprintf(c.ErrOrStderr(), "Remove %s of queue %s for good? [y/N] ", what, visible(w.queue))
	answer, err := readLine(ctx, c.InOrStdin())
	if err != nil {
		return err
	}
	switch strings.ToLower(answer) {
	case "y", "yes":
		return nil
	case "":
		return errors.New("nothing was removed: nobody said yes (--yes does not ask)")
	}
	return errors.New("nothing was removed")
}

// readLine waits for a line as long as ctx says; the program ends behind it.
func readLine(ctx context.Context, r io.Reader) (string, error) {
	type result struct {
		text string
		err  error
	}
	got := make(chan result, 1)
	go func() {
		text, err := bufio.NewReader(r).ReadString('\n')
		got <- result{strings.TrimSpace(text), err}
	}()
	select {
	case a := <-got:
		if a.err != nil && !errors.Is(a.err, io.EOF) {
			return "", fmt.Errorf("standard input: %w", a.err)
		}
		return a.text, nil
	case <-ctx.Done():
		return "", errors.New("nothing was removed: interrupted")
	}
}
