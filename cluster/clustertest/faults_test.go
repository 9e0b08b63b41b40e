package clustertest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/polywire/polywire/cluster"
)

func nodeFaults() []fault {
	return []fault{
		{"meta is lost", "nodes know each other", func(f *faulty) {
			f.nodes = func(b *faultyBus, alive []cluster.Node) {
				for i := range alive {
					alive[i].Meta = nil
				}
				b.r.Nodes(alive)
			}
		}},
		{"the nodes are not sorted", "nodes know each other", func(f *faulty) {
			f.nodes = func(b *faultyBus, alive []cluster.Node) {
				slices.Reverse(alive)
				b.r.Nodes(alive)
			}
		}},
		{"a node is not told of itself", "nodes know each other", func(f *faulty) {
			f.nodes = func(b *faultyBus, alive []cluster.Node) {
				b.r.Nodes(slices.DeleteFunc(alive, func(n cluster.Node) bool { return n.ID == b.self.ID }))
			}
		}},
		{"the nodes are told after Open", "nodes know each other", func(f *faulty) {
			f.nodes = func(b *faultyBus, alive []cluster.Node) {
				time.AfterFunc(time.Millisecond, func() { b.r.Nodes(alive) })
			}
		}},
		{"the nodes are told twice", "a node alone", func(f *faulty) {
			f.nodes = func(b *faultyBus, alive []cluster.Node) {
				b.r.Nodes(alive)
				b.r.Nodes(alive)
			}
		}},
		{"announcements are lost", "a node announces", func(f *faulty) {
			f.announce = func(*faultyBus, cluster.Node) error { return nil }
		}},
		{"announcements are shared", "a node announces", func(f *faulty) {
			f.nodes = func(b *faultyBus, alive []cluster.Node) {
				for i := range alive {
					if alive[i].ID == b.self.ID && b.told != nil {
						alive[i].Meta = b.told[0].Meta
					}
				}
				b.r.Nodes(alive)
			}
			f.announce = func(b *faultyBus, self cluster.Node) error {
				b.told = []cluster.Node{self}
				return b.good.Announce(self)
			}
		}},
		{"goodbyes are lost", "nodes come and go at once", func(f *faulty) {
			f.close = func(*faultyBus, context.Context) error { return nil }
		}},
		{"the dead are alive", "a killed node is gone within 15 s", func(f *faulty) { f.setup.Kill = func(string) {} }},
	}
}

func busFaults() []fault {
	return slices.Concat(orderFaults(), interestFaults(), topicFaults(), []fault{
		{"the sender is not named", "a message arrives", func(f *faulty) {
			f.receive = func(b *faultyBus, m cluster.Message) { m.From = ""; b.r.Receive(m) }
		}},
		{"messages are for their sender", "a message is not for its sender", func(f *faulty) {
			f.publish = func(b *faultyBus, ctx context.Context, topics []string, data []byte) error {
				if !strings.HasPrefix(topics[0], fencePrefix) {
					b.r.Receive(cluster.Message{From: b.self.ID, Topic: topics[0], Data: data})
				}
				return b.good.Publish(ctx, topics, data)
			}
		}},
		{"each topic is published", "a message with several topics arrives once", func(f *faulty) {
			f.publish = func(b *faultyBus, ctx context.Context, topics []string, data []byte) (err error) {
				for _, topic := range topics {
					err = errors.Join(err, b.good.Publish(ctx, []string{topic}, data))
				}
				return err
			}
		}},
		{"the first topic is published", "a message with several topics arrives once", func(f *faulty) {
			f.publish = func(b *faultyBus, ctx context.Context, topics []string, data []byte) error {
				return b.good.Publish(ctx, topics[:1], data)
			}
		}},
		{"empty messages are lost", "messages of all sizes", func(f *faulty) {
			f.receive = func(b *faultyBus, m cluster.Message) {
				if len(m.Data) > 0 {
					b.r.Receive(m)
				}
			}
		}},
		{"large messages are cut", "messages of all sizes", func(f *faulty) {
			f.receive = func(b *faultyBus, m cluster.Message) {
				m.Data = m.Data[:min(len(m.Data), 1<<16)]
				b.r.Receive(m)
			}
		}},
		{"too much is lost without a word", "a message that is too large", func(f *faulty) {
			f.publish = func(b *faultyBus, ctx context.Context, topics []string, data []byte) error {
				if len(data) > cluster.MaxMemoryBytes {
					return nil
				}
				return b.good.Publish(ctx, topics, data)
			}
		}},
		{"contexts are not looked at", "contexts that have ended", func(f *faulty) {
			f.sync = func(b *faultyBus, ctx context.Context) error {
				if ctx.Err() != nil {
					time.Sleep(10 * time.Second) // virtual
				}
				return b.good.Sync(ctx)
			}
		}},
		{"contexts are an outage", "contexts that have ended", func(f *faulty) {
			f.append = func(l *faultyLog, ctx context.Context, topic string, data []byte) (cluster.Position, error) {
				return cluster.Position{}, cluster.ErrUnavailable
			}
		}},
	})
}

func interestFaults() []fault {
	return []fault{
		{"interest does not end", "interest ends", func(f *faulty) {
			f.interest = func(b *faultyBus, topic string, _ bool) { b.good.Interest(topic, true) }
		}},
		{"interests are counted", "interest ends", func(f *faulty) {
			f.interest = func(b *faultyBus, topic string, on bool) {
				if b.last == nil {
					b.last = make(map[string]uint64)
				}
				if on {
					b.last[topic]++
				} else if b.last[topic] > 0 {
					b.last[topic]--
				}
				b.good.Interest(topic, b.last[topic] > 0)
			}
		}},
		{"everybody gets everything", "only interested nodes get a message", func(f *faulty) {
			f.interest = func(b *faultyBus, _ string, _ bool) {
				for _, topic := range []string{"all", "topic 1", "topic 2", "topic 3", "topic 4", b.r.(*node).fence()} {
					b.good.Interest(topic, true)
				}
			}
		}},
		{"sync does not wait", "sync makes interests hold", func(f *faulty) {
			f.interest = func(b *faultyBus, topic string, on bool) {
				time.AfterFunc(time.Second, func() { b.good.Interest(topic, on) })
			}
		}},
	}
}

func topicFaults() []fault {
	return []fault{
		{"topics have no case", "topics of any bytes", func(f *faulty) {
			f.interest = func(b *faultyBus, topic string, on bool) { b.good.Interest(fold(topic), on) }
			f.publish = func(b *faultyBus, ctx context.Context, topics []string, data []byte) error {
				return b.good.Publish(ctx, []string{fold(topics[0])}, data)
			}
		}},
		{"long topics are cut", "topics of any bytes", func(f *faulty) {
			short := func(topic string) string { return topic[:min(len(topic), 511)] }
			f.interest = func(b *faultyBus, topic string, on bool) { b.good.Interest(short(topic), on) }
			f.publish = func(b *faultyBus, ctx context.Context, topics []string, data []byte) error {
				return b.good.Publish(ctx, []string{short(topics[0])}, data)
			}
		}},
		{"topics have wildcards", "nothing in a topic has a meaning", func(f *faulty) {
			f.interest = func(b *faultyBus, topic string, on bool) {
				if topic == "a.*" {
					b.good.Interest("a.b", on)
				}
				b.good.Interest(topic, on)
			}
		}},
		{"bad topics are left out", "what is no topic", func(f *faulty) {
			f.publish = func(b *faultyBus, ctx context.Context, topics []string, data []byte) error {
				return b.good.Publish(ctx, slices.DeleteFunc(topics, func(s string) bool { return s == "" }), data)
			}
		}},
		{"bad topics are an outage", "what is no topic", func(f *faulty) {
			f.publish = func(b *faultyBus, ctx context.Context, topics []string, data []byte) error {
				if err := b.good.Publish(ctx, topics, data); err != nil {
					return cluster.ErrUnavailable
				}
				return nil
			}
		}},
	}
}

// fold keeps the topics that the suite uses for itself.
func fold(topic string) string {
	if strings.HasPrefix(topic, fencePrefix) {
		return topic
	}
	return lower(topic)
}

func lower(topic string) string {
	b := []byte(topic)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// overtake lets every 50th message be overtaken by the next.
func overtake(f *faulty) {
	f.publish = func(b *faultyBus, ctx context.Context, topics []string, data []byte) error {
		b.mu.Lock()
		defer b.mu.Unlock()
		if f.count.Add(1)%50 == 0 && b.kept == nil && !strings.HasPrefix(topics[0], fencePrefix) {
			topics, data = slices.Clone(topics), slices.Clone(data)
			b.kept = func() { _ = b.good.Publish(ctx, topics, data) }
			return nil
		}
		err := b.good.Publish(ctx, topics, data)
		if b.kept != nil {
			b.kept()
			b.kept = nil
		}
		return err
	}
}

func orderFaults() []fault {
	return []fault{
		{"messages overtake", "order of one sender across topics", overtake},
		{"messages overtake each other", "order with many senders at once", overtake},
		{"interests disturb others", "order while interests change", func(f *faulty) {
			f.interest = func(b *faultyBus, topic string, on bool) {
				b.closed.Store(true)
				b.good.Interest(topic, on)
			}
			f.receive = func(b *faultyBus, m cluster.Message) {
				if m.Topic != "steady" || !b.closed.Swap(false) {
					b.r.Receive(m)
				}
			}
		}},
		{"data is not copied", "data is copied", func(f *faulty) {
			f.publish = func(b *faultyBus, ctx context.Context, topics []string, data []byte) error {
				if b.kept != nil {
					b.kept()
				}
				b.kept = func() { _ = b.good.Publish(ctx, topics, data) }
				if strings.HasPrefix(topics[0], fencePrefix) {
					b.kept()
				}
				return nil
			}
		}},
		{"the receiver is called by two", "order of one sender across topics", func(f *faulty) {
			f.receive = func(b *faultyBus, m cluster.Message) {
				if f.count.Add(1)%100 == 0 {
					b.r.(*node).inside.Add(1) // as another call would
					b.r.Receive(m)
					b.r.(*node).inside.Add(-1)
					return
				}
				b.r.Receive(m)
			}
		}},
		{"receivers hold a lock", "a receiver may publish", func(f *faulty) {
			f.receive = func(b *faultyBus, m cluster.Message) {
				b.inside.Store(true)
				defer b.inside.Store(false)
				b.r.Receive(m)
			}
			f.publish = func(b *faultyBus, ctx context.Context, topics []string, data []byte) error {
				if b.inside.Load() {
					return cluster.ErrUnavailable
				}
				return b.good.Publish(ctx, topics, data)
			}
		}},
		{"senders wait for receivers", "a slow receiver holds up nobody else", func(f *faulty) {
			f.receive = func(b *faultyBus, m cluster.Message) {
				f.count.Add(1)
				defer f.count.Add(-1)
				b.r.Receive(m)
			}
			f.publish = func(b *faultyBus, ctx context.Context, topics []string, data []byte) error {
				for f.count.Load() > 0 && ctx.Err() == nil {
					time.Sleep(time.Second) // virtual
				}
				return b.good.Publish(ctx, topics, data)
			}
		}},
	}
}

func closeFaults() []fault {
	return []fault{
		{"a closed bus is silent", "use after close", func(f *faulty) {
			f.publish = func(b *faultyBus, ctx context.Context, topics []string, data []byte) error {
				if err := b.good.Publish(ctx, topics, data); !errors.Is(err, cluster.ErrClosed) {
					return err
				}
				return nil
			}
		}},
		{"a closed bus is away", "use after close", func(f *faulty) {
			f.after = func(*faultyLog, context.Context, string, cluster.Position) (cluster.Page, error) {
				return cluster.Page{}, cluster.ErrUnavailable
			}
		}},
		{"close twice is an error", "close more than once", func(f *faulty) {
			f.close = func(b *faultyBus, ctx context.Context) error {
				if b.closed.Swap(true) {
					return cluster.ErrClosed
				}
				return b.good.Shutdown(ctx)
			}
		}},
		{"close is late", "close under load", func(f *faulty) {
			f.close = func(b *faultyBus, ctx context.Context) error {
				time.AfterFunc(20*time.Millisecond, func() { _ = b.good.Shutdown(context.Background()) })
				return nil
			}
		}},
		{"a hasty close is none", "close without time for a goodbye", func(f *faulty) {
			f.close = func(b *faultyBus, ctx context.Context) error {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				return b.good.Shutdown(ctx)
			}
		}},
		{"close does not wait", "close waits for the receiver", func(f *faulty) {
			f.close = func(b *faultyBus, ctx context.Context) error {
				go b.good.Shutdown(ctx)
				return nil
			}
		}},
	}
}

func outageFaults() []fault {
	return []fault{
		{"messages to nowhere are fine", "an engine that is away", func(f *faulty) {
			f.publish = func(b *faultyBus, ctx context.Context, topics []string, data []byte) error {
				if f.down.Load() {
					return nil
				}
				return b.good.Publish(ctx, topics, data)
			}
		}},
		{"append waits for the engine", "an engine that is away", func(f *faulty) {
			f.append = func(l *faultyLog, ctx context.Context, topic string, data []byte) (cluster.Position, error) {
				if f.down.Load() {
					time.Sleep(10 * time.Second) // virtual
				}
				return l.good.Append(ctx, topic, data)
			}
		}},
		{"an outage is noticed late", "an engine that comes back", func(f *faulty) {
			f.available = func(b *faultyBus, up bool) {
				time.Sleep(8 * time.Second) // virtual
				b.r.Available(up)
			}
		}},
		{"interests are not heard meanwhile", "an engine that comes back", func(f *faulty) {
			f.interest = func(b *faultyBus, topic string, on bool) {
				if !f.down.Load() {
					b.good.Interest(topic, on)
				}
			}
		}},
		{"an outage ends interests", "an engine that comes back", func(f *faulty) {
			f.available = func(b *faultyBus, up bool) {
				b.good.Interest("before", false)
				b.r.Available(up)
			}
		}},
		{"an outage kills the others", "a long outage", func(f *faulty) {
			f.available = func(b *faultyBus, up bool) {
				b.r.Available(up)
				if !up {
					b.r.Nodes([]cluster.Node{b.self})
				}
			}
		}},
		{"an outage is no reason to call", "a long outage", func(f *faulty) {
			f.available = func(*faultyBus, bool) {}
		}},
		{"announcements are not heard meanwhile", "announced while the engine is away", func(f *faulty) {
			f.announce = func(b *faultyBus, self cluster.Node) error {
				if f.down.Load() {
					return nil
				}
				return b.good.Announce(self)
			}
		}},
		{"close waits for the engine", "closed while the engine is away", func(f *faulty) {
			f.close = func(b *faultyBus, ctx context.Context) error {
				if f.down.Load() {
					time.Sleep(10 * time.Second) // virtual
				}
				return b.good.Shutdown(ctx)
			}
		}},
		{"open waits for the engine", "opened while the engine is away", func(f *faulty) {
			f.open = func(ctx context.Context, self cluster.Node, r cluster.Receiver) (cluster.Bus, error) {
				if f.down.Load() {
					time.Sleep(10 * time.Second) // virtual
				}
				return f.hub.Open(ctx, self, r)
			}
		}},
	}
}

func cutFaults() []fault {
	return []fault{
		{"a cut is not noticed", "one node is cut off", func(f *faulty) { f.setup.Cut = func(string) {} }},
		{"a cut takes all", "one node is cut off", func(f *faulty) {
			f.setup.Cut = func(string) { f.hub.Fail() }
			f.setup.Heal = func(string) { f.hub.Restore() }
		}},
		{"who was cut off is not told again", "one node is cut off for long", func(f *faulty) {
			f.nodes = func(b *faultyBus, alive []cluster.Node) {
				if len(alive) < 3 && len(b.told) == 3 {
					return
				}
				b.told = alive
				b.r.Nodes(alive)
			}
		}},
	}
}
