package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/cmd/polywire/internal/demo"
)

func newDemo() *cobra.Command {
	var f listenFlags
	c := &cobra.Command{
		Use:   "demo",
		Short: "Run a chat for your browser, with a bot in it",
		Long: `Run a small chat and print its address: open it in a browser, or in two. A bot
written in Go is in the same room, so that a lone visitor sees it work. The
same room is there for every other wire:

  polywire sub lobby
  polywire call chat.say '{"room": "lobby", "text": "from a terminal"}'`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			logger, _ := f.logger(c.ErrOrStderr())
			chat := demo.New(logger)
			srv, err := polywire.New(append(baseOptions(logger), chat.Options()...)...)
			if err != nil {
				return err
			}
			chat.Register(srv)
			return f.run(c.Context(), srv, course{ready: func(urls []string) {
				for _, u := range urls {
					if page, ok := strings.CutPrefix(u, "ws://"); ok {
						fmt.Fprintf(c.OutOrStdout(), "The demo is at http://%s/ (Ctrl-C ends it)\n", page)
						chat.StartBot(c.Context(), u)
					}
				}
			}})
		},
	}
	f.register(c, "warn", "127.0.0.1:8080")
	return c
}
