package clustertest

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/polywire/polywire/cluster"
)

func boundChecks() []check {
	return []check{
		{name: "bound in messages", run: checkSize},
		{name: "bound of one message", run: checkSizeOne},
		{name: "bound in time", run: checkAge, waits: true},
		{name: "the link over messages that are gone", run: checkLinkOverGone, waits: true},
		{name: "bound in bytes", run: checkBytes},
	}
}

// checkSize: what is given up is known to be missing, and the rest is there.
func checkSize(t *trial) {
	const size = 5
	nodes := t.joinAll("a", "b")
	all := logs(cluster.LogOptions{Size: size}, nodes...)
	all[1].wants("topic")
	var want []string
	var positions []cluster.Position
	other := all[1].append("other", "kept")[0]
	for i := range 3 * size {
		want = append(want, strconv.Itoa(i))
		positions = append(positions, all[i%2].append("topic", strconv.Itoa(i))...)
		for k, p := range positions {
			if k+1+size >= len(positions) {
				all[0].finds("topic", p, want[k+1:]...)
			} else if top := all[0].lost("topic", p); top != positions[i] {
				t.Fatalf("where messages are gone the top is %+v, want %+v", top, positions[i])
			}
		}
	}
	all[0].lost("topic", cluster.Position{Epoch: positions[0].Epoch})
	all[1].awaits("topic", want...)
	other.Offset = 0
	all[1].finds("other", other, "kept") // the bound is each topic's
}

func checkSizeOne(t *trial) {
	l := logs(cluster.LogOptions{Size: 1}, t.join("a"))[0]
	l.wants("topic")
	positions := l.append("topic", "1", "2", "3")
	l.lost("topic", positions[0])
	l.finds("topic", positions[1], "3")
	l.finds("topic", positions[2])
	l.awaits("topic", "1", "2", "3")
}

// age is long enough to see a message, and short enough to see its end.
const age = 1500 * time.Millisecond

// checkAge: messages go when they are old, and not before.
func checkAge(t *trial) {
	nodes := t.joinAll("a", "b")
	all := logs(cluster.LogOptions{Size: 100, Age: age}, nodes...)
	a, b := all[0], all[1]
	beforeAppend := time.Now()
	positions := a.append("topic", "1", "2", "3")
	beginning := cluster.Position{Epoch: positions[0].Epoch}
	page := b.after("topic", beginning)
	switch young := time.Since(beforeAppend) < age; {
	case young && (!page.Complete || len(page.Messages) != 3):
		t.Errorf("of three young messages the log has %q", texts(page.Messages))
	case page.Complete && len(page.Messages) < 3:
		t.Errorf("a complete page has %q", texts(page.Messages))
	}
	for _, l := range all {
		t.until("old messages are gone", func() bool { return !l.after("topic", beginning).Complete })
		if since := time.Since(beforeAppend); since < age {
			t.Errorf("messages were gone after %v, the bound is %v", since, age)
		}
		t.until("all old messages are gone", func() bool { return !l.after("topic", positions[1]).Complete })
		top := l.lost("topic", beginning)
		if top.Epoch != beginning.Epoch || top.Offset < positions[2].Offset {
			t.Errorf("when all messages are gone the top is %+v; the last was at %+v", top, positions[2])
		}
		l.finds("topic", top)
	}
	top := b.top("topic")
	beforeAppend = time.Now()
	a.append("topic", "4")
	b.findsYoung("topic", top, beforeAppend, "4")
}

// findsYoung is finds for what was appended after a moment: when it is old it
// may be gone.
func (l *logOf) findsYoung(topic string, p cluster.Position, since time.Time, want ...string) {
	l.n.t.Helper()
	page := l.after(topic, p)
	if !page.Complete && time.Since(since) >= age {
		return
	}
	if d := difference(texts(page.Messages), want); d != "" || !page.Complete {
		l.n.t.Fatalf("after %+v there is %s, complete %v", p, d, page.Complete)
	}
}

// checkLinkOverGone: the message before is named though it is not kept.
func checkLinkOverGone(t *trial) {
	l := logs(cluster.LogOptions{Size: 100, Age: age}, t.join("a"))[0]
	l.wants("topic")
	last := l.append("topic", "1", "2")[1]
	t.until("all messages are gone", func() bool {
		return !l.after("topic", cluster.Position{Epoch: last.Epoch, Offset: last.Offset - 1}).Complete
	})
	l.append("other", "noise")
	beforeAppend := time.Now()
	l.append("topic", "3")
	if m := l.awaits("topic", "1", "2", "3")[2]; m.Prev != last.Offset {
		t.Errorf("the message before is %d, want %d", m.Prev, last.Offset)
	}
	l.findsYoung("topic", last, beforeAppend, "3")
}

// checkBytes: all topics together are within the bound, and the oldest go.
func checkBytes(t *trial) {
	const bound, size, topics, count = 128 << 10, 4 << 10, 3, 60
	l := logs(cluster.LogOptions{Size: 1000, Bytes: bound}, t.join("a"))[0]
	positions := make([][]cluster.Position, topics)
	text := strings.Repeat("x", size)
	for i := range count {
		positions[i%topics] = append(positions[i%topics], l.append(fmt.Sprintf("topic %d", i%topics), text)...)
	}
	kept := 0
	for i := range topics {
		topic, all := fmt.Sprintf("topic %d", i), positions[i]
		first := 0
		for first < len(all) && !l.after(topic, all[first]).Complete {
			first++
		}
		if first == 0 || first > len(all)-2 {
			t.Fatalf("of %d messages of topic %d those behind number %d are kept", len(all), i, first)
		}
		for _, p := range all[first:] {
			if page := l.after(topic, p); !page.Complete {
				t.Errorf("a later message was given up before an earlier one")
			}
		}
		kept += len(all) - 1 - first
		l.lost(topic, cluster.Position{Epoch: all[0].Epoch})
	}
	if kept*size > bound {
		t.Errorf("%d messages of %d bytes are kept, the bound is %d", kept, size, bound)
	}
}
