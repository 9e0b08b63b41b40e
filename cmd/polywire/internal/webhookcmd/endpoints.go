package webhookcmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/polywire/polywire/cmd/polywire/internal/cli"
	"github.com/polywire/polywire/cmd/polywire/internal/webhookapi"
	"github.com/polywire/polywire/webhook"
)

func newEndpoints(f *placeFlags) *cobra.Command {
	c := &cobra.Command{
		Use:   "endpoints",
		Short: "Manage who gets events",
	}
	c.AddCommand(newEndpointsAdd(f), newEndpointsList(f), newEndpointsRotate(f),
		newEndpointsSwitch(f, "disable"), newEndpointsSwitch(f, "enable"), newEndpointsRemove(f))
	return c
}

// addFlags describe a new endpoint.
type addFlags struct {
	*placeFlags
	cli.Reach

	endpoint webhookapi.NewEndpoint
	secret   string
	headers  []string
	schedule []string
	jitter   float64
}

func newEndpointsAdd(f *placeFlags) *cobra.Command {
	a := &addFlags{placeFlags: f}
	c := &cobra.Command{
		Use:   "add URL --type TYPE...",
		Short: "Add an endpoint, and show its secret, once",
		Long: `Add an endpoint. The secret that is made for it is shown once: give it to those
who run the receiver. With --key ed25519 it is a public key, which everybody may
know.

  polywire webhook endpoints add https://customer.example/hook --type 'order.*'
  polywire webhook endpoints add https://customer.example/hook --type '*' --ordered --schedule 0s,10s,1m,1h --header 'X-Tenant: 7'
  polywire webhook endpoints add http://127.0.0.1:8787/ --type '*' --allow-http --allow-network 127.0.0.1/32`,
		Args: cli.Args,
		RunE: func(c *cobra.Command, args []string) error {
			a.endpoint.URL = args[0]
			return a.add(c)
		},
	}
	e, flags := &a.endpoint, c.Flags()
	flags.StringSliceVar(&e.Types, "type", nil, "`types` of events that it gets, as order.paid, order.* or *; may be repeated")
	flags.StringVar(&e.ID, "id", "", "`id` of the endpoint; default: one is made")
	flags.StringVar(&e.Description, "description", "", "`text` for people")
	flags.StringArrayVar(&a.headers, "header", nil, "`Name: value` to send with each request; may be repeated. Values are not listed")
	flags.StringVar(&a.secret, "secret", "", "its own secret: `env:NAME` or file:PATH; default: one is made")
	flags.StringVar(&e.Key, "key", "", "`kind` of the secret that is made: symmetric or ed25519; default: symmetric")
	flags.StringVar(&e.Format, "format", "", "standard, or gost; default: standard")
	flags.StringVar(&e.Timeout, "timeout", "", "`time` for one try, at most 60s; default: 20s")
	flags.Float64Var(&e.Rate, "rate", 0, "most tries a second; 0 is no limit")
	flags.IntVar(&e.Burst, "burst", 0, "most tries at once within the rate; 0 is the rate")
	flags.IntVar(&e.Concurrency, "concurrency", 0, "most tries in flight; 0 is 8")
	flags.BoolVar(&e.Ordered, "ordered", false, "hold back an event until those before it were delivered or given up")
	flags.StringSliceVar(&a.schedule, "schedule", nil, "`waits` before each try, as 0s,5s,5m,1h; default: ten tries in 76 hours, of gost five in ten seconds")
	flags.Float64Var(&a.jitter, "jitter", 0.2, "with --schedule: by which part waits differ at random, 0 to 1")
	flags.BoolVar(&e.Disabled, "disabled", false, "begin disabled")
	a.Reach.Register(flags)
	return c
}

func (a *addFlags) complete() (err error) {
	if len(a.endpoint.Types) == 0 {
		return errors.New("--type says which events it gets: order.paid, order.* or *")
	}
	if a.secret != "" {
		if a.endpoint.Secret, err = cli.ReadSecret(a.secret); err != nil {
			return fmt.Errorf("--secret: %w", err)
		}
	}
	if a.endpoint.Headers, err = parseHeaders(a.headers); err != nil {
		return err
	}
	if len(a.schedule) == 0 {
		return nil
	}
	delays := make([]time.Duration, len(a.schedule))
	for i, text := range a.schedule {
		if delays[i], err = time.ParseDuration(text); err != nil {
			return fmt.Errorf("--schedule %q: want times with their units, as 0s,5s,5m", text)
		}
	}
	s, err := webhook.NewSchedule(a.jitter, delays...)
	a.endpoint.Schedule = &s
	return err
}

// parseHeaders takes "Name: value" apart.
func parseHeaders(lines []string) (map[string]string, error) {
	var headers map[string]string
	for _, line := range lines {
		name, value, ok := strings.Cut(line, ":")
		if name = strings.TrimSpace(name); !ok || name == "" {
			return nil, errors.New("--header: want 'Name: value'")
		}
		if headers == nil {
			headers = make(map[string]string)
		}
		if _, twice := headers[name]; twice {
			return nil, fmt.Errorf("--header %q is there twice", name)
		}
		headers[name] = strings.TrimSpace(value)
	}
	return headers, nil
}

func (a *addFlags) add(c *cobra.Command) error {
	if err := a.complete(); err != nil {
		return err
	}
	client, err := a.Reach.Client()
	if err != nil {
		return err
	}
	a.first = true
	return a.with(c, client, func(ctx context.Context, w *opened) error {
		created, err := webhookapi.Add(ctx, w.Dispatcher, a.endpoint)
		if err != nil {
			return err
		}
		if a.json {
			return printJSON(c.OutOrStdout(), created)
		}
		fmt.Fprintf(c.OutOrStdout(), "added %s\n", created.Endpoint.ID)
		printSecret(c.OutOrStdout(), created.NewSecret)
		return nil
	})
}

func printSecret(w io.Writer, s webhookapi.NewSecret) {
	switch {
	case s.Secret != "":
		fmt.Fprintf(w, "secret %s\nIt is not shown again.\n", s.Secret)
	case s.PublicKey != "":
		fmt.Fprintf(w, "public key %s\n", s.PublicKey)
	}
}

func newEndpointsList(f *placeFlags) *cobra.Command {
	return &cobra.Command{
		Use:     "ls [ID]",
		Aliases: []string{"list"},
		Short:   "List the endpoints, or show one",
		Args:    cli.Args,
		RunE: func(c *cobra.Command, args []string) error {
			return f.with(c, nil, func(ctx context.Context, w *opened) error {
				if len(args) == 1 {
					r, err := w.Endpoint(ctx, args[0])
					if err != nil {
						return err
					}
					return printJSON(c.OutOrStdout(), webhookapi.View(r))
				}
				list := webhookapi.Endpoints{Endpoints: []webhookapi.Endpoint{}}
				for _, r := range w.Endpoints() {
					list.Endpoints = append(list.Endpoints, webhookapi.View(r))
				}
				if f.json {
					return printJSON(c.OutOrStdout(), list)
				}
				return printEndpoints(c.OutOrStdout(), list.Endpoints)
			})
		},
	}
}

func printEndpoints(out io.Writer, list []webhookapi.Endpoint) error {
	if len(list) == 0 {
		fmt.Fprintln(out, "no endpoints")
		return nil
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tSTATE\tTYPES\tURL")
	for _, e := range list {
		state := "enabled"
		switch {
		case e.Disabled && e.DisabledReason != "":
			state = "disabled (" + printable(e.DisabledReason) + ")"
		case e.Disabled:
			state = "disabled"
		case !e.FailingSince.IsZero():
			state = "failing since " + shownTime(e.FailingSince)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", e.ID, state, strings.Join(e.Types, ","), e.URL)
	}
	return t.Flush()
}

func newEndpointsSwitch(f *placeFlags, verb string) *cobra.Command {
	short := map[string]string{"disable": "Keep events from an endpoint", "enable": "Let an endpoint get events again, from now on"}
	var reason string
	c := &cobra.Command{
		Use: verb + " ID", Short: short[verb], Args: cli.Args,
		RunE: func(c *cobra.Command, args []string) error {
			return f.with(c, nil, func(ctx context.Context, w *opened) error {
				change := func() error { return w.Disable(ctx, args[0], reason) }
				if verb == "enable" {
					change = func() error { return w.Enable(ctx, args[0]) }
				}
				if err := change(); err != nil {
					return err
				}
				if !f.json {
					fmt.Fprintf(c.OutOrStdout(), "%sd %s\n", verb, args[0])
					return nil
				}
				r, err := w.Endpoint(ctx, args[0])
				if err != nil {
					return err
				}
				return printJSON(c.OutOrStdout(), webhookapi.View(r))
			})
		},
	}
	if verb == "disable" {
		c.Flags().StringVar(&reason, "reason", "", "`text` that says why, for people")
	}
	return c
}

func newEndpointsRotate(f *placeFlags) *cobra.Command {
	var r webhookapi.Rotation
	var secret string
	c := &cobra.Command{
		Use:   "rotate ID",
		Short: "Replace the secret of an endpoint, and show the new one, once",
		Long: `Replace the secret of an endpoint. For the time of --grace requests are signed
with the old one as well, so that the receiver can change in its own time; not
so in the format gost, whose receivers need to know the new one before.

  polywire webhook endpoints rotate ep_...
  polywire webhook endpoints rotate ep_... --grace 0s`,
		Args: cli.Args,
		RunE: func(c *cobra.Command, args []string) (err error) {
			if secret != "" {
				if r.Secret, err = cli.ReadSecret(secret); err != nil {
					return fmt.Errorf("--secret: %w", err)
				}
			}
			return f.with(c, nil, func(ctx context.Context, w *opened) error {
				s, err := webhookapi.Rotate(ctx, w.Dispatcher, args[0], r)
				if err != nil {
					return err
				}
				if f.json {
					return printJSON(c.OutOrStdout(), s)
				}
				fmt.Fprintf(c.OutOrStdout(), "rotated %s\n", args[0])
				printSecret(c.OutOrStdout(), s)
				return nil
			})
		},
	}
	c.Flags().StringVar(&r.Grace, "grace", "", "`time` for which the old secret signs as well, at most 720h; 0s is not at all; default: 24h")
	c.Flags().StringVar(&secret, "secret", "", "the new secret: `env:NAME` or file:PATH; default: one is made")
	return c
}

func newEndpointsRemove(f *placeFlags) *cobra.Command {
	return &cobra.Command{
		Use:     "rm ID",
		Aliases: []string{"remove"},
		Short:   "Remove an endpoint; what waits for it is given up",
		Args:    cli.Args,
		RunE: func(c *cobra.Command, args []string) error {
			return f.with(c, nil, func(ctx context.Context, w *opened) error {
				if err := w.Remove(ctx, args[0]); err != nil {
					return err
				}
				if f.json {
					return printJSON(c.OutOrStdout(), map[string]string{"removed": args[0]})
				}
				fmt.Fprintf(c.OutOrStdout(), "removed %s\n", args[0])
				return nil
			})
		},
	}
}
