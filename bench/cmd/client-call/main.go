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

	"github.com/polywire/polywire/bench/internal/calls"
	"github.com/polywire/polywire/bench/internal/tool"
	"github.com/polywire/polywire/client"
)

func main() { os.Exit(tool.Main("client-call", run)) }

func run(ctx context.Context, args []string, out, _ io.Writer) error {
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
