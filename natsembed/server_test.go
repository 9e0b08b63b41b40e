package natsembed_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/polywire/polywire/natsembed"
)

// patience bounds every wait of these tests.
const patience = 60 * time.Second

func within(tb testing.TB) context.Context {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	tb.Cleanup(cancel)
	return ctx
}

func start(tb testing.TB, o natsembed.Options) *natsembed.Server {
	tb.Helper()
	s, err := natsembed.Start(within(tb), o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { stop(tb, s) })
	return s
}

func stop(tb testing.TB, s *natsembed.Server) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		tb.Error(err)
	}
}

func streams(tb testing.TB, s *natsembed.Server) jetstream.JetStream {
	tb.Helper()
	js, err := jetstream.New(connect(tb, s))
	if err != nil {
		tb.Fatal(err)
	}
	return js
}

func connect(tb testing.TB, s *natsembed.Server, opts ...nats.Option) *nats.Conn {
	tb.Helper()
	nc, err := s.Connect(opts...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(nc.Close)
	return nc
}

// messages counts those of a stream.
func messages(tb testing.TB, js jetstream.JetStream, stream string) uint64 {
	tb.Helper()
	str, err := js.Stream(within(tb), stream)
	if err != nil {
		tb.Fatal(err)
	}
	return str.CachedInfo().State.Msgs
}

func TestStreamsOutliveTheServer(t *testing.T) {
	o := natsembed.Options{Dir: t.TempDir()}
	s := start(t, o)
	js := streams(t, s)
	if _, err := js.CreateStream(within(t), jetstream.StreamConfig{Name: "kept", Subjects: []string{"kept.>"}}); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		if _, err := js.Publish(within(t), fmt.Sprint("kept.", i), []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	name := s.Name()
	stop(t, s)
	again := start(t, o)
	if got := messages(t, streams(t, again), "kept"); got != 10 {
		t.Errorf("%d messages after a restart, want 10", got)
	}
	if again.Name() != name {
		t.Errorf("the name was %q and is %q", name, again.Name())
	}
}

func TestCluster(t *testing.T) {
	first := start(t, natsembed.Options{Dir: t.TempDir(), Cluster: &natsembed.Cluster{Listen: "127.0.0.1:0", NoWait: true}})
	seed := []string{first.ClusterAddr().String()}
	second := start(t, natsembed.Options{Dir: t.TempDir(), Cluster: &natsembed.Cluster{Listen: "127.0.0.1:0", Peers: seed}})
	third := start(t, natsembed.Options{Dir: t.TempDir(), Cluster: &natsembed.Cluster{Listen: "127.0.0.1:0", Peers: seed}})
	if err := first.WaitReady(within(t)); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*natsembed.Server{first, second, third} {
		if st, err := s.Stats(); err != nil || st.Leader == "" {
			t.Errorf("%s: leader %q, %v", s.Name(), st.Leader, err)
		}
	}
}
