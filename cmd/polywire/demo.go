package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/polywire/polywire/cmd/polywire/internal/cli"
	"github.com/polywire/polywire/cmd/polywire/internal/config"
	"github.com/polywire/polywire/cmd/polywire/internal/demo"
)

// demoSettings are those of `polywire serve` that the demo has. What it keeps is
// in a directory that goes with it, so nothing waits for the disk.
const demoSettings = `
listen: [%q]
admin: {listen: %q}
log: {level: warn}
allow: [publish]
data: {dir: %q, no_sync: true}
api:
  keys: [{name: demo, secret: "sha256:%x", scopes: [all]}]
queues:
  in: [{kind: job.*, queue: jobs}]
webhooks:
  enabled: true
  out: [order.*]
  allow_http: true
  allow_networks: [127.0.0.0/8, "::1/128"]
`

const (
	demoListen = "127.0.0.1:8080"
	demoAdmin  = "127.0.0.1:8081"
)

// demoSet declares the demo's flags.
func demoSet() *config.Set {
	own := config.New(variablePrefix)
	new(listenFlags).declare(own, "warn", demoListen)
	own.Add(config.Setting{Key: "admin.listen", Flag: "admin", Doc: "`host:port` of the console, metrics and profiles"},
		config.Text(new(string), demoAdmin, "host:port", checkHostPort))
	return own
}

func newDemo() *cobra.Command {
	own := demoSet()
	c := &cobra.Command{
		Use:   "demo",
		Short: "Run a chat for your browser with a bot in it, a console, an API and webhooks",
		Long: `Run a small chat and print its address: open it in a browser, or in two. A bot
written in Go is in the same room, so that a lone visitor sees it work. The
same room is there for every other wire:

  polywire sub lobby
  polywire call chat.say '{"room": "lobby", "text": "from a terminal"}'

Everything else of polywire serve is there, too, for this machine alone: rooms
of other names to publish to, an HTTP API with a key that is printed, webhooks
for messages of the kinds order.*, a queue for those of job.*, the console. It
keeps what it has in a temporary directory, and forgets it at the end.

docs/quickstart.md goes through all of it.`,
		Args: cli.Args,
		RunE: func(c *cobra.Command, _ []string) error { return runDemo(c, own) },
	}
	own.RegisterOnly(c.Flags())
	return c
}

// runDemo serves the chat on a server of demoSettings and the command's flags.
func runDemo(c *cobra.Command, own *config.Set) (err error) {
	dir, err := os.MkdirTemp("", "polywire-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	key := rand.Text()
	f, err := demoFlags(own, dir, key)
	if err != nil {
		return err
	}
	p, err := f.plan(c.ErrOrStderr())
	if err != nil {
		return err
	}
	chat := demo.New(p.logger)
	return f.carryOut(c, p, &app{
		options:  chat.Options(),
		register: chat.Register,
		ready: func(ctx context.Context, r *running, urls []string) {
			for _, u := range urls {
				if page, ok := strings.CutPrefix(u, "ws://"); ok {
					fmt.Fprintf(c.OutOrStdout(), "The demo is at http://%s/ (Ctrl-C ends it)\n", page)
					chat.StartBot(ctx, u)
				}
			}
			if r.adminURL != "" {
				fmt.Fprintf(c.OutOrStdout(), "The console is at %s/\n", r.adminURL)
			}
			fmt.Fprintf(c.OutOrStdout(), "The key of its HTTP API: export KEY=%s\n", key)
		},
	})
}

// demoFlags are the demo's settings, with the flags over them.
func demoFlags(own *config.Set, dir, key string) (*serveFlags, error) {
	f := newServeFlags()
	f.set.Inherit(own)
	hash := sha256.Sum256([]byte(key))
	return f, f.set.Load(config.Input{FileName: "the demo's settings", File: fmt.Appendf(nil, demoSettings, demoListen, demoAdmin, dir, hash)})
}
