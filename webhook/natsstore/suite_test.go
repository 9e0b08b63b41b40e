package natsstore_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/polywire/polywire/internal/testenv"
	"github.com/polywire/polywire/natsembed"
	"github.com/polywire/polywire/webhook/dispatch/dispatchtest"
	"github.com/polywire/polywire/webhook/natsstore"
)

// patience bounds every wait of these tests.
const patience = 60 * time.Second

func TestMain(m *testing.M) {
	if what := os.Getenv(childVariable); what != "" {
		os.Exit(runChild(what))
	}
	testenv.VerifyNoLeaks(m)
}

func within(tb testing.TB) context.Context {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	tb.Cleanup(cancel)
	return ctx
}

func serve(tb testing.TB, o natsembed.Options) *natsembed.Server {
	tb.Helper()
	if o.Dir == "" {
		o.Dir = tb.TempDir()
	}
	s, err := natsembed.Start(within(tb), o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			tb.Error(err)
		}
	})
	return s
}

// open opens stores on a connection of their own.
func open(tb testing.TB, s *natsembed.Server, o natsstore.Options) *natsstore.Store {
	tb.Helper()
	nc, err := s.Connect()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(nc.Close)
	o.Conn = nc
	store, err := natsstore.Open(within(tb), o)
	if err != nil {
		tb.Fatal(err)
	}
	return store
}

func TestSuite(t *testing.T) {
	server := serve(t, natsembed.Options{NoSync: true})
	names := 0
	prefixes := make(map[*testing.T]string)
	dispatchtest.Run(t, func(t *testing.T) dispatchtest.Stores {
		if prefixes[t] == "" {
			names++
			prefixes[t] = strings.Repeat("x", names)
		}
		s := open(t, server, natsstore.Options{Prefix: prefixes[t]})
		return dispatchtest.Stores{Endpoints: s.Endpoints, Events: s.Events, Attempts: s.Attempts}
	})
}
