package clustertest

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/polywire/polywire/cluster"
)

func busChecks() []check {
	return []check{
		{name: "a message arrives", run: checkArrives},
		{name: "a message is not for its sender", run: checkNotSender},
		{name: "a message with several topics arrives once", run: checkOnce},
		{name: "interest ends", run: checkInterestEnds},
		{name: "only interested nodes get a message", run: checkOnlyInterested},
		{name: "sync makes interests hold", run: checkSync},
		{name: "order of one sender across topics", run: checkOrder},
		{name: "order with many senders at once", run: checkManySenders},
		{name: "order while interests change", run: checkOrderInterests},
		{name: "data is copied", run: checkCopied},
		{name: "messages of all sizes", run: checkSizes},
		{name: "a message that is too large", run: checkTooLarge, needs: hasTooLarge},
		{name: "a receiver may publish", run: checkReceiverPublishes},
		{name: "a slow receiver holds up nobody else", run: checkSlow},
		{name: "contexts that have ended", run: checkContexts},
	}
}

// checkArrives: with sender, topic and bytes, and nothing of a log.
func checkArrives(t *trial) {
	nodes := t.joinAll("a", "b")
	a, b := nodes[0], nodes[1]
	b.wants("topic")
	a.publish("hello", "topic")
	a.flush(b)
	b.has("hello")
	m := b.messages()[0]
	if m.From != a.id || m.Topic != "topic" || m.Log != "" || m.At != (cluster.Position{}) || m.Prev != 0 {
		t.Errorf("received %+v", m)
	}
}

// checkNotSender: whoever publishes does not get it, however often it wants it.
func checkNotSender(t *trial) {
	nodes := t.joinAll("a", "b")
	a, b := nodes[0], nodes[1]
	a.wants("topic", "other")
	b.wants("topic")
	for range 20 {
		a.publish("x", "topic", "other")
	}
	a.flush(b)
	b.flush(a) // behind what the engine might have sent back
	a.has()
	b.publish("y", "other")
	b.flush(a)
	a.has("y")
}

// checkOnce: however many of its topics a node wants.
func checkOnce(t *trial) {
	nodes := t.joinAll("a", "b", "c")
	a, b, c := nodes[0], nodes[1], nodes[2]
	var topics []string
	for i := range 20 {
		topics = append(topics, fmt.Sprintf("topic %d", i))
	}
	b.wants(topics...)
	c.wants(topics[7])
	var want []string
	for i := range 50 {
		want = append(want, strconv.Itoa(i))
		a.publish(strconv.Itoa(i), append(topics[i%20:], topics[:i%20]...)...)
	}
	want = append(want, "twice")
	a.publish("twice", topics[7], topics[7], topics[7])
	a.flush(b, c)
	b.has(want...)
	c.has(want...)
	for _, m := range append(b.messages(), c.messages()...) {
		if !slices.Contains(topics, m.Topic) {
			t.Errorf("received with topic %q", m.Topic)
		}
	}
	a.publish("mixed", "nobody's", topics[7])
	a.publish("for nobody", "nobody's")
	a.flush(c)
	c.has(append(want, "mixed")...)
}

// checkInterestEnds: the last word counts, whatever was said before.
func checkInterestEnds(t *trial) {
	nodes := t.joinAll("a", "b")
	a, b := nodes[0], nodes[1]
	var want []string
	for i, words := range []string{"+-", "++-", "-", "+-+", "-+", "+--+", strings.Repeat("+-", 100), strings.Repeat("-+", 100)} {
		topic := fmt.Sprintf("topic %d", i)
		for _, w := range words {
			b.bus.Interest(topic, w == '+')
		}
		b.sync()
		a.publish(words, topic)
		if words[len(words)-1] == '+' {
			want = append(want, words)
		}
		b.bus.Interest("topic", i%2 == 0)
		b.sync()
		a.publish(strconv.Itoa(i), "topic")
		if i%2 == 0 {
			want = append(want, strconv.Itoa(i))
		}
		a.flush(b) // what it gave to its engine has left before the next word
	}
	b.has(want...)
}

// checkOnlyInterested: each node gets what it wants.
func checkOnlyInterested(t *trial) {
	nodes := t.joinAll("a", "b", "c", "d")
	want := make([][]string, len(nodes))
	for i, n := range nodes[1:] {
		n.wants("all", fmt.Sprintf("topic %d", i+1))
	}
	for i := range 40 {
		topic := i%5 + 1 // 4 and 5 are nobody's
		nodes[0].publish(strconv.Itoa(i), fmt.Sprintf("topic %d", topic))
		if topic < len(nodes) {
			want[topic] = append(want[topic], strconv.Itoa(i))
		}
	}
	nodes[0].publish("all", "all")
	nodes[0].flush(nodes[1:]...)
	for i, n := range nodes[1:] {
		n.has(append(want[i+1], "all")...)
	}
	nodes[0].has()
}

// checkSync: what is published after Sync arrives, from any node.
func checkSync(t *trial) {
	nodes := t.joinAll("a", "b", "c")
	for i := range 60 {
		n, other := nodes[i%3], nodes[(i+1+i/3%2)%3]
		topic := fmt.Sprintf("topic %d", i)
		n.wants(topic)
		other.publish(topic, topic)
		t.until("what was published after Sync arrives", func() bool {
			all := n.messages()
			return len(all) > 0 && all[len(all)-1].Topic == topic
		})
	}
}

// checkOrder: the order of the calls, whatever the topics are.
func checkOrder(t *trial) {
	nodes := t.joinAll("a", "b", "c")
	a, b, c := nodes[0], nodes[1], nodes[2]
	var topics []string
	for i := range 10 {
		topics = append(topics, fmt.Sprintf("topic %d", i))
	}
	b.wants(topics...)
	c.wants(topics...)
	var want []string
	for i := range 2000 {
		text := fmt.Sprintf("%d %s", i, strings.Repeat("-", i*31%500))
		a.publish(text, topics[i%10:min(i%10+1+i%3, 10)]...)
		want = append(want, text)
	}
	a.flush(b, c)
	b.has(want...)
	c.has(want...)
}

// checkManySenders: each goroutine's calls stay in order at each receiver.
func checkManySenders(t *trial) {
	const writers, count = 4, 250
	nodes := t.joinAll("a", "b", "c")
	topics := []string{"x", "y", "z"}
	for _, n := range nodes {
		n.wants(topics...)
	}
	var goes sync.WaitGroup
	for _, n := range nodes {
		for w := range writers {
			goes.Go(func() {
				ctx := t.patient()
				for i := range count {
					if err := n.bus.Publish(ctx, topics[i%3:i%3+1], fmt.Appendf(nil, "%s/%d %d", n.id, w, i)); err != nil {
						t.Errorf("Publish: %v", err)
						return
					}
				}
			})
		}
	}
	goes.Wait()
	for i, n := range nodes {
		for k, from := range nodes {
			if k != i {
				from.flush(n)
			}
		}
		next := make(map[string]int)
		for _, m := range n.messages() {
			var number int
			writer, digits, _ := strings.Cut(string(m.Data), " ")
			_, _ = fmt.Sscan(digits, &number)
			if number != next[writer] || !strings.HasPrefix(writer, m.From+"/") {
				t.Fatalf("received %q from %q, want number %d", m.Data, m.From, next[writer])
			}
			next[writer]++
		}
		if len(next) != 2*writers || len(n.messages()) != 2*writers*count {
			t.Errorf("received %d messages of %d writers, want %d of %d", len(n.messages()), len(next), 2*writers*count, 2*writers)
		}
	}
}

// checkOrderInterests: interests that come and go disturb no others.
func checkOrderInterests(t *trial) {
	nodes := t.joinAll("a", "b")
	a, b := nodes[0], nodes[1]
	b.wants("steady")
	stop := make(chan struct{})
	var goes sync.WaitGroup
	goes.Go(func() {
		ctx := t.patient()
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			b.bus.Interest("topic", i%2 == 0)
			b.bus.Interest(fmt.Sprintf("topic %d", i%50), i%3 == 0)
			if i%20 == 0 {
				if err := b.bus.Sync(ctx); err != nil {
					t.Errorf("Sync: %v", err)
					return
				}
			}
		}
	})
	for i := range 500 {
		a.publish(strconv.Itoa(i), "steady")
		a.publish(fmt.Sprintf("%d maybe", i), "topic", fmt.Sprintf("topic %d", i%50))
	}
	close(stop)
	goes.Wait()
	a.flush(b)
	steady, last := 0, -1
	for _, m := range b.messages() {
		var number int
		_, _ = fmt.Sscan(string(m.Data), &number)
		switch {
		case m.Topic == "steady" && number != steady:
			t.Fatalf("received %q, want %d", m.Data, steady)
		case m.Topic == "steady":
			steady++
		case number <= last || number < steady-1:
			t.Fatalf("received %q after %d, and %d of the steady topic", m.Data, last, steady)
		default:
			last = number
		}
	}
	if steady != 500 {
		t.Errorf("received %d of 500 messages of a topic that was always wanted", steady)
	}
}

// checkCopied: the caller may use its slice again when Publish has returned.
func checkCopied(t *trial) {
	nodes := t.joinAll("a", "b")
	a, b := nodes[0], nodes[1]
	b.wants("topic")
	data := make([]byte, 100)
	topics := []string{"topic"}
	var want []string
	for i := range 100 {
		for k := range data {
			data[k] = byte('a' + i%26)
		}
		want = append(want, string(data))
		if err := a.bus.Publish(t.patient(), topics, data); err != nil {
			t.Fatalf("Publish: %v", err)
		}
		clear(data)
	}
	a.flush(b)
	b.has(want...)
}

// sizes are those that all engines carry.
func sizes() []int { return []int{0, 1, 2, 125, 4096, 65_535, 65_536, 100_000, 512 << 10} }

func checkSizes(t *trial) {
	nodes := t.joinAll("a", "b")
	a, b := nodes[0], nodes[1]
	b.wants("topic", "other")
	var want []string
	for i, n := range sizes() {
		data := filled(n, i)
		for _, topics := range [][]string{{"topic"}, {"topic", "other"}} {
			want = append(want, string(data))
			a.publish(string(data), topics...)
		}
	}
	a.flush(b)
	b.has(want...)
}

// checkTooLarge: it is refused, and all goes on.
func checkTooLarge(t *trial) {
	nodes := t.joinAll("a", "b")
	a, b := nodes[0], nodes[1]
	b.wants("topic")
	large := make([]byte, t.features.TooLargeBytes)
	for _, topics := range [][]string{{"topic"}, {"topic", "other"}} {
		if err := a.bus.Publish(t.patient(), topics, large); !errors.Is(err, cluster.ErrTooLarge) {
			t.Errorf("Publish of %d bytes: %v, want %v", len(large), err, cluster.ErrTooLarge)
		}
	}
	a.publish("small", "topic")
	a.flush(b)
	b.has("small")
	if changes, _ := a.lastUp(); changes > 0 {
		t.Errorf("the engine was away")
	}
}

// checkReceiverPublishes: Publish, Interest and Announce work in Receive.
func checkReceiverPublishes(t *trial) {
	a := t.join("a")
	var b *node
	ready := make(chan struct{})
	b = t.joinWith(selfNode("b"), func(m cluster.Message) {
		if m.Topic != "question" {
			return
		}
		<-ready
		b.bus.Interest("later "+string(m.Data), true)
		if err := b.bus.Announce(b.self); err != nil {
			t.Errorf("Announce by the receiver: %v", err)
		}
		if err := b.bus.Publish(t.patient(), []string{"answer"}, m.Data); err != nil {
			t.Errorf("Publish by the receiver: %v", err)
		}
	})
	close(ready)
	t.known(a, b)
	a.wants("answer")
	b.wants("question")
	var want []string
	for i := range 50 {
		want = append(want, strconv.Itoa(i))
		a.publish(strconv.Itoa(i), "question")
	}
	a.flush(b)
	b.flush(a)
	a.has(want...)
	b.sync()
	a.publish("now", "later 49")
	a.flush(b)
	b.has(append(want, "now")...)
}

// checkSlow: who does not return from Receive delays no sender and no other node.
func checkSlow(t *trial) {
	hold := make(chan struct{})
	holding := make(chan struct{}, 1)
	slow := t.joinWith(selfNode("slow"), func(m cluster.Message) {
		if m.Topic == "topic" {
			select {
			case holding <- struct{}{}:
			default:
			}
			<-hold
		}
	})
	release := sync.OnceFunc(func() { close(hold) })
	t.Cleanup(release) // before the node is closed
	a, c := t.join("a"), t.join("c")
	t.known(slow, a, c)
	slow.wants("topic")
	c.wants("topic")
	a.publish("0", "topic")
	select {
	case <-holding:
	case <-t.patient().Done():
		t.Fatalf("nothing arrives")
	}
	want := []string{"0"}
	for i := range 200 {
		want = append(want, strconv.Itoa(i+1))
		a.publish(strconv.Itoa(i+1), "topic")
	}
	a.flush(c)
	c.has(want...)
	slow.has() // all this while
	release()
	a.flush(slow)
	slow.has(want...)
}

// checkContexts: a context that is over ends a wait, with its error.
func checkContexts(t *trial) {
	a := t.join("a")
	calls := map[string]func() error{
		"Sync":    func() error { return a.bus.Sync(ended()) },
		"Publish": func() error { return a.bus.Publish(ended(), []string{"topic"}, nil) },
	}
	if !t.features.NoLogs {
		l := a.log(unique("log"), cluster.LogOptions{Size: 5})
		calls["Log"] = func() error {
			_, err := a.historian().Log(ended(), unique("log"), cluster.LogOptions{Size: 5})
			return err
		}
		calls["Append"] = func() error { _, err := l.log.Append(ended(), "topic", nil); return err }
		calls["After"] = func() error { _, err := l.log.After(ended(), "topic", cluster.Position{}); return err }
	}
	for name, call := range calls {
		t.lasts(atOnce, name+" with a context that is over", func() {
			if err := call(); err != nil && !errors.Is(err, ended().Err()) {
				t.Errorf("%s with a context that is over: %v", name, err)
			}
		})
	}
	a.sync()
}
