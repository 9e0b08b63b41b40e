package jetstream_test

import (
	"testing"
	"time"

	"github.com/polywire/polywire/internal/testenv"
	"github.com/polywire/polywire/natsembed"
	"github.com/polywire/polywire/queue"
	"github.com/polywire/polywire/queue/jetstream"
)

// TestCluster loses the server that leads a queue with three replicas.
func TestCluster(t *testing.T) {
	t.Parallel()
	var nodes []*broker
	var peers []string
	for i := range 3 {
		c := &natsembed.Cluster{Listen: "127.0.0.1:0", Peers: peers, NoWait: i == 0}
		nodes = append(nodes, newBroker(t, natsembed.Options{NoSync: true, Cluster: c}))
		if i == 0 {
			peers = []string{nodes[0].s.ClusterAddr().String()}
		}
	}
	for _, n := range nodes {
		if err := n.s.WaitReady(within(t)); err != nil {
			t.Fatal(err)
		}
	}
	brokers := make([]*queue.Broker, len(nodes))
	drivers := make([]*jetstream.Driver, len(nodes))
	for i, n := range nodes {
		drivers[i] = n.driver(jetstream.Options{Replicas: 3})
		b, err := queue.New(drivers[i], queue.Options{PublishTimeout: patience})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { b.Close() })
		brokers[i] = b
	}
	const delay = 4 * time.Second
	start := time.Now()
	publish(t, brokers[0], queue.Message{Queue: "q", ID: "first"}, queue.Message{Queue: "q", ID: "delayed", Delay: delay})
	f, err := drivers[0].Figures(within(t), "q")
	early := time.Since(start) < delay
	if err != nil || f.Replicas != 3 || f.Leader == "" || f.Waiting+f.Delayed != 2 || early && f.Delayed != 1 {
		t.Fatalf("%+v, %v", f, err)
	}
	left := 0 // a node that does not lead
	for i, n := range nodes {
		if n.s.Name() == f.Leader {
			left = (i + 1) % len(nodes)
			n.stop()
		}
	}
	l := newLedger()
	handle(t, brokers[left], "q", l, queue.HandleOptions{Concurrency: 4, Lease: time.Second})
	ms, ids := batch("q", "m", 200)
	publish(t, brokers[left], ms...)
	testenv.Eventually(t, patience, "all are done", func() bool {
		n, _ := l.missing(append(ids, "first", "delayed"))
		return n == 0
	})
}
