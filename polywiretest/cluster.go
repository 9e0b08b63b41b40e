package polywiretest

import (
	"fmt"
	"testing"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/cluster"
	"github.com/polywire/polywire/queue"
)

// Cluster returns n servers that are one, when they have seen each other, and
// what connects them: it can fail, cut and kill. build makes each; it gets
// options for it, and may be [polywire.New] or the program's own function. A
// server without wires gets those of [New].
func Cluster(t testing.TB, n int, build func(opts ...polywire.Option) (*polywire.Server, error)) ([]*Server, *cluster.Memory) {
	t.Helper()
	memory := cluster.NewMemory()
	servers := make([]*Server, n)
	for i := range servers {
		name := polywire.WithNodeName(fmt.Sprintf("node-%d", i+1))
		options := []polywire.Option{polywire.WithCluster(memory), name, polywire.WithAuth(Auth(nil))}
		srv, err := build(options...)
		if err == nil && len(srv.Configuration().Wires) == 0 {
			srv, err = build(append(options, defaultWires())...)
		}
		if err != nil {
			t.Fatalf("polywiretest: server %d: %v", i+1, err)
		}
		servers[i] = Serve(t, srv)
		servers[i].labelled(func() { err = srv.Start() })
		if err != nil {
			t.Fatalf("polywiretest: server %d: %v", i+1, err)
		}
	}
	await(t, "servers that see each other", func() bool {
		for _, s := range servers {
			if len(s.Nodes().List()) < n {
				return false
			}
		}
		return true
	})
	return servers, memory
}

// Queues returns a broker in memory for [polywire.WithQueues], which is closed
// when the test ends.
func Queues(t testing.TB, o queue.Options) *queue.Broker {
	t.Helper()
	b, err := queue.New(queue.NewMemory(queue.MemoryOptions{}), o)
	if err != nil {
		t.Fatalf("polywiretest: %v", err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("polywiretest: the broker was not closed in order: %v", err)
		}
	})
	return b
}

// ExpectDone waits until all messages of queues have been handled, those whose
// time has not come included; dead letters are done. The test fails if they
// have not within 10 s.
func ExpectDone(t testing.TB, b *queue.Broker, queues ...string) {
	t.Helper()
	for _, q := range queues {
		var d queue.Depth
		await(t, "the end of the work in "+q, func() bool {
			var err error
			if d, err = b.Inspect(t.Context(), q); err != nil {
				t.Fatalf("polywiretest: %s: %v", q, err)
			}
			return d.Waiting+d.Delayed+d.Unacked == 0
		})
	}
}

// await waits until something holds that nothing tells.
func await(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); {
		if time.Now().After(end) {
			t.Fatalf("polywiretest: want %s, not there after %v", what, patience)
		}
		<-time.After(time.Millisecond) // real: in a bubble it is virtual
	}
}
