package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/cmd/polywire/internal/config"
	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/codec/msgpack"
	"github.com/polywire/polywire/codec/protobuf"
	"github.com/polywire/polywire/wire"
)

// listenFlags are those of every command that serves.
type listenFlags struct {
	listen    []string
	logLevel  string
	logFormat string
	drain     time.Duration
	delay     time.Duration // between not being ready and the drain
}

// register gives a command that has no file of settings these flags.
func (f *listenFlags) register(c *cobra.Command, level, listen string) {
	set := config.New(variablePrefix)
	f.declare(set, level, listen)
	set.RegisterOnly(c.Flags())
}

// addresses returns the listeners as URLs.
func (f *listenFlags) addresses() []string {
	urls := make([]string, len(f.listen))
	for i, a := range f.listen {
		if !strings.Contains(a, "://") {
			a = "ws://" + a
		}
		urls[i] = a
	}
	return urls
}

// logger returns one whose level can be changed.
func (f *listenFlags) logger(w io.Writer) (*slog.Logger, *slog.LevelVar) {
	level := new(slog.LevelVar)
	_ = level.UnmarshalText([]byte(f.logLevel)) // it was checked when it was read
	o := &slog.HandlerOptions{Level: level}
	if f.logFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, o)), level
	}
	return slog.New(slog.NewTextHandler(w, o)), level
}

// baseOptions are those of every server that this program runs. Without wires
// it speaks every one.
func baseOptions(logger *slog.Logger, wires ...wire.Protocol) []polywire.Option {
	if wires == nil {
		wires = everyWire(wirePlaces{})
	}
	return []polywire.Option{
		polywire.WithWires(wires...),
		polywire.WithCodecs(codec.JSON{}, protobuf.Codec{}, msgpack.Codec{}),
		polywire.WithLogger(logger),
	}
}

// run serves until ctx ends, then shuts the server down. ready is called with
// the URLs that are listened on.
func (f *listenFlags) run(ctx context.Context, srv *polywire.Server, ready func(urls []string)) error {
	urls := f.addresses()
	failed := make(chan error, len(urls))
	for i, u := range urls {
		l, scheme, err := srv.Listen(u)
		if err != nil {
			return errors.Join(err, srv.Close())
		}
		if l.Addr().Network() == "tcp" {
			urls[i] = scheme + "://" + l.Addr().String()
		}
		go func() { failed <- srv.Serve(l, scheme) }()
	}
	ready(urls)
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	drain, cancel := context.WithTimeout(context.Background(), f.drain)
	defer cancel()
	if shutErr := srv.Shutdown(drain); shutErr != nil {
		err = errors.Join(err, fmt.Errorf("shutdown: %w", shutErr))
	}
	return err
}

// loadTLS reads a certificate and its key.
func loadTLS(cert, key string) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("--tls-cert and --tls-key: %w", err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, nil
}
