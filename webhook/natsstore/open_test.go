package natsstore_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/polywire/polywire/natsembed"
	"github.com/polywire/polywire/webhook/dispatch"
	"github.com/polywire/polywire/webhook/dispatch/dispatchtest"
	"github.com/polywire/polywire/webhook/natsstore"
)

// streams returns what is configured of a prefix's streams, by name.
func streams(t *testing.T, nc *nats.Conn, prefix string) map[string]string {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]string)
	list := js.ListStreams(within(t))
	for info := range list.Info() {
		if strings.Contains(info.Config.Name, prefix+"-webhook") {
			found[info.Config.Name] = fmt.Sprintf("%+v", info.Config)
		}
	}
	if err := list.Err(); err != nil {
		t.Fatal(err)
	}
	return found
}

// TestAsIs opens what is there without a change of it, and makes nothing.
func TestAsIs(t *testing.T) {
	server := serve(t, natsembed.Options{NoSync: true})
	nc, err := server.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	asIs := natsstore.Options{Conn: nc, Prefix: "a", AsIs: true, Age: time.Hour, Replicas: 3, MaxBytes: 1, EventMaxBytes: 1}
	if _, err := natsstore.Open(within(t), asIs); !errors.Is(err, natsstore.ErrMissing) {
		t.Errorf("where nothing is there: %v", err)
	}
	if n := len(streams(t, nc, "a")); n != 0 {
		t.Errorf("it has made %d streams", n)
	}
	made := open(t, server, natsstore.Options{Prefix: "a", Age: 5 * time.Hour, EventAge: 7 * time.Hour, MaxBytes: 1 << 20, EventMaxBytes: 2 << 20})
	before := streams(t, nc, "a")
	s, err := natsstore.Open(within(t), asIs)
	if err != nil {
		t.Fatal(err)
	}
	if after := streams(t, nc, "a"); len(after) != 3 || fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("it was %v\nand is %v", before, after)
	}
	if !s.Events.Bounded() || !made.Events.Bounded() {
		t.Error("the bound of events is not known")
	}
	e := dispatchtest.Entry("ep", "msg", 1)
	if err := s.Attempts.Append(within(t), e); err != nil {
		t.Error(err)
	}
	if p, err := made.Attempts.Newest(within(t), "ep", "", 10); err != nil || len(p.Entries) != 1 {
		t.Errorf("%+v, %v", p, err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteStream(within(t), "a-webhook-attempts"); err != nil {
		t.Fatal(err)
	}
	subscribed := nc.NumSubscriptions()
	if _, err := natsstore.Open(within(t), asIs); !errors.Is(err, natsstore.ErrMissing) || !strings.Contains(err.Error(), "a-webhook-attempts") {
		t.Errorf("where a part is missing: %v", err)
	}
	if n := nc.NumSubscriptions(); n != subscribed {
		t.Errorf("what failed went from %d subscriptions to %d", subscribed, n)
	}
}

// TestBounds fills both streams: attempts forget the oldest, events take no more, and
// what they have stays. A stream of an older version, which forgot the oldest events,
// does so too from then on.
func TestBounds(t *testing.T) {
	server := serve(t, natsembed.Options{NoSync: true})
	const bound, each = 256 << 10, 8 << 10
	old := open(t, server, natsstore.Options{Prefix: "b"})
	if old.Events.Bounded() {
		t.Error("without a bound")
	}
	nc, err := server.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(within(t), "b-webhook-events")
	if err != nil {
		t.Fatal(err)
	}
	config := stream.CachedInfo().Config
	config.Discard, config.MaxBytes = jetstream.DiscardOld, 1<<20
	if _, err := js.UpdateStream(within(t), config); err != nil {
		t.Fatal(err)
	}
	s := open(t, server, natsstore.Options{Prefix: "b", MaxBytes: bound, EventMaxBytes: bound})
	var kept []string
	for n := range 2 * bound / each {
		e := dispatch.Stored{
			ID: fmt.Sprint("e", n), Type: "a", Time: time.Now(), Accepted: time.Now(),
			Data: []byte(`"` + strings.Repeat("x", each) + `"`),
		}
		switch err := s.Events.Append(within(t), e); {
		case err == nil:
			kept = append(kept, e.ID)
		case !errors.Is(err, dispatch.ErrFull):
			t.Fatalf("event %d: %v", n, err)
		}
		a := dispatchtest.Entry("ep", e.ID, 1)
		a.Attempt.Body = []byte(strings.Repeat("y", each))
		if err := s.Attempts.Append(within(t), a); err != nil {
			t.Fatalf("attempt %d: %v", n, err)
		}
	}
	if n := len(kept); n < bound/each/2 || n > bound/each {
		t.Errorf("%d events were kept", n)
	}
	for _, id := range kept {
		if _, err := s.Events.Load(within(t), id, time.Time{}); err != nil {
			t.Errorf("event %s was accepted: %v", id, err)
		}
	}
	p, err := s.Attempts.Newest(within(t), "ep", "", dispatch.MaxPage)
	if err != nil || len(p.Entries) < bound/each/4 || len(p.Entries) > bound/each {
		t.Fatalf("%d attempts are kept, %v", len(p.Entries), err)
	}
	if newest, want := p.Entries[0].Attempt.ID, fmt.Sprint("e", 2*bound/each-1); newest != want {
		t.Errorf("the newest attempt is that at %s, want %s", newest, want)
	}
	for _, o := range []natsstore.Options{{Prefix: "b", MaxBytes: -5}, {Prefix: "b", EventMaxBytes: -5}} {
		o.Conn = nc
		if _, err := natsstore.Open(within(t), o); !errors.Is(err, dispatch.ErrInvalid) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}
