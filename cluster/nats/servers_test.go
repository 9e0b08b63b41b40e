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

	"github.com/polywire/polywire/cluster"
	natscluster "github.com/polywire/polywire/cluster/nats"
	"github.com/polywire/polywire/internal/badnet"
	"github.com/polywire/polywire/internal/testenv"
	"github.com/polywire/polywire/natsembed"
)

// three starts three servers that are a cluster.
func three(tb testing.TB) []*natsembed.Server {
	tb.Helper()
	var servers []*natsembed.Server
	for i := range 3 {
		o := natsembed.Options{Dir: tb.TempDir(), Listen: "127.0.0.1:0", Cluster: &natsembed.Cluster{Listen: "127.0.0.1:0", NoWait: true}}
		if i > 0 {
			o.Cluster.Peers = []string{servers[0].ClusterAddr().String()}
		}
		servers = append(servers, start(tb, o))
	}
	for _, s := range servers {
		if err := s.WaitReady(within(tb)); err != nil {
			tb.Fatal(err)
		}
		waitFor(tb, "three servers", func() bool {
			st, err := s.Stats()
			return err == nil && st.Nodes == 3
		})
	}
	return servers
}

// After Sync nodes at other servers have the interests, each time.
func TestSyncAcrossServers(t *testing.T) {
	servers := three(t)
	var nodes []*node
	for i, s := range servers {
		nodes = append(nodes, open(t, fmt.Sprintf("n%d", i), natscluster.Options{Connect: s.Connect}))
	}
	for _, n := range nodes {
		n.alive(t, "n0", "n1", "n2")
	}
	a, b := nodes[0], nodes[1]
	for i := range 300 {
		topic := fmt.Sprintf("topic %d", i)
		b.wants(t, topic)
		a.publish(t, "", topic)
		b.until(t, topic, func() bool { return len(b.messages) == i+1 })
	}
}

// A node that does not answer is waited for once, not by every Sync until it
// is found dead.
func TestSyncWithASilentNode(t *testing.T) {
	t.Parallel()
	servers := three(t)
	p, err := badnet.New(strings.TrimPrefix(servers[2].ClientURL(), "nats://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	a := open(t, "a", natscluster.Options{Connect: servers[0].Connect})
	b := open(t, "b", natscluster.Options{Connect: servers[1].Connect})
	// It knows no other way: by another server it would be back at once.
	c := open(t, "c", natscluster.Options{Connect: natscluster.URL("nats://"+p.Addr(), nats.IgnoreDiscoveredServers())})
	for _, n := range []*node{a, b, c} {
		n.alive(t, "a", "b", "c")
	}
	a.wants(t, "x")
	p.BlackHole()
	a.wants(t, "y")
	began, idle := time.Now(), testenv.Idle()
	const many = 32 // a wait for c each would be 8 s, and c be found dead after 9
	for range many {
		a.wants(t, "z")
	}
	if took := time.Since(began); took > 6*time.Second && idle() > 0.5 { // a busy machine takes that by itself
		t.Errorf("%d took %v", many, took)
	}
	c.until(t, "the outage", func() bool { return len(c.states) == 1 })
	p.Resume()
	c.until(t, "the return", func() bool { return len(c.states) == 2 })
	waitFor(t, "c's message", func() bool { // until a has heard c, it does not ask c
		a.wants(t, "again")
		c.publish(t, "c", "again")
		return a.Stats().Received > 0
	})
}

// ledger appends to a topic from several goroutines, and keeps where each
// message went.
type ledger struct {
	stop chan struct{}
	goes sync.WaitGroup
	idle func() float64 // of the machine, since it began

	mu     sync.Mutex
	at     map[string]cluster.Position
	failed uint64
}

func newLedger(t *testing.T, l cluster.Log) *ledger {
	led := &ledger{stop: make(chan struct{}), idle: testenv.Idle(), at: make(map[string]cluster.Position)}
	for w := range 4 {
		led.goes.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-led.stop:
					return
				default:
				}
				text := fmt.Sprintf("%d.%d", w, i)
				p, err := l.Append(context.Background(), "x", []byte(text))
				led.mu.Lock()
				switch {
				case err == nil:
					led.at[text] = p
				case errors.Is(err, cluster.ErrUnavailable) && led.busy():
					led.failed++
				default:
					t.Errorf("append %s: %v", text, err)
				}
				led.mu.Unlock()
			}
		})
	}
	return led
}

// busy reports whether the machine had no time for an election within the 5 s
// that an append tries.
func (led *ledger) busy() bool { return led.idle() < 0.5 }

func (led *ledger) count() int {
	led.mu.Lock()
	defer led.mu.Unlock()
	return len(led.at)
}

// end stops appending, and compares with what is in the log.
func (led *ledger) end(t *testing.T, page cluster.Page) {
	t.Helper()
	if !page.Complete {
		t.Fatal("not complete")
	}
	seen := make(map[string]cluster.Position)
	for _, m := range page.Messages {
		if _, twice := seen[string(m.Data)]; twice {
			t.Errorf("%s is there twice", m.Data)
		}
		seen[string(m.Data)] = m.At
	}
	for text, p := range led.at {
		if seen[text] != p {
			t.Errorf("%s was appended at %v, and is at %v", text, p, seen[text])
		}
	}
}

// replicated opens a log on three servers at two nodes. Servers are offered
// for streams a moment after they came.
func replicated(t *testing.T, a, b *natsembed.Server, o cluster.LogOptions) (x, y *node, lx, ly cluster.Log) {
	t.Helper()
	y = open(t, "b", natscluster.Options{Connect: b.Connect})
	ly = y.log(t, "rooms", o)
	js := streams(t, a.Connect)
	waitFor(t, "three replicas", func() bool {
		x = open(t, "a", natscluster.Options{Connect: a.Connect})
		lx = x.log(t, "rooms", o)
		s, err := js.Stream(within(t), "pw~rooms")
		if err != nil {
			t.Fatal(err)
		}
		if s.CachedInfo().Config.Replicas == 3 {
			return true
		}
		x.shut(t)
		return false
	})
	x.alive(t, "a", "b")
	return x, y, lx, ly
}

// loseLeader stops the server that leads the log, or, where a node is in the
// process with it, lets another lead.
func loseLeader(t *testing.T, servers []*natsembed.Server) {
	t.Helper()
	nc, err := servers[0].Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	s, err := streams(t, servers[0].Connect).Stream(within(t), "pw~rooms")
	if err != nil {
		t.Fatal(err)
	}
	if servers[2].Name() == s.CachedInfo().Cluster.Leader {
		stop(t, servers[2])
		return
	}
	if _, err := nc.Request("$JS.API.STREAM.LEADER.STEPDOWN.pw~rooms", nil, patience); err != nil {
		t.Error(err)
	}
}

// The loss of a leader is not seen: appends go on, and nobody misses anything,
// or sees it twice.
func TestLogLosesItsLeader(t *testing.T) {
	t.Parallel()
	servers := three(t)
	a, b, la, lb := replicated(t, servers[0], servers[1], cluster.LogOptions{Size: 100_000})
	lb.Interest("x", true)
	b.wants(t)
	begin := after(t, la, "x", cluster.Position{}).Top
	led := newLedger(t, la)
	for range 3 {
		before := led.count()
		waitFor(t, "more messages", func() bool { return led.count() > before+100 })
		loseLeader(t, servers)
	}
	before := led.count()
	waitFor(t, "more messages", func() bool { return led.count() > before+100 })
	close(led.stop)
	led.goes.Wait()
	page := after(t, lb, "x", begin)
	led.end(t, page)
	// The receiver got all, or sees what it lacks.
	b.until(t, "the last message", func() bool { return len(b.messages) > 0 && b.messages[len(b.messages)-1].At == page.Top })
	last := begin.Offset
	for _, m := range b.messages {
		if m.Prev != last {
			found := after(t, lb, "x", cluster.Position{Epoch: begin.Epoch, Offset: last})
			if !found.Complete || found.Messages[0].At.Offset >= m.At.Offset {
				t.Errorf("a hole before %+v that After does not fill", m)
			}
		}
		if m.At.Offset <= last {
			t.Errorf("%+v came after %d", m, last)
		}
		last = m.At.Offset
	}
	if s := a.Stats(); s.AppendErrors != led.failed {
		t.Errorf("%+v", s)
	}
	t.Logf("%d messages, %d tries were repeated, %d failed", len(led.at), a.Stats().AppendRetries, led.failed)
}

func BenchmarkPublishReceive(b *testing.B) {
	for _, size := range []int{100, 10_000} {
		b.Run(fmt.Sprintf("%d bytes", size), func(b *testing.B) {
			x, y := pair(b, noStreams)
			y.wants(b, "room/chat:general")
			data, topics := make([]byte, size), []string{"room/chat:general"}
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				if err := x.Publish(context.Background(), topics, data); err != nil {
					b.Fatal(err)
				}
				if i%1000 == 999 { // no more than the queue takes
					y.until(b, "all", func() bool { return len(y.messages) >= i-2000 })
				}
			}
			y.until(b, "all", func() bool { return len(y.messages) >= b.N })
		})
	}
}

func BenchmarkRoundTrip(b *testing.B) {
	x, y := pair(b, noStreams)
	y.wants(b, "t")
	for i := range b.N {
		x.publish(b, "", "t")
		y.until(b, "it", func() bool { return len(y.messages) > i })
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, workers := range []int{1, 64} {
		b.Run(fmt.Sprintf("%d at once", workers), func(b *testing.B) {
			x, _ := pair(b, natsembed.Options{})
			l := x.log(b, "rooms", cluster.LogOptions{Size: 100})
			data := make([]byte, 200)
			b.ReportAllocs()
			b.ResetTimer()
			var goes sync.WaitGroup
			work := make(chan struct{})
			for range workers {
				goes.Go(func() {
					for range work {
						if _, err := l.Append(context.Background(), "x", data); err != nil {
							b.Error(err)
						}
					}
				})
			}
			for range b.N {
				work <- struct{}{}
			}
			close(work)
			goes.Wait()
		})
	}
}

func BenchmarkAfter(b *testing.B) {
	for _, messages := range []int{1, 10, 100, 1000} {
		b.Run(fmt.Sprint(messages), func(b *testing.B) {
			x, _ := pair(b, natsembed.Options{})
			l := x.log(b, "rooms", cluster.LogOptions{Size: 2000, Age: time.Hour})
			p := appendTo(b, l, "x", "")
			for range messages {
				appendTo(b, l, "x", "some data of a message, and then some more")
			}
			b.ResetTimer()
			for range b.N {
				if page := after(b, l, "x", p); len(page.Messages) != messages {
					b.Fatalf("%d messages", len(page.Messages))
				}
			}
		})
	}
}
