package jetstream_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/internal/testenv"
	"github.com/polywire/polywire/natsembed"
	"github.com/polywire/polywire/queue"
	"github.com/polywire/polywire/queue/jetstream"
)

// What is published is seen as it is, and stays for the workers; before and
// after an outage.
func TestWatch(t *testing.T) {
	t.Parallel()
	b := newBroker(t, natsembed.Options{NoSync: true})
	d := b.driver(jetstream.Options{})
	q, err := queue.New(d, queue.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	if _, err := d.Watch(within(t), "", func(*queue.Envelope) {}); !errors.Is(err, queue.ErrInvalid) {
		t.Errorf("without a name: %v", err)
	}
	seen := make(chan *queue.Envelope, 100)
	stop, err := d.Watch(within(t), "a.b *", func(e *queue.Envelope) { seen <- e })
	if err != nil {
		t.Fatal(err)
	}
	next := func() *queue.Envelope {
		t.Helper()
		select {
		case e := <-seen:
			return e
		case <-within(t).Done():
			t.Fatal("nothing is seen")
			return nil
		}
	}
	publish := func(m queue.Message) {
		t.Helper()
		if err := q.Publish(within(t), m); err != nil {
			t.Fatal(err)
		}
	}
	publish(queue.Message{Queue: "a.b", ID: "elsewhere"})
	publish(queue.Message{
		Queue: "a.b *", ID: "1", Kind: "k", Key: "ü", Header: map[string]string{"h": "v"},
		Payload: codec.Payload{Type: codec.TypeJSON, Data: []byte("5")},
	})
	if e := next(); e.Queue != "a.b *" || e.ID != "1" || e.Kind != "k" || e.Key != "ü" || e.Header["h"] != "v" || string(e.Payload.Data) != "5" || e.Published.IsZero() {
		t.Errorf("seen: %+v", e)
	}
	publish(queue.Message{Queue: "a.b *", ID: "2", Delay: time.Hour})
	if e := next(); e.ID != "2" || time.Until(e.At) < 59*time.Minute {
		t.Errorf("seen: %+v", e)
	}
	b.stop()
	b.start()
	more := int64(0)
	testenv.Eventually(t, patience, "it watches again", func() bool {
		more++ // what comes at once may be missed
		publish(queue.Message{Queue: "a.b *", ID: fmt.Sprintf("again-%d", more)})
		return len(seen) > 0
	})
	if e := next(); !strings.HasPrefix(e.ID, "again-") {
		t.Errorf("seen: %+v", e)
	}
	depth, err := q.Inspect(within(t), "a.b *")
	if err != nil || depth.Waiting != 1+more || depth.Delayed != 1 {
		t.Errorf("what was watched: %+v, %v", depth, err)
	}
	stop()
	publish(queue.Message{Queue: "a.b *", ID: "4"})
	for len(seen) > 0 { // of before
		if e := <-seen; e.ID == "4" {
			t.Errorf("seen after the end: %+v", e)
		}
	}
}
