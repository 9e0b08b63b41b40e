package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync/atomic"
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

// course is what happens while a server runs; what is nil does not.
type course struct {
	ready  func(urls []string) // it listens
	ending func()              // it takes nothing new, before peers are told
	again  <-chan os.Signal    // the settings are to be read again
	reload func()
}

// run serves until ctx ends, then shuts the server down.
func (f *listenFlags) run(ctx context.Context, srv *polywire.Server, c course) error {
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
	c.ready(urls)
	var err error
	for over := false; !over; {
		select {
		case <-ctx.Done():
			over = true
		case err = <-failed:
			over = true
		case <-c.again:
			c.reload()
		}
	}
	if c.ending != nil {
		c.ending()
		if err == nil {
			time.Sleep(f.delay) // a second signal ends the process
		}
	}
	drain, cancel := context.WithTimeout(context.Background(), f.drain)
	defer cancel()
	if srv.Drain(drain, f.drain/4*3) != nil {
		err = errors.Join(err, errors.New("drain: there was no time to tell all peers"))
	}
	if shutErr := srv.Shutdown(drain); shutErr != nil {
		err = errors.Join(err, fmt.Errorf("shutdown: %w", shutErr))
	}
	return err
}

// keyPair is the certificate of the server and its key, which can be read again.
type keyPair struct {
	pair atomic.Pointer[tls.Certificate]
}

// read reads it and its key from files.
func (c *keyPair) read(cert, key string) error {
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return fmt.Errorf("--tls-cert and --tls-key: %w", err)
	}
	c.pair.Store(&pair)
	return nil
}

// config is for TLS with what was read last.
func (c *keyPair) config() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.pair.Load(), nil },
	}
}

// names returns its names and addresses.
func (c *keyPair) names() ([]string, error) {
	leaf := c.pair.Load().Leaf
	names := slices.Clone(leaf.DNSNames)
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("--tls-cert: the certificate of %q has no names (subjectAltName)", leaf.Subject)
	}
	return names, nil
}
