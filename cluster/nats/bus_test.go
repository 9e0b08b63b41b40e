package natscluster_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/polywire/polywire/cluster"
	natscluster "github.com/polywire/polywire/cluster/nats"
	"github.com/polywire/polywire/natsembed"
)

var noStreams = natsembed.Options{NoJetStream: true}

func TestOrderAcrossTopics(t *testing.T) {
	a, b := pair(t, noStreams)
	topics := make([]string, 50)
	for i := range topics {
		topics[i] = fmt.Sprintf("room/chat:%d", i)
	}
	b.wants(t, topics...)
	const messages = 5000
	for i := range messages {
		if i%7 == 0 { // also among messages with copies
			a.publish(t, fmt.Sprint(i), topics[i%50], topics[(i+1)%50], topics[(i+9)%50], topics[i%50], "nobody's")
		} else {
			a.publish(t, fmt.Sprint(i), topics[i*31%50])
		}
	}
	b.until(t, "all messages", func() bool { return len(b.messages) >= messages })
	for i, m := range b.messages {
		if string(m.Data) != fmt.Sprint(i) || m.From != "a" || !slices.Contains(topics, m.Topic) {
			t.Fatalf("message %d is %q of %q in %q", i, m.Data, m.From, m.Topic)
		}
	}
	if s := b.Stats(); s.Received != messages || s.Dropped+s.Overruns+s.Malformed != 0 || s.Interests != 50 {
		t.Errorf("%+v", s)
	}
	if s := a.Stats(); s.Published != messages || s.PublishErrors != 0 {
		t.Errorf("%+v", s)
	}
}

// Publishers in other goroutines do not disturb the copies of a message.
func TestCopiesOnce(t *testing.T) {
	a, b := pair(t, noStreams)
	c := open(t, "c", natscluster.Options{Connect: a.connect})
	b.wants(t, "x", "y", "z")
	c.wants(t, "z")
	const each, publishers = 300, 8
	done := make(chan struct{})
	for p := range publishers {
		go func() {
			defer func() { done <- struct{}{} }()
			for i := range each {
				topics := []string{"x", "y", "z"}[i%3:]
				if err := a.Publish(context.Background(), topics, fmt.Appendf(nil, "%d.%d", p, i)); err != nil {
					t.Error(err)
				}
			}
		}()
	}
	for range publishers {
		<-done
	}
	for _, n := range []*node{b, c} {
		n.until(t, "all messages", func() bool { return len(n.messages) >= each*publishers })
		last := make(map[string]int)
		for _, m := range n.messages {
			var p string
			var i int
			if _, err := fmt.Sscanf(strings.Replace(string(m.Data), ".", " ", 1), "%s %d", &p, &i); err != nil {
				t.Fatal(err)
			}
			if i != last[p] {
				t.Fatalf("%s: message %d of publisher %s, want %d", n.id, i, p, last[p])
			}
			last[p]++
		}
	}
}

func TestOddTopics(t *testing.T) {
	a, b := pair(t, noStreams)
	topics := []string{
		"a", "A", "a.b", "a*b", ">", "*", " ", "\r\n", "\x00", "\xff", "=2e", ".", "~", "~Lg", "~a", "=", "==", "世界", "ä",
		"$SYS.x", "a b\tc", strings.Repeat("x", 512), strings.Repeat("\x00", 512), strings.Repeat(".", 511), strings.Repeat("ab.", 170),
		"room/chat:general", "room#0123", "node/1f", "_INBOX.>", "pw.b.a",
	}
	b.wants(t, topics...)
	for _, topic := range topics {
		a.publish(t, topic, topic)
	}
	b.until(t, "all messages", func() bool { return len(b.messages) >= len(topics) })
	for i, m := range b.messages {
		if m.Topic != topics[i] || string(m.Data) != topics[i] {
			t.Errorf("%q in topic %q, want %q", m.Data, m.Topic, topics[i])
		}
	}
	for _, topic := range []string{"", strings.Repeat("x", 513)} {
		if err := a.Publish(context.Background(), []string{"a", topic}, nil); err == nil {
			t.Errorf("a topic of %d bytes", len(topic))
		}
		a.Interest(topic, true)
	}
	if n := a.Stats().Interests; n != 0 {
		t.Errorf("%d interests", n)
	}
}

func TestInterestOnAndOff(t *testing.T) {
	a, b := pair(t, noStreams)
	b.wants(t, "x", "end")
	for range 100 {
		b.Interest("x", false)
		b.Interest("x", true)
	}
	b.wants(t)
	a.publish(t, "1", "x")
	b.until(t, "1", func() bool { return len(b.messages) == 1 })
	b.Interest("x", false)
	b.Interest("never", false)
	b.wants(t)
	a.publish(t, "2", "x")
	a.wants(t) // it has left
	b.wants(t, "x")
	a.publish(t, "3", "x")
	a.publish(t, "4", "end")
	b.until(t, "the end", func() bool { return len(b.messages) >= 3 })
	if got, want := b.texts(), []string{"x=1", "x=3", "end=4"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestOwnMessagesStayAway(t *testing.T) {
	a, b := pair(t, noStreams)
	a.wants(t, "x")
	b.wants(t, "x")
	a.publish(t, "mine", "x")
	b.publish(t, "yours", "x")
	a.until(t, "a message", func() bool { return len(a.messages) > 0 })
	b.until(t, "a message", func() bool { return len(b.messages) > 0 })
	if got := a.texts(); !slices.Equal(got, []string{"x=yours"}) {
		t.Errorf("a got %q", got)
	}
}

func TestTooLarge(t *testing.T) {
	o := noStreams
	o.MaxPayloadBytes = 1000
	a, b := pair(t, o)
	b.wants(t, "x")
	if err := a.Publish(context.Background(), []string{"x"}, make([]byte, 1001)); !errors.Is(err, cluster.ErrTooLarge) {
		t.Error(err)
	}
	if err := a.Announce(cluster.Node{Name: strings.Repeat("x", 1000)}); !errors.Is(err, cluster.ErrTooLarge) {
		t.Error(err)
	}
	most := bytes.Repeat([]byte("x"), 997) // beside three bytes of frame
	a.publish(t, string(most), "x")
	b.until(t, "the largest", func() bool { return len(b.messages) == 1 && bytes.Equal(b.messages[0].Data, most) })
}

func TestNodes(t *testing.T) {
	s := start(t, noStreams)
	a := open(t, "a", natscluster.Options{Connect: s.Connect})
	if got := ids(a.nodes); !slices.Equal(got, []string{"a"}) || a.changes != 1 {
		t.Errorf("%v after %d changes", got, a.changes)
	}
	b := open(t, "b", natscluster.Options{Connect: s.Connect})
	if got := ids(b.nodes); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("b knows %v when it is open", got)
	}
	a.alive(t, "a", "b")
	other := open(t, "c", natscluster.Options{Connect: s.Connect, Prefix: "an.other-1"})
	other.alive(t, "c")

	meta := map[string]string{"address": "127.0.0.1:1"}
	news := cluster.Node{ID: "someone else", Name: "bee", Started: time.Unix(5, 7), Services: []string{"z", "add"}, Meta: meta}
	if err := b.Announce(news); err != nil {
		t.Fatal(err)
	}
	meta["address"] = "changed"
	for _, n := range []*node{a, b} {
		n.until(t, "the announcement", func() bool {
			if len(n.nodes) != 2 {
				return false
			}
			got := n.nodes[1]
			return got.ID == "b" && got.Name == "bee" && got.Started.Equal(news.Started) &&
				slices.Equal(got.Services, []string{"add", "z"}) && got.Meta["address"] == "127.0.0.1:1"
		})
	}
	b.shut(t)
	a.within(t, 6*time.Second, "b's goodbye", func() bool { return len(a.nodes) == 1 }) // without it b is missed after 9
	if err := b.Publish(context.Background(), []string{"x"}, nil); !errors.Is(err, cluster.ErrClosed) {
		t.Error(err)
	}
	if err := b.Sync(context.Background()); !errors.Is(err, cluster.ErrClosed) {
		t.Error(err)
	}
	if err := b.Announce(news); !errors.Is(err, cluster.ErrClosed) {
		t.Error(err)
	}
	b.Interest("x", true)
}

func TestManyInterests(t *testing.T) {
	a, b := pair(t, noStreams)
	const topics = 10_000
	for i := range topics {
		b.Interest(fmt.Sprintf("room/%d", i), true)
	}
	b.wants(t)
	for i := range topics {
		a.publish(t, "", fmt.Sprintf("room/%d", i))
	}
	b.until(t, "one in each topic", func() bool { return len(b.messages) == topics })
	for i := range topics {
		b.Interest(fmt.Sprintf("room/%d", i), false)
	}
	b.wants(t, "end")
	for i := range topics {
		a.publish(t, "", fmt.Sprintf("room/%d", i))
	}
	a.publish(t, "", "end")
	b.until(t, "the end", func() bool { return len(b.messages) > topics })
	if last := b.messages[topics]; len(b.messages) != topics+1 || last.Topic != "end" {
		t.Errorf("%d messages, the next in %q", len(b.messages), last.Topic)
	}
	if s := b.Stats(); s.Interests != 1 {
		t.Errorf("%d interests", s.Interests)
	}
}

// A receiver that does not return costs bounded memory, and harms nobody else.
func TestSlowReceiver(t *testing.T) {
	s := start(t, noStreams)
	a := open(t, "a", natscluster.Options{Connect: s.Connect})
	slow := open(t, "slow", natscluster.Options{Connect: s.Connect, QueueBytes: 100_000})
	b := open(t, "b", natscluster.Options{Connect: s.Connect})
	slow.mu.Lock()
	slow.hold = make(chan struct{})
	slow.mu.Unlock()
	for _, n := range []*node{slow, b} {
		n.wants(t, "x")
	}
	const messages = 1000
	for i := range messages {
		a.publish(t, fmt.Sprintf("%1000d", i), "x")
	}
	b.until(t, "all messages", func() bool { return len(b.messages) == messages })
	a.until(t, "three nodes", func() bool { return len(a.nodes) == 3 })
	waitFor(t, "drops", func() bool { s := slow.Stats(); return s.Dropped+uint64(s.QueuedBytes)/1300 > messages-10 })
	if q := slow.Stats().QueuedBytes; q > 100_000 || q < 90_000 {
		t.Errorf("%d bytes wait", q)
	}
	close(slow.hold)
	waitFor(t, "the queue's end", func() bool { return slow.Stats().QueuedBytes == 0 })
	a.publish(t, "last", "x")
	slow.until(t, "the last", func() bool { return string(slow.messages[len(slow.messages)-1].Data) == "last" })
	next := 0
	for i, m := range slow.messages[:len(slow.messages)-1] { // the very last may have come after the hold
		n, err := strconv.Atoi(strings.TrimSpace(string(m.Data)))
		if err != nil || len(m.Data) != 1000 || n < next {
			t.Fatalf("message %d is %q, after %d", i, m.Data, next-1)
		}
		next = n + 1
	}
}

func TestWrongOptions(t *testing.T) {
	connect := natscluster.URL("nats://127.0.0.1:1")
	for name, o := range map[string]natscluster.Options{
		"no Connect":     {},
		"a prefix":       {Connect: connect, Prefix: "a..b"},
		"a space":        {Connect: connect, Prefix: "a b"},
		"a wildcard":     {Connect: connect, Prefix: "a.*"},
		"a long prefix":  {Connect: connect, Prefix: strings.Repeat("x", 65)},
		"not ASCII":      {Connect: connect, Prefix: "ä"},
		"negative bytes": {Connect: connect, QueueBytes: -1},
		"a URL":          {Connect: natscluster.URL("nats://127.0.0.1:port")},
	} {
		if _, err := natscluster.New(o).Open(within(t), cluster.Node{ID: "x"}, newRecorder()); err == nil || errors.Is(err, cluster.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, id := range []string{"", strings.Repeat("x", 65)} {
		if _, err := natscluster.New(natscluster.Options{Connect: connect}).Open(within(t), cluster.Node{ID: id}, newRecorder()); err == nil {
			t.Errorf("an ID of %d bytes", len(id))
		}
	}
}

func TestOpenWithoutEngine(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	a := natscluster.New(natscluster.Options{Connect: natscluster.URL("nats://127.0.0.1:1")})
	if _, err := a.Open(ctx, cluster.Node{ID: "x"}, newRecorder()); !errors.Is(err, cluster.ErrUnavailable) {
		t.Error(err)
	}
	if len(a.Stats()) != 0 {
		t.Error("a node that was never open")
	}
}
