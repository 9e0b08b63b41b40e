package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/cmd/polywire/internal/cli"
	"github.com/polywire/polywire/internal/load"
	"github.com/polywire/polywire/middleware"
)

func newBench() *cobra.Command {
	c := &cobra.Command{
		Use:   "bench",
		Short: "Measure a server",
	}
	c.AddCommand(newBenchServe(), newBenchRun())
	return c
}

func newBenchServe() *cobra.Command {
	var f listenFlags
	var prof profileFlags
	var observed bool
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run the server that `bench run` measures",
		Long: `Run a server with two handlers on every wire, each at its default path: kind
"echo" answers with its payload, kind "broadcast" sends kind "news" with the
payload to everybody. On Goomerang's wire a google.protobuf.BytesValue is
answered with itself, and anybody may broadcast.

  polywire bench serve --listen 127.0.0.1:8080 --listen tcp://127.0.0.1:7000`,
		Args: cli.Args,
		RunE: func(c *cobra.Command, _ []string) error {
			logger, _ := f.logger(c.ErrOrStderr())
			options := append(baseOptions(logger), polywire.WithBroadcastPolicy(
				func(context.Context, *polywire.Conn, string) error { return nil }))
			if observed {
				options = append(options, newMetrics().options()...)
				options = append(options, polywire.WithHooks(middleware.LogHooks(logger)))
			}
			srv, err := polywire.New(options...)
			if err != nil {
				return err
			}
			srv.Handle("echo", echo)
			srv.Handle(string(new(wrapperspb.BytesValue).ProtoReflect().Descriptor().FullName()), echo)
			srv.Handle("broadcast", func(ctx context.Context, m *polywire.Message) (any, error) {
				return nil, srv.All().Send(ctx, "news", m.Payload())
			})
			return prof.during(c.Context(), func(ctx context.Context) error {
				return f.run(ctx, srv, course{ready: func(urls []string) {
					for _, u := range urls {
						fmt.Fprintf(c.OutOrStdout(), "listening on %s, process %d\n", u, os.Getpid())
					}
				}})
			})
		},
	}
	f.register(c, "warn", "127.0.0.1:8080")
	c.Flags().BoolVar(&observed, "observed", false, "collect metrics and log messages, as serve does with an admin listener")
	prof.register(c)
	return c
}

func newBenchRun() *cobra.Command {
	var cfg load.Config
	var asJSON, quiet bool
	c := &cobra.Command{
		Use:       "run {echo | broadcast | steady | idle | connect | handshakes}",
		Short:     "Drive load against a server and print what it did",
		ValidArgs: []string{"echo", "broadcast", "steady", "idle", "connect", "handshakes"},
		Long: `Open connections to a server and measure:

  echo        requests with an answer, --window in flight on each connection
  broadcast   one connection makes the server send to all of them
  steady      a request on each connection --every so often, answered or not
  idle        connections that do nothing but answer pings: the server's memory
              for each; with --speak each has made one call before
  connect     handshakes of connections that stay
  handshakes  --dial-rate handshakes a second for the --duration, 64 at once at
              most, each connection closed when it is open

With --pid, the server's CPU time for a message and memory for a connection are
read from its process. Against our own counterpart:

  polywire bench serve &
  polywire bench run echo --conns 100 --window 16 --pid $!
  polywire bench run echo --wire socketio-polling --conns 200 --pid $!

Only servers on this machine are driven, unless --remote is given.`,
		Args: cli.Args,
		RunE: func(c *cobra.Command, args []string) error {
			if err := cfg.Mode.UnmarshalText([]byte(args[0])); err != nil {
				return err
			}
			if !strings.Contains(cfg.URL, "://") {
				cfg.URL = "ws://" + cfg.URL
			}
			return benchRun(c, cfg, asJSON, quiet)
		},
	}
	c.Flags().StringVarP(&cfg.URL, "url", "u", "ws://127.0.0.1:8080", "server `URL`: ws, http, tcp or unix; drs+tcp and the like are good, too")
	c.Flags().StringVar(&cfg.Wire, "wire", "native", "what to speak: "+strings.Join(load.Wires(), ", "))
	c.Flags().IntVarP(&cfg.Conns, "conns", "c", 100, "connections")
	c.Flags().IntVarP(&cfg.Window, "window", "w", 1, "requests (or broadcasts) in flight, per connection (per publisher)")
	c.Flags().IntVarP(&cfg.PayloadBytes, "size", "s", 100, "payload `bytes`")
	c.Flags().DurationVarP(&cfg.Duration, "duration", "d", 5*time.Second, "how long to measure")
	c.Flags().DurationVar(&cfg.Warmup, "warmup", time.Second, "how long to drive load before measuring")
	c.Flags().DurationVar(&cfg.Every, "every", time.Second, "steady: time between two requests of a connection")
	c.Flags().BoolVar(&cfg.Speak, "speak", false, "idle, connect, handshakes: each connection says hello and makes one call first")
	c.Flags().IntVar(&cfg.DialRate, "dial-rate", 2000, "new connections a second; negative is as fast as it goes")
	c.Flags().IntVar(&cfg.PID, "pid", 0, "server `process` to read CPU time and memory of; 0 is none")
	c.Flags().BoolVar(&cfg.AllowRemote, "remote", false, "allow a server on another machine")
	c.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	c.Flags().BoolVarP(&quiet, "quiet", "q", false, "no progress bar")
	return c
}

func benchRun(c *cobra.Command, cfg load.Config, asJSON, quiet bool) error {
	if !quiet && !asJSON {
		bar := progress(c.ErrOrStderr(), cfg)
		cfg.Progress = bar.update
		defer bar.clear()
	}
	result, err := load.Run(c.Context(), cfg)
	if err != nil {
		return err
	}
	if asJSON {
		enc := json.NewEncoder(c.OutOrStdout())
		enc.SetIndent("", "  ")
		return enc.Encode(result)
	}
	if _, err := fmt.Fprint(c.OutOrStdout(), result.Table()); err != nil {
		return err
	}
	if result.Errors > 0 {
		return errors.New("some connections failed")
	}
	return nil
}

// bar shows how far a run has come: connections while they are opened, then time.
type bar struct {
	*progressbar.ProgressBar
	total   time.Duration
	conns   int
	loading time.Time
}

func progress(w io.Writer, cfg load.Config) *bar {
	total := cfg.Warmup + cfg.Duration
	if cfg.Mode != load.Echo && cfg.Mode != load.Broadcast {
		total = cfg.Duration
	}
	return &bar{
		ProgressBar: progressbar.NewOptions(1000, progressbar.OptionSetWriter(w), progressbar.OptionClearOnFinish(),
			progressbar.OptionSetPredictTime(false), progressbar.OptionSetElapsedTime(false), progressbar.OptionSetWidth(30)),
		total: total, conns: max(cfg.Conns, 1),
	}
}

func (b *bar) update(p load.Progress) {
	if p.Phase == "open" {
		b.Describe(fmt.Sprintf("opening %d of %d connections", p.Open, b.conns))
		_ = b.Set(p.Open * 1000 / b.conns)
		return
	}
	if b.loading.IsZero() {
		b.loading = time.Now()
	}
	b.Describe(fmt.Sprintf("%s: %d messages on %d connections", p.Phase, p.Messages, p.Open))
	_ = b.Set(int(min(999, 1000*time.Since(b.loading)/max(b.total, 1))))
}

func (b *bar) clear() { _ = b.Finish() }
