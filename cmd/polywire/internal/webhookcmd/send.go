package webhookcmd

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/polywire/polywire/cmd/polywire/internal/cli"
	"github.com/polywire/polywire/cmd/polywire/internal/webhookapi"
	"github.com/polywire/polywire/webhook/dispatch"
)

// maxStdinBytes is the most that is read of an event's data or a request.
const maxStdinBytes = 16 << 20

func newSend(f *placeFlags) *cobra.Command {
	var e webhookapi.Event
	var at string
	c := &cobra.Command{
		Use:   "send TYPE [JSON | -]",
		Short: "Publish an event",
		Long: `Publish an event. It returns when every delivery is durable. JSON is the event's
data; - reads it from standard input.

  polywire webhook send order.paid '{"order": 7}'`,
		Args: cli.Args,
		RunE: func(c *cobra.Command, args []string) (err error) {
			e.Type = args[0]
			if len(args) == 2 {
				if e.Data, err = readData(c.InOrStdin(), args[1]); err != nil {
					return err
				}
			}
			if e.Time, err = cli.TimeOrAgo("--time", at, time.Now()); err != nil {
				return err
			}
			return f.with(c, nil, func(ctx context.Context, w *opened) error {
				a, err := webhookapi.Publish(ctx, w.Dispatcher, e)
				if err != nil {
					return err
				}
				if f.json {
					return printJSON(c.OutOrStdout(), a)
				}
				fmt.Fprintf(c.OutOrStdout(), "%s is accepted for %s\n", a.ID, count(a.Endpoints, "endpoint"))
				if a.Endpoints == 0 {
					fmt.Fprintln(c.ErrOrStderr(), "No endpoint that is enabled wants this type: polywire webhook endpoints ls shows who wants what.")
				}
				return nil
			})
		},
	}
	c.Flags().StringVar(&e.ID, "id", "", "`id` of the event, the same for every try; default: one is made")
	c.Flags().StringVar(&at, "time", "", "`time` of the event: 2006-01-02T15:04:05Z, or how long ago; default: now")
	return c
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

// readData returns JSON that was given, or that of standard input.
func readData(in io.Reader, text string) (json.RawMessage, error) {
	data := []byte(text)
	if text == "-" {
		var err error
		if data, err = io.ReadAll(io.LimitReader(in, maxStdinBytes+1)); err != nil {
			return nil, err
		}
		if len(data) > maxStdinBytes {
			return nil, fmt.Errorf("standard input has more than %d bytes", maxStdinBytes)
		}
	}
	if !json.Valid(data) {
		return nil, errors.New("the data is not JSON; text needs quotes of its own: '\"text\"'")
	}
	return data, nil
}

// attemptsFlags pick attempts.
type attemptsFlags struct {
	*placeFlags

	event  string
	try    int
	limit  int
	before string
}

func newAttempts(f *placeFlags) *cobra.Command {
	a := &attemptsFlags{placeFlags: f}
	c := &cobra.Command{
		Use:   "attempts [ENDPOINT] [--event ID]",
		Short: "Show what was tried, and what came of it",
		Long: `List the attempts of an endpoint, newest first, or those at an event by all
endpoints, oldest first. With both: one attempt in full, with the header and the
body of the answer; the last one, or --try.

  polywire webhook attempts ep_...
  polywire webhook attempts --event msg_...
  polywire webhook attempts ep_... --event msg_... --try 1`,
		Args: cli.Args,
		RunE: func(c *cobra.Command, args []string) error {
			endpoint := ""
			if len(args) == 1 {
				endpoint = args[0]
			}
			switch {
			case endpoint == "" && a.event == "":
				return errors.New("say whose attempts: the ID of an endpoint, or --event ID, or both for one in full")
			case a.limit < 1 || a.limit > dispatch.MaxPage:
				return fmt.Errorf("--limit %d: want 1 to %d", a.limit, dispatch.MaxPage)
			case a.try != 0 && (endpoint == "" || a.event == ""):
				return errors.New("--try is for one attempt: of an endpoint, and --event")
			case a.before != "" && (endpoint == "" || a.event != ""):
				return errors.New("--before is for the list of an endpoint")
			}
			return a.with(c, nil, func(ctx context.Context, w *opened) error { return a.show(ctx, c.OutOrStdout(), w, endpoint) })
		},
	}
	c.Flags().StringVar(&a.event, "event", "", "`id` of an event")
	c.Flags().IntVar(&a.try, "try", 0, "`number` of the attempt, from 1; default: the last")
	c.Flags().IntVarP(&a.limit, "limit", "n", 20, "most attempts of an endpoint")
	c.Flags().StringVar(&a.before, "before", "", "`page` that the list before named")
	return c
}

func (a *attemptsFlags) show(ctx context.Context, out io.Writer, w *opened, endpoint string) error {
	var page webhookapi.Attempts
	if a.event == "" {
		p, err := w.Attempts(ctx, endpoint, a.before, a.limit)
		if err != nil {
			return err
		}
		if len(p.Entries) == 0 && a.before == "" {
			if _, err := w.Endpoint(ctx, endpoint); err != nil {
				return err
			}
		}
		page = webhookapi.Attempts{Attempts: webhookapi.ViewAttempts(p.Entries, false), Next: p.Next}
	} else {
		entries, err := w.AttemptsOf(ctx, a.event)
		if err != nil {
			return err
		}
		if endpoint != "" {
			return a.showOne(out, entries, endpoint)
		}
		page.Attempts = webhookapi.ViewAttempts(entries, false)
	}
	if a.json {
		return printJSON(out, page)
	}
	return printAttempts(out, page)
}

func (a *attemptsFlags) showOne(out io.Writer, entries []dispatch.Entry, endpoint string) error {
	var found *dispatch.Entry
	for i, e := range entries {
		if e.Endpoint == endpoint && (a.try == 0 || e.Attempt.Try == a.try) {
			found = &entries[i]
		}
	}
	if found == nil {
		return fmt.Errorf("%w: no such attempt at event %q by endpoint %q", dispatch.ErrNotFound, a.event, endpoint)
	}
	v := webhookapi.ViewAttempt(*found, true)
	if a.json {
		return printJSON(out, v)
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "event\t%s\ntype\t%s\nendpoint\t%s\ntry\t%d\nstate\t%s\nstarted\t%s\ntook\t%.1f ms\nresult\t%s\n",
		v.Event, v.Type, v.Endpoint, v.Try, v.State, shownTime(v.Start), v.DurationMS, result(v))
	if !v.Next.IsZero() {
		fmt.Fprintf(t, "next try\t%s\n", shownTime(v.Next))
	}
	if v.RetryAfter != "" {
		fmt.Fprintf(t, "asked to wait\t%s\n", v.RetryAfter)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, name := range sortedNames(v.Header) {
		for _, value := range v.Header[name] {
			fmt.Fprintf(out, "  %s: %s\n", name, printable(value))
		}
	}
	switch {
	case v.Body != "":
		fmt.Fprintf(out, "\n%s\n", printable(v.Body))
	case len(v.BodyBytes) > 0:
		fmt.Fprintf(out, "\n(%d bytes that are no text; --json has them)\n", len(v.BodyBytes))
	}
	if v.Truncated {
		fmt.Fprintln(out, "(there was more)")
	}
	return nil
}

// result says how an attempt ended.
func result(a webhookapi.Attempt) string {
	words := []string{a.Class}
	if a.Status != 0 {
		words = append(words, strconv.Itoa(a.Status))
	}
	if a.Error != "" {
		words = append(words, printable(a.Error))
	}
	return cmp.Or(strings.TrimSpace(strings.Join(words, " ")), "-")
}

func printAttempts(out io.Writer, page webhookapi.Attempts) error {
	if len(page.Attempts) == 0 {
		fmt.Fprintln(out, "no attempts")
		return nil
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "STARTED\tEVENT\tTYPE\tENDPOINT\tTRY\tSTATE\tRESULT\tTOOK")
	for _, a := range page.Attempts {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%s\t%s\t%.1f ms\n",
			shownTime(a.Start), a.Event, a.Type, a.Endpoint, a.Try, a.State, result(a), a.DurationMS)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if page.Next != "" {
		fmt.Fprintf(out, "older ones: --before %s\n", page.Next)
	}
	return nil
}

// replayFlags pick what is delivered once more.
type replayFlags struct {
	*placeFlags

	request             webhookapi.ReplayRequest
	failed, since, till string
}

func newReplay(f *placeFlags) *cobra.Command {
	r := &replayFlags{placeFlags: f}
	c := &cobra.Command{
		Use:   "replay [ENDPOINT] [EVENT]",
		Short: "Deliver once more: the same ids, new timestamps",
		Long: `Deliver once more: one event to an endpoint, what was given up for an endpoint
since a time, or the events of a type in a range, to one endpoint or to all that
want the type now. It returns when that is durable; Ctrl-C ends it, and what was
queued until then is delivered.

  polywire webhook replay ep_... msg_...
  polywire webhook replay ep_... --failed-since 24h --rate 10
  polywire webhook replay --types 'order.*' --since 2026-01-02T00:00:00Z --until 2026-01-03T00:00:00Z`,
		Args: cli.Args,
		RunE: r.run,
	}
	flags := c.Flags()
	flags.StringVar(&r.failed, "failed-since", "", "what was given up since a `time`: 2006-01-02T15:04:05Z, or how long ago, as 24h")
	flags.StringVar(&r.request.Types, "types", "", "events of a `type`, as order.paid, order.* or *")
	flags.StringVar(&r.since, "since", "", "with --types: accepted since a `time`; default: all that are kept")
	flags.StringVar(&r.till, "until", "", "with --types: accepted before a `time`; default: now")
	flags.Float64Var(&r.request.Rate, "rate", 100, "most deliveries a second")
	flags.IntVar(&r.request.Limit, "limit", 0, "most deliveries; 0 is no limit")
	return c
}

func (r *replayFlags) run(c *cobra.Command, args []string) (err error) {
	q := &r.request
	if len(args) > 0 {
		q.Endpoint = args[0]
	}
	if len(args) > 1 {
		q.Event = args[1]
	}
	if q.FailedSince, err = cli.TimeOrAgo("--failed-since", r.failed, time.Now()); err != nil {
		return err
	}
	if q.Since, err = cli.TimeOrAgo("--since", r.since, time.Now()); err != nil {
		return err
	}
	if q.Until, err = cli.TimeOrAgo("--until", r.till, time.Now()); err != nil {
		return err
	}
	if q.Rate <= 0 {
		return fmt.Errorf("--rate %v: want more than nothing", q.Rate)
	}
	if err := q.Check(); err != nil {
		return fmt.Errorf("say what to replay: ENDPOINT EVENT, or ENDPOINT --failed-since TIME, or --types TYPE: %w", describe(err))
	}
	return r.with(c, nil, func(ctx context.Context, w *opened) error {
		most := int64(-1) // how many there are is known at the end
		if q.Limit > 0 {
			most = int64(q.Limit)
		}
		bar := cli.StartCounter(c.ErrOrStderr(), !r.json && cli.Terminal(c.ErrOrStderr()), most, "replaying")
		n, err := webhookapi.Run(ctx, w.Dispatcher, *q, bar.At)
		bar.Clear()
		if r.json {
			err = errors.Join(err, printJSON(c.OutOrStdout(), map[string]int{"queued": n}))
		} else if n > 0 || err == nil {
			fmt.Fprintf(c.OutOrStdout(), "%s queued\n", deliveries(n))
		}
		return err
	})
}

func deliveries(n int) string {
	if n == 1 {
		return "1 delivery"
	}
	return strconv.Itoa(n) + " deliveries"
}
