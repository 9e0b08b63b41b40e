package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/polywire/polywire/cmd/polywire/internal/cli"
	"github.com/polywire/polywire/cmd/polywire/internal/top"
)

// topFlags are those of `polywire top`.
type topFlags struct {
	once, json bool
	every      time.Duration
}

func newTop() *cobra.Command {
	f := newServeFlags()
	var o topFlags
	c := &cobra.Command{
		Use:   "top [ADDRESS]",
		Short: "Watch a server's figures in a terminal",
		Long: `Show what the console shows, in a terminal, each second anew: rates, latency,
connections by wire, what waits for slow readers, queues, webhooks, the servers
of a cluster, and the connections that send the most.

It asks the server's admin listener. Where that is, and its token, it reads from
the same file and variables as the server, unless they are given here. ADDRESS
is a host:port, or a URL.

  polywire top --config /etc/polywire/polywire.yaml
  POLYWIRE_ADMIN_TOKEN=... polywire top https://admin.example.com

Ends with q or Ctrl-C; s sorts the connections by what they send, get, have
queued, or how long they are quiet. While the server is away it says so, and
goes on. Into a file or a pipe it writes a line for each second. With NO_COLOR
in the environment there are no colours.`,
		Args: cli.Args,
		RunE: func(c *cobra.Command, args []string) error {
			if err := f.load(); err != nil {
				return err
			}
			address := f.adminAt
			if len(args) > 0 {
				address = args[0]
			}
			if address == "" {
				return errors.New("--admin says where the server's admin listener is, as 127.0.0.1:9090")
			}
			client, err := top.NewClient(top.Options{URL: address, Token: f.adminToken})
			if err != nil {
				return err
			}
			defer client.Close()
			return o.run(c, client)
		},
	}
	f.register(c)
	c.Flags().SetNormalizeFunc(func(all *pflag.FlagSet, name string) pflag.NormalizedName {
		if name == "token" {
			name = "admin-token"
		}
		return otherNames(all, name)
	})
	c.Flags().VisitAll(func(flag *pflag.Flag) {
		flag.Hidden = flag.Name != "config" && flag.Name != "admin" && flag.Name != "admin-token"
	})
	c.Flags().BoolVar(&o.once, "once", false, "print the figures of now, and end")
	c.Flags().BoolVar(&o.json, "json", false, "print a line of JSON for each second")
	c.Flags().DurationVar(&o.every, "every", time.Second, "`time` from one look to the next")
	return c
}

func (o *topFlags) run(c *cobra.Command, client *top.Client) error {
	const fastest = 100 * time.Millisecond
	if o.every < fastest {
		return fmt.Errorf("--every: at least %v", fastest)
	}
	out := c.OutOrStdout()
	colour := os.Getenv("NO_COLOR") == ""
	if o.once || o.json || !cli.Terminal(out) || os.Getenv("TERM") == "dumb" {
		return o.lines(c.Context(), out, client)
	}
	s := top.Screen{Out: out.(*os.File), Color: colour, Every: o.every} //nolint:forcetypeassert // a terminal is one
	if in, ok := c.InOrStdin().(*os.File); ok {
		s.In = in
	}
	return s.Show(c.Context(), client)
}

// lines prints a line for each look, with a heading now and then.
func (o *topFlags) lines(ctx context.Context, out io.Writer, client *top.Client) error {
	const headings = 20
	ticks := time.NewTicker(o.every)
	defer ticks.Stop()
	for i := 0; ; i++ {
		f := client.Ask(ctx, "in")
		if ctx.Err() != nil {
			return nil
		}
		if (o.once || i == 0) && f.Error == top.ErrToken.Error() {
			return top.ErrToken
		}
		if o.once && f.Error != "" {
			return errors.New(f.Error)
		}
		if err := o.write(out, f, i%headings == 0); err != nil || o.once {
			return err
		}
		select {
		case <-ticks.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (o *topFlags) write(out io.Writer, f top.Figures, heading bool) error {
	switch {
	case o.json:
		text, err := top.JSON(f)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(out, text)
		return err
	case o.once:
		for _, line := range top.Page(f, top.View{Width: 100, Height: 200}) {
			if _, err := fmt.Fprintln(out, line); err != nil {
				return err
			}
		}
		return nil
	}
	if heading {
		if _, err := fmt.Fprintln(out, top.Heading()); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(out, top.Line(f))
	return err
}
