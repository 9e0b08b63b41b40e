package jetstream_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/polywire/polywire/internal/badnet"
	"github.com/polywire/polywire/internal/testenv"
	"github.com/polywire/polywire/natsembed"
	"github.com/polywire/polywire/queue"
	"github.com/polywire/polywire/queue/jetstream"
)

// TestConfirmLost cuts the wire when the server has messages, and its
// confirmations are on their way: publishing goes on until they are confirmed,
// and none is there twice.
func TestConfirmLost(t *testing.T) {
	t.Parallel()
	const rounds, each = 4, 20
	const slow = 400 * time.Millisecond // one way
	s := newBroker(t, natsembed.Options{NoSync: true, Listen: "127.0.0.1:0"})
	wire, err := badnet.New(strings.TrimPrefix(s.url(), "nats://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(wire.Close)
	b := s.open(jetstream.Options{URLs: []string{"nats://" + wire.Addr()}, NATS: []nats.Option{nats.IgnoreDiscoveredServers()}})
	direct := s.open(jetstream.Options{})
	first, ids := batch("q", "first", 1)
	publish(t, b, first...)
	unconfirmed := 0
	for round := range rounds {
		ms, more := batch("q", fmt.Sprint("r", round), each)
		wire.Delay(slow)
		ended := make(chan error, 1)
		go func() { ended <- b.PublishBatch(within(t), ms) }()
		testenv.Eventually(t, patience, "the server has them", func() bool {
			d, err := direct.Inspect(within(t), "q")
			return err == nil && d.Waiting == int64(len(ids)+each)
		})
		if len(ended) == 0 {
			unconfirmed++
		}
		wire.Cut()
		wire.Delay(0)
		wire.Resume()
		if err := <-ended; err != nil {
			t.Errorf("round %d: %v", round, err)
		}
		ids = append(ids, more...)
	}
	// What was confirmed before the cut does not wait for the connection.
	testenv.Eventually(t, patience, "a new connection for each cut", func() bool { return b.Stats().Connection.Reconnects >= rounds })
	if unconfirmed == 0 {
		t.Error("all confirmations had come before the cuts")
	}
	if d, err := direct.Inspect(within(t), "q"); err != nil || d.Waiting != int64(len(ids)) {
		t.Errorf("%+v, %v; %d were published", d, err, len(ids))
	}
	l := newLedger()
	handle(t, direct, "q", l, queue.HandleOptions{Concurrency: 4})
	testenv.Eventually(t, patience, "all are done", func() bool { n, _ := l.missing(ids); return n == 0 })
	if l.size() != len(ids) || l.repeats() > 0 {
		t.Errorf("%d done, %d twice", l.size(), l.repeats())
	}
}
