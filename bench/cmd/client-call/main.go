// Command client-call measures Call of package client against a server that
// answers kind "echo" (`polywire bench serve`), many at a time on one
// connection.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/polywire/polywire/bench/internal/calls"
	"github.com/polywire/polywire/client"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "client-call:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	f := flag.NewFlagSet("client-call", flag.ContinueOnError)
	var cfg calls.Config
	cfg.Register(f)
	url := f.String("url", "tcp://127.0.0.1:7000", "server `URL`")
	if err := f.Parse(args); err != nil {
		return err
	}
	res, err := drive(ctx, *url, cfg)
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(res)
}

func drive(ctx context.Context, url string, cfg calls.Config) (res calls.Result, err error) {
	c, err := client.Dial(ctx, url, client.WithoutReconnect())
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	return calls.Drive(ctx, cfg, func(ctx context.Context, payload []byte) error {
		var answer []byte
		if err := c.Call(ctx, "echo", payload, &answer); err != nil {
			return err
		}
		if len(answer) != len(payload) {
			return fmt.Errorf("an answer of %d bytes", len(answer))
		}
		return nil
	})
}
