package natscluster_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/polywire/polywire/cluster"
	natscluster "github.com/polywire/polywire/cluster/nats"
	"github.com/polywire/polywire/natsembed"
)

func (n *node) log(tb testing.TB, name string, o cluster.LogOptions) cluster.Log {
	tb.Helper()
	l, err := n.Log(within(tb), name, o)
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

func appendTo(tb testing.TB, l cluster.Log, topic, data string) cluster.Position {
	tb.Helper()
	p, err := l.Append(within(tb), topic, []byte(data))
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func after(tb testing.TB, l cluster.Log, topic string, p cluster.Position) cluster.Page {
	tb.Helper()
	page, err := l.After(within(tb), topic, p)
	if err != nil {
		tb.Fatal(err)
	}
	return page
}

func streams(tb testing.TB, connect func(...nats.Option) (*nats.Conn, error)) jetstream.JetStream {
	tb.Helper()
	nc, err := connect()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		tb.Fatal(err)
	}
	return js
}

// forget makes a stream lose all, its sequence too, but not its configuration,
// as a cluster does with one in the memory of servers that were all restarted.
func forget(tb testing.TB, js jetstream.JetStream, stream string) {
	tb.Helper()
	s, err := js.Stream(within(tb), stream)
	if err != nil {
		tb.Fatal(err)
	}
	c := s.CachedInfo().Config
	if err := js.DeleteStream(within(tb), stream); err != nil {
		tb.Fatal(err)
	}
	if _, err := js.CreateStream(within(tb), c); err != nil {
		tb.Fatal(err)
	}
}

// forgotten are two nodes with a log of five messages, last the place of the
// latest, which the server has no more.
func forgotten(tb testing.TB) (a, b *node, la, lb cluster.Log, last cluster.Position) {
	tb.Helper()
	a, b = pair(tb, natsembed.Options{})
	o := cluster.LogOptions{Size: 10}
	la, lb = a.log(tb, "rooms", o), b.log(tb, "rooms", o)
	lb.Interest("x", true)
	b.wants(tb)
	for i := range 5 {
		last = appendTo(tb, la, "x", fmt.Sprint(i))
	}
	b.until(tb, "five", func() bool { return len(b.messages) == 5 })
	forget(tb, streams(tb, a.connect), "pw~rooms")
	return a, b, la, lb, last
}

// A stream that gives its sequences again is found out by who appends.
func TestForgottenByTheAppender(t *testing.T) {
	a, b, la, lb, last := forgotten(t)
	p := appendTo(t, la, "x", "anew")
	if p.Epoch == last.Epoch {
		t.Fatalf("%v and then %v", last, p)
	}
	b.until(t, "the new message", func() bool {
		m := b.messages[len(b.messages)-1]
		return m.At == p && string(m.Data) == "anew"
	})
	for _, l := range []cluster.Log{la, lb} {
		for _, old := range []cluster.Position{last, {Epoch: last.Epoch, Offset: 1}, {Epoch: last.Epoch}} {
			if page := after(t, l, "x", old); page.Complete || page.Messages != nil || page.Top != p {
				t.Errorf("after %v: %+v", old, page)
			}
		}
		if page := after(t, l, "x", cluster.Position{Epoch: p.Epoch, Offset: p.Offset}); !page.Complete || len(page.Messages) != 0 {
			t.Errorf("after %v: %+v", p, page)
		}
	}
	if s := a.Stats(); s.Epochs != 1 {
		t.Errorf("%d new epochs", s.Epochs)
	}
}

// And by who receives, when the appender has not been there before.
func TestForgottenByTheReceiver(t *testing.T) {
	a, b, _, lb, last := forgotten(t)
	c := open(t, "c", natscluster.Options{Connect: a.connect})
	lc := c.log(t, "rooms", cluster.LogOptions{Size: 10})
	waitFor(t, "a new epoch", func() bool { return appendTo(t, lc, "x", "anew").Epoch != last.Epoch })
	b.until(t, "a message of the new epoch", func() bool { return b.messages[len(b.messages)-1].At.Epoch != last.Epoch })
	if page := after(t, lb, "x", cluster.Position{Epoch: last.Epoch, Offset: 1}); page.Complete {
		t.Errorf("%+v", page)
	}
}

// What a node has missed it sees by Prev, and finds in the log.
func TestHole(t *testing.T) {
	e := newEngine(t)
	a := open(t, "a", natscluster.Options{Connect: e.connect("a")})
	b := open(t, "b", natscluster.Options{Connect: e.connect("b")})
	o := cluster.LogOptions{Size: 100, Storage: cluster.OnDisk}
	la, lb := a.log(t, "rooms", o), b.log(t, "rooms", o)
	lb.Interest("x", true)
	b.wants(t)
	first := appendTo(t, la, "x", "0")
	b.until(t, "the first", func() bool { return len(b.messages) == 1 })
	if m := b.messages[0]; m.Prev != 0 || m.At != first || m.Log != "rooms" || m.From != "a" {
		t.Errorf("%+v", m)
	}
	e.proxy("b").Cut()
	b.until(t, "the outage", func() bool { return len(b.states) == 1 })
	var missed []cluster.Position
	for i := range 7 {
		missed = append(missed, appendTo(t, la, "x", fmt.Sprint(i+1)))
		appendTo(t, la, "y", "")
	}
	e.proxy("b").Resume()
	b.until(t, "the return", func() bool { return len(b.states) == 2 })
	b.wants(t)
	next := appendTo(t, la, "x", "8")
	b.until(t, "the next", func() bool { return len(b.messages) == 2 })
	if m := b.messages[1]; m.At != next || m.Prev != missed[6].Offset {
		t.Errorf("%+v after %v", m, missed[6])
	}
	page := after(t, lb, "x", first)
	if !page.Complete || page.Top != next || len(page.Messages) != 8 {
		t.Fatalf("%+v", page)
	}
	prev := first.Offset
	for i, m := range page.Messages {
		if string(m.Data) != fmt.Sprint(i+1) || m.Prev != prev || m.From != "a" || m.Topic != "x" || m.Log != "rooms" {
			t.Errorf("%+v", m)
		}
		prev = m.At.Offset
	}
}

func TestLongPages(t *testing.T) {
	a, _ := pair(t, natsembed.Options{})
	l := a.log(t, "rooms", cluster.LogOptions{Size: 3000})
	begin := after(t, l, "x", cluster.Position{})
	const messages = 2500
	want := make([]string, messages)
	var goes sync.WaitGroup
	for w := range 5 {
		goes.Go(func() {
			for i := w; i < messages; i += 5 {
				appendTo(t, l, "y", "other")
				appendTo(t, l, "x", strings.Repeat("x", 3000)) // more bytes than a page has
			}
		})
	}
	goes.Wait()
	for _, from := range []cluster.Position{begin.Top, {Epoch: begin.Top.Epoch}} {
		page := after(t, l, "x", from)
		if !page.Complete || len(page.Messages) != len(want) {
			t.Fatalf("after %v: %d messages, complete %v", from, len(page.Messages), page.Complete)
		}
		rest := after(t, l, "x", page.Messages[99].At)
		if !rest.Complete || len(rest.Messages) != messages-100 || rest.Top != page.Top {
			t.Errorf("after the 100th: %d messages, complete %v", len(rest.Messages), rest.Complete)
		}
	}
}

// Thousands come back at once. The bound on questions lets all through.
func TestStormOfReads(t *testing.T) {
	a, _ := pair(t, natsembed.Options{})
	l := a.log(t, "rooms", cluster.LogOptions{Size: 20})
	var first cluster.Position
	for i := range 20 {
		p := appendTo(t, l, "x", fmt.Sprint(i))
		if i == 0 {
			first = p
		}
	}
	var goes sync.WaitGroup
	for range 3000 {
		goes.Go(func() {
			page, err := l.After(context.Background(), "x", first)
			if err != nil || !page.Complete || len(page.Messages) != 19 {
				t.Errorf("%d messages, %v", len(page.Messages), err)
			}
		})
	}
	goes.Wait()
	if s := a.Stats(); s.Reads != 3000 || s.ReadErrors+s.IncompleteReads != 0 {
		t.Errorf("%+v", s)
	}
}

func TestLogOptions(t *testing.T) {
	a, b := pair(t, natsembed.Options{})
	o := cluster.LogOptions{Size: 10, Age: time.Minute, Bytes: 1 << 20}
	l := a.log(t, "rooms", o)
	p := appendTo(t, l, "x", "1")
	tries := 0
	waitFor(t, "a node that knows", func() bool { // who has not heard of a's log yet opens its own
		tries++
		c := open(t, fmt.Sprint("c", tries), natscluster.Options{Connect: a.connect})
		defer c.shut(t)
		_, err := c.Log(within(t), "rooms", cluster.LogOptions{Size: 11, Age: time.Minute, Bytes: 1 << 20})
		return err != nil && strings.Contains(err.Error(), "Size is 10, not 11") && strings.Contains(err.Error(), "node a")
	})
	a.shut(t)
	b.alive(t, "b")
	// Nobody has it open: new options take the place of the old ones.
	o.Size = 1
	if page := after(t, b.log(t, "rooms", o), "x", cluster.Position{Epoch: p.Epoch}); !page.Complete || len(page.Messages) != 1 {
		t.Errorf("%+v", page)
	}
	for name, o := range map[string]cluster.LogOptions{
		"size 0": {}, "age": {Size: 1, Age: time.Millisecond}, "negative": {Size: 1, Bytes: -1}, "storage": {Size: 1, Storage: 7},
	} {
		if _, err := b.Log(within(t), "wrong", o); err == nil || errors.Is(err, cluster.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"", strings.Repeat("x", 300)} {
		if _, err := b.Log(within(t), name, o); err == nil {
			t.Errorf("a name of %d bytes", len(name))
		}
	}
	if _, err := streams(t, b.connect).CreateStream(within(t), jetstream.StreamConfig{Name: "pw~theirs", Subjects: []string{"a"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Log(within(t), "theirs", o); err == nil || errors.Is(err, cluster.ErrUnavailable) {
		t.Error(err)
	}
}

// Without streams the bus works, and logs say so.
func TestNoStreams(t *testing.T) {
	a, _ := pair(t, noStreams)
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if _, err := a.Log(ctx, "rooms", cluster.LogOptions{Size: 1}); !errors.Is(err, cluster.ErrUnavailable) {
		t.Error(err)
	}
}

// An embedded server that ends closes its connections for good; another one
// takes its place.
func TestConnectionClosedForGood(t *testing.T) {
	o := natsembed.Options{Dir: t.TempDir()}
	var mu sync.Mutex
	var server *natsembed.Server
	renew := func() {
		s := start(t, o)
		mu.Lock()
		defer mu.Unlock()
		server = s
	}
	renew()
	connect := func(opts ...nats.Option) (*nats.Conn, error) {
		mu.Lock()
		s := server
		mu.Unlock()
		return s.Connect(opts...)
	}
	a := open(t, "a", natscluster.Options{Connect: connect})
	b := open(t, "b", natscluster.Options{Connect: connect})
	lo := cluster.LogOptions{Size: 5, Storage: cluster.OnDisk}
	la, lb := a.log(t, "rooms", lo), b.log(t, "rooms", lo)
	lb.Interest("x", true)
	b.wants(t, "bus")
	p := appendTo(t, la, "x", "1")
	b.until(t, "the first", func() bool { return len(b.messages) == 1 })
	stop(t, server)
	for _, n := range []*node{a, b} {
		n.until(t, "the end", func() bool { return len(n.states) == 1 && !n.states[0] })
	}
	if err := a.Publish(within(t), []string{"bus"}, nil); !errors.Is(err, cluster.ErrUnavailable) {
		t.Error(err)
	}
	if s := a.Stats(); s.Available || s.AwayFor == 0 {
		t.Errorf("%+v", s)
	}
	renew()
	for _, n := range []*node{a, b} {
		n.until(t, "the return", func() bool { return len(n.states) == 2 && n.states[1] })
		n.alive(t, "a", "b")
	}
	b.wants(t)
	q := appendTo(t, la, "x", "2")
	a.publish(t, "3", "bus")
	b.until(t, "all", func() bool { return len(b.messages) == 3 })
	if q.Epoch != p.Epoch {
		t.Errorf("%v and then %v, from disk", p, q)
	}
	if page := after(t, lb, "x", p); !page.Complete || len(page.Messages) != 1 {
		t.Errorf("%+v", page)
	}
}
