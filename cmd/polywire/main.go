// Command polywire is the server, its demo and its tools in one binary.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/polywire/polywire/cmd/polywire/internal/cli"
	"github.com/polywire/polywire/cmd/polywire/internal/queuecmd"
	"github.com/polywire/polywire/cmd/polywire/internal/webhookcmd"
	"github.com/polywire/polywire/queue"
	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	err := newRoot().ExecuteContext(ctx)
	interrupted := ctx.Err() != nil
	stop()
	switch {
	case err == nil, interrupted && errors.Is(err, context.Canceled):
	default:
		fmt.Fprintln(os.Stderr, "polywire:", strings.TrimPrefix(err.Error(), "polywire: "))
		os.Exit(exitCode(err))
	}
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "polywire",
		Short: "One application, every wire",
		Long: `Polywire lets one application talk over every wire. This program is its server
for those who bring no Go of their own, a demo, and the tools around it.

Start with the demo, which prints an address for your browser:

  polywire demo

Then watch it from a second terminal, and speak from a third:

  polywire sub lobby --url ws://127.0.0.1:8080
  polywire call chat.say '{"room":"lobby","text":"hello"}' --url ws://127.0.0.1:8080`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(newServe(), newConfig(), newHealth(), newTop(), newDemo(), newPub(), newSub(), newCall(), webhookcmd.New(), queuecmd.New(), newBench(), newVersion())
	cli.Explain(root)
	return root
}

// exitCode is the program's exit status after an error.
func exitCode(err error) int {
	if errors.Is(err, queue.ErrNotFound) || errors.Is(err, errSettings) {
		return 2
	}
	return 1
}
