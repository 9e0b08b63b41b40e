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

func logChecks() []check {
	return []check{
		{name: "appended messages arrive", run: checkAppend},
		{name: "log with many appenders", run: checkAppenders},
		{name: "log with many topics", run: checkLogTopics},
		{name: "after every position", run: checkAfter},
		{name: "a topic without messages", run: checkEmptyTopic},
		{name: "positions of another epoch", run: checkForeignEpoch},
		{name: "interest in a log ends", run: checkLogInterest},
		{name: "logs and the bus are separate", run: checkSeparate},
		{name: "a node that comes later", run: checkLate},
		{name: "options of a log", run: checkOptions},
		{name: "log with messages of all sizes", run: checkLogSizes},
		{name: "log with a message that is too large", run: checkLogTooLarge, needs: hasTooLarge},
		{name: "log with topics of any bytes", run: checkLogOddTopics},
		{name: "a log in use by many", run: checkLogConcurrent},
	}
}

// roomy is for checks that no bound must touch.
func roomy() cluster.LogOptions { return cluster.LogOptions{Size: 5000} }

// checkAppend: all nodes get it, the one that appended it too.
func checkAppend(t *trial) {
	nodes := t.joinAll("a", "b")
	all := logs(roomy(), nodes...)
	all[0].wants("topic")
	all[1].wants("topic")
	positions := all[0].append("topic", "one", "two")
	positions = append(positions, all[1].append("topic", "three")...)
	for _, l := range all {
		got := l.awaits("topic", "one", "two", "three")
		for i, m := range got {
			from := nodes[i/2]
			if m.From != from.id || m.At != positions[i] {
				t.Errorf("message %d from %q at %+v, want from %q at %+v", i, m.From, m.At, from.id, positions[i])
			}
		}
		if got[0].Prev != 0 {
			t.Errorf("before the first message there is %d", got[0].Prev)
		}
	}
}

// checkAppenders: all nodes get the same order, which is that of the positions.
func checkAppenders(t *trial) {
	const writers, count = 3, 60
	nodes := t.joinAll("a", "b", "c")
	all := logs(roomy(), nodes...)
	for _, l := range all {
		l.wants("topic")
	}
	var mu sync.Mutex
	var goes sync.WaitGroup
	at := make(map[string]cluster.Position)
	for _, l := range all {
		for w := range writers {
			goes.Go(func() {
				ctx := t.patient()
				for i := range count {
					text := fmt.Sprintf("%s/%d %d", l.n.id, w, i)
					p, err := l.log.Append(ctx, "topic", []byte(text))
					if err != nil {
						t.Errorf("Append: %v", err)
						return
					}
					mu.Lock()
					at[text] = p
					mu.Unlock()
				}
			})
		}
	}
	goes.Wait()
	want := make([]string, 0, len(at))
	for text := range at {
		want = append(want, text)
	}
	slices.SortFunc(want, func(x, y string) int { return int(int64(at[x].Offset) - int64(at[y].Offset)) })
	for _, l := range all {
		for _, m := range l.awaits("topic", want...) {
			if m.At != at[string(m.Data)] {
				t.Fatalf("appended at %+v, received at %+v", at[string(m.Data)], m.At)
			}
		}
		next := make(map[string]int)
		for _, text := range want {
			var number int
			writer, digits, _ := strings.Cut(text, " ")
			_, _ = fmt.Sscan(digits, &number)
			if number != next[writer] {
				t.Fatalf("%q comes as number %d of its writer", text, next[writer])
			}
			next[writer]++
		}
		l.finds("topic", cluster.Position{Epoch: at[want[0]].Epoch}, want...)
	}
}

// checkLogTopics: each topic has an order and links of its own.
func checkLogTopics(t *trial) {
	nodes := t.joinAll("a", "b")
	all := logs(roomy(), nodes...)
	want := make(map[string][]string)
	for i := range 5 {
		all[1].wants(fmt.Sprintf("topic %d", i))
	}
	for i := range 100 {
		topic := fmt.Sprintf("topic %d", i*i%7)
		all[i%2].append(topic, strconv.Itoa(i))
		want[topic] = append(want[topic], strconv.Itoa(i))
	}
	for topic, texts := range want {
		if topic < "topic 5" {
			if first := all[1].awaits(topic, texts...)[0]; first.Prev != 0 {
				t.Errorf("before the first message of %q there is %d", topic, first.Prev)
			}
		}
		all[0].finds(topic, cluster.Position{Epoch: all[0].top(topic).Epoch}, texts...)
	}
}

// checkAfter: from the beginning, from each message and from the end.
func checkAfter(t *trial) {
	nodes := t.joinAll("a", "b")
	all := logs(roomy(), nodes...)
	var want []string
	var positions []cluster.Position
	for i := range 30 {
		want = append(want, strconv.Itoa(i))
		positions = append(positions, all[i%2].append("topic", strconv.Itoa(i))...)
		all[0].append("other", "noise")
	}
	for _, l := range all {
		for i, p := range positions {
			l.finds("topic", p, want[i+1:]...)
		}
		l.finds("topic", cluster.Position{Epoch: positions[0].Epoch}, want...)
		if top := l.top("topic"); top != positions[len(positions)-1] {
			t.Errorf("the top is %+v, the last message was appended at %+v", top, positions[len(positions)-1])
		}
		first := l.after("topic", positions[0]).Messages[0]
		if first.Prev != positions[0].Offset || first.At != positions[1] || first.From != nodes[1].id {
			t.Errorf("the second message from %q at %+v after %d", first.From, first.At, first.Prev)
		}
	}
}

// checkEmptyTopic: its top is where to begin, whatever else the log gets.
func checkEmptyTopic(t *trial) {
	nodes := t.joinAll("a", "b")
	all := logs(roomy(), nodes...)
	a, b := all[0], all[1]
	early := b.lost("topic", cluster.Position{})
	a.append("other", "1", "2", "3")
	late := b.lost("topic", cluster.Position{})
	b.finds("topic", early)
	b.finds("topic", late)
	b.wants("topic")
	a.append("topic", "first")
	a.append("other", "4")
	m := b.awaits("topic", "first")[0]
	for _, top := range []cluster.Position{early, late} {
		if m.At.Epoch != top.Epoch || m.Prev > top.Offset || m.At.Offset <= top.Offset {
			t.Errorf("the first message at %+v, after %d, does not follow the top %+v", m.At, m.Prev, top)
		}
		b.finds("topic", top, "first")
	}
	a.append("topic", "second")
	b.finds("topic", early, "first", "second")
	b.finds("topic", m.At, "second")
}

// checkForeignEpoch: offsets of another epoch say nothing.
func checkForeignEpoch(t *trial) {
	l := logs(roomy(), t.join("a"))[0]
	p := l.append("topic", "1", "2", "3")[1]
	for _, epoch := range []string{"", "another", strings.ToUpper(p.Epoch) + "x", p.Epoch + "0", strings.Repeat("e", 32)} {
		for _, offset := range []uint64{0, 1, p.Offset, 1 << 62} {
			if top := l.lost("topic", cluster.Position{Epoch: epoch, Offset: offset}); top.Epoch != p.Epoch {
				t.Errorf("the top is in epoch %q, messages in %q", top.Epoch, p.Epoch)
			}
		}
	}
	l.finds("topic", p, "3")
}

// checkLogInterest: who does not want messages can still ask for them.
func checkLogInterest(t *trial) {
	nodes := t.joinAll("a", "b")
	all := logs(roomy(), nodes...)
	a, b := all[0], all[1]
	a.wants("topic", "steady")
	b.wants("topic", "steady")
	positions := a.append("topic", "1", "2")
	b.awaits("topic", "1", "2")
	b.log.Interest("topic", false)
	nodes[1].sync()
	a.append("topic", "3", "4")
	a.append("steady", "s")
	b.awaits("steady", "s")
	b.awaits("topic", "1", "2")
	a.awaits("topic", "1", "2", "3", "4")
	b.finds("topic", positions[1], "3", "4")
	for _, on := range []bool{true, true, false, true} {
		b.log.Interest("topic", on)
	}
	nodes[1].sync()
	a.append("topic", "5")
	t.until("what is wanted again arrives", func() bool { return len(b.received("topic")) == 3 })
	last := b.received("topic")[2]
	if page := b.after("topic", positions[1]); string(last.Data) != "5" || len(page.Messages) != 3 || last.Prev != page.Messages[1].At.Offset {
		t.Errorf("%q came after %d, which shows no hole behind %+v", last.Data, last.Prev, positions[1])
	}
}

// checkSeparate: one topic in two logs and on the bus is three things.
func checkSeparate(t *trial) {
	nodes := t.joinAll("a", "b", "c", "d")
	one, two := logs(roomy(), nodes...), logs(roomy(), nodes...)
	one[1].wants("topic")
	two[2].wants("topic")
	nodes[3].wants("topic")
	first := one[0].append("topic", "1", "2", "3")[0]
	two[0].append("topic", "x")
	nodes[0].publish("published", "topic")
	nodes[0].flush(nodes[1:]...)
	one[1].awaits("topic", "1", "2", "3")
	two[2].awaits("topic", "x")
	nodes[3].has("published")
	for i, n := range nodes {
		from := []int{len(n.messages()), len(one[i].received("topic")), len(two[i].received("topic"))}
		want := [][]int{{0, 0, 0}, {0, 3, 0}, {0, 0, 1}, {1, 0, 0}}[i]
		if !slices.Equal(from, want) {
			t.Errorf("node %d received %d messages of the bus and the logs, want %d", i, from, want)
		}
	}
	two[0].lost("topic", first)
	two[3].finds("topic", cluster.Position{Epoch: two[3].top("topic").Epoch}, "x")
	one[3].finds("topic", first, "2", "3")
}

// checkLate: a node gets what was there before it, and goes on from there.
func checkLate(t *trial) {
	a := logs(roomy(), t.join("a"))[0]
	positions := a.append("topic", "1", "2", "3")
	b := t.join("b").log(a.name, roomy())
	b.finds("topic", positions[0], "2", "3")
	b.wants("topic")
	a.append("topic", "4")
	b.append("topic", "5")
	b.awaits("topic", "4", "5")
	b.finds("topic", positions[2], "4", "5")
	a.n.close()
	b.append("topic", "6")
	b.finds("topic", positions[0], "2", "3", "4", "5", "6")
	c := t.join("c").log(a.name, roomy())
	c.finds("topic", positions[0], "2", "3", "4", "5", "6")
}

// checkOptions: all agree, or hear what they do not agree on.
func checkOptions(t *trial) {
	nodes := t.joinAll("a", "b", "c")
	o := cluster.LogOptions{Storage: t.storage, Size: 17}
	for _, bad := range []cluster.LogOptions{{}, {Size: -1}, {Size: 1, Age: -1}, {Size: 1, Bytes: -1}} {
		_, err := nodes[0].historian().Log(t.patient(), unique("log"), bad)
		t.refuses(fmt.Sprintf("Log with %+v", bad), err)
	}
	name := unique("log")
	var goes sync.WaitGroup
	for _, n := range nodes { // at once, which is how servers start
		goes.Go(func() {
			for range 2 {
				if _, err := n.historian().Log(t.patient(), name, o); err != nil {
					t.Errorf("Log: %v", err)
				}
			}
		})
	}
	goes.Wait()
	p := nodes[0].log(name, o).append("topic", "before")[0]
	o.Size = 23
	for _, n := range nodes {
		_, err := n.historian().Log(t.patient(), name, o)
		t.refuses("Log with another size", err)
		if err != nil && (!strings.Contains(err.Error(), "17") || !strings.Contains(err.Error(), "23")) {
			t.Errorf("sizes of 17 and 23 are different: %q does not say so", err)
		}
	}
	o.Size = 17
	p.Offset = 0
	nodes[1].log(name, o).finds("topic", p, "before")
}

func checkLogSizes(t *trial) {
	nodes := t.joinAll("a", "b")
	all := logs(roomy(), nodes...)
	all[1].wants("topic")
	var want []string
	data := make([]byte, 0, 512<<10)
	for i, n := range sizes() {
		data = append(data[:0], filled(n, i)...)
		want = append(want, string(data))
		if _, err := all[0].log.Append(t.patient(), "topic", data); err != nil {
			t.Fatalf("Append of %d bytes: %v", n, err)
		}
		clear(data) // it is the caller's
	}
	got := all[1].awaits("topic", want...)
	all[1].finds("topic", cluster.Position{Epoch: got[0].At.Epoch}, want...)
	all[0].finds("topic", got[len(got)-3].At, want[len(want)-2:]...)
}

func checkLogTooLarge(t *trial) {
	l := logs(roomy(), t.join("a"))[0]
	l.wants("topic")
	before := l.append("topic", "1")[0]
	if _, err := l.log.Append(t.patient(), "topic", make([]byte, t.features.TooLargeBytes)); !errors.Is(err, cluster.ErrTooLarge) {
		t.Errorf("Append of %d bytes: %v, want %v", t.features.TooLargeBytes, err, cluster.ErrTooLarge)
	}
	l.append("topic", "2")
	l.awaits("topic", "1", "2")
	l.finds("topic", before, "2")
}

// checkLogOddTopics: each topic is its own, and comes as it was.
func checkLogOddTopics(t *trial) {
	nodes := t.joinAll("a", "b")
	all := logs(roomy(), nodes...)
	topics := oddTopics()
	for i, topic := range topics {
		if i%2 == 0 {
			all[1].log.Interest(topic, true)
		}
	}
	nodes[1].sync()
	epoch := ""
	for _, topic := range topics {
		epoch = all[0].append(topic, topic)[0].Epoch
	}
	for i, topic := range topics {
		if i%2 == 0 {
			all[1].awaits(topic, topic)
		} else if got := all[1].received(topic); len(got) > 0 {
			t.Fatalf("a message of topic %q came, which is not wanted", topic)
		}
		all[1].finds(topic, cluster.Position{Epoch: epoch}, topic)
	}
	for _, bad := range []string{"", strings.Repeat("x", cluster.MaxTopicBytes+1)} {
		all[0].log.Interest(bad, true)
		_, err := all[0].log.Append(t.patient(), bad, nil)
		t.refuses(fmt.Sprintf("Append to a topic of %d bytes", len(bad)), err)
		_, err = all[0].log.After(t.patient(), bad, cluster.Position{})
		t.refuses(fmt.Sprintf("After of a topic of %d bytes", len(bad)), err)
	}
}

// checkLogConcurrent: everything at once, and a ledger for each topic.
func checkLogConcurrent(t *trial) {
	const topics, count = 4, 40
	nodes := t.joinAll("a", "b")
	all := logs(roomy(), nodes...)
	name := func(i int) string { return fmt.Sprintf("topic %d", i) }
	for i := range topics {
		all[0].log.Interest(name(i), true)
	}
	nodes[0].sync()
	begin := make([]cluster.Position, topics)
	for i := range topics {
		begin[i] = all[0].top(name(i))
	}
	var goes sync.WaitGroup
	for _, l := range all {
		for i := range topics {
			goes.Go(func() {
				ctx := t.patient()
				for k := range count {
					if _, err := l.log.Append(ctx, name(i), fmt.Appendf(nil, "%s %d", l.n.id, k)); err != nil {
						t.Errorf("Append: %v", err)
						return
					}
					if page, err := l.log.After(ctx, name(i), begin[i]); err != nil || !page.Complete || len(page.Messages) <= k {
						t.Errorf("After own message %d: %d messages, complete %v, %v", k, len(page.Messages), page.Complete, err)
						return
					}
					all[1].log.Interest(name(i), k%2 == 0)
				}
			})
		}
	}
	goes.Wait()
	for i := range topics {
		page := all[1].after(name(i), begin[i])
		if len(page.Messages) != 2*count {
			t.Errorf("%d messages in topic %d, want %d", len(page.Messages), i, 2*count)
		}
		got := all[0].awaits(name(i), texts(page.Messages)...)
		seen := make(map[string]bool)
		for _, m := range got {
			seen[string(m.Data)] = true
		}
		if len(seen) != 2*count {
			t.Errorf("%d different messages in topic %d, want %d", len(seen), i, 2*count)
		}
	}
}
