package clustertest

import (
	"fmt"
	"slices"

	"github.com/polywire/polywire/cluster"
)

// logOf is a log as a node has it.
type logOf struct {
	n    *node
	name string
	log  cluster.Log
}

func (n *node) historian() cluster.Historian {
	n.t.Helper()
	h, ok := n.bus.(cluster.Historian)
	if !ok {
		n.t.Fatalf("the bus has no logs, and the features do not say so")
	}
	return h
}

// log opens a log with the storage of the check.
func (n *node) log(name string, o cluster.LogOptions) *logOf {
	n.t.Helper()
	o.Storage = n.t.storage
	l, err := n.historian().Log(n.t.patient(), name, o)
	if err != nil {
		n.t.Fatalf("Log: %v", err)
	}
	return &logOf{n: n, name: name, log: l}
}

// logs opens one log on several nodes.
func logs(o cluster.LogOptions, nodes ...*node) []*logOf {
	name := unique("log")
	all := make([]*logOf, len(nodes))
	for i, n := range nodes {
		n.t.Helper()
		all[i] = n.log(name, o)
	}
	return all
}

// wants states interests, and waits until they hold.
func (l *logOf) wants(topics ...string) {
	l.n.t.Helper()
	for _, topic := range topics {
		l.log.Interest(topic, true)
	}
	l.n.sync()
}

// append appends texts, and returns the positions.
func (l *logOf) append(topic string, all ...string) []cluster.Position {
	l.n.t.Helper()
	positions := make([]cluster.Position, len(all))
	for i, text := range all {
		p, err := l.log.Append(l.n.t.patient(), topic, []byte(text))
		if err != nil {
			l.n.t.Fatalf("Append: %v", err)
		}
		positions[i] = p
	}
	return positions
}

// after asks for a page, and checks what holds for all pages.
func (l *logOf) after(topic string, p cluster.Position) cluster.Page {
	l.n.t.Helper()
	page, err := l.log.After(l.n.t.patient(), topic, p)
	if err != nil {
		l.n.t.Fatalf("After: %v", err)
	}
	l.sound(topic, p, page)
	return page
}

func (l *logOf) sound(topic string, p cluster.Position, page cluster.Page) {
	t := l.n.t
	t.Helper()
	if page.Top.Epoch == "" || len(page.Top.Epoch) > 32 || !plain(page.Top.Epoch) {
		t.Errorf("the page's top has the epoch %q; 1 to 32 letters and digits", page.Top.Epoch)
	}
	if !page.Complete {
		if len(page.Messages) > 0 {
			t.Errorf("a page that is not complete has %d messages", len(page.Messages))
		}
		return
	}
	if p.Epoch != page.Top.Epoch {
		t.Errorf("after a position of epoch %q a page of epoch %q is complete", p.Epoch, page.Top.Epoch)
	}
	last := p.Offset
	for i := range page.Messages {
		m := &page.Messages[i]
		l.isOf(topic, m)
		if m.At.Epoch != p.Epoch || m.At.Offset <= last || m.Prev > last || i > 0 && m.Prev != last {
			t.Errorf("message %d at %+v, after %d, is behind %d", i, m.At, m.Prev, last)
		}
		last = m.At.Offset
	}
	if len(page.Messages) > 0 && page.Top.Offset != last {
		t.Errorf("the top is %d, the last message's offset %d", page.Top.Offset, last)
	}
}

// isOf checks that a message is of the log and a topic.
func (l *logOf) isOf(topic string, m *cluster.Message) {
	l.n.t.Helper()
	if m.Log != l.name || m.Topic != topic || m.From == "" {
		l.n.t.Errorf("a message of log %q, topic %q, is of log %q, topic %q, from %q", l.name, topic, m.Log, m.Topic, m.From)
	}
}

func plain(s string) bool {
	for _, c := range s {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return true
}

// finds checks that these are all messages of a topic after a position.
func (l *logOf) finds(topic string, p cluster.Position, want ...string) {
	l.n.t.Helper()
	page := l.after(topic, p)
	if !page.Complete {
		l.n.t.Fatalf("after %+v the log cannot tell; want %d messages", p, len(want))
	}
	if d := difference(texts(page.Messages), want); d != "" {
		l.n.t.Fatalf("after %+v there is %s", p, d)
	}
}

// lost checks that the log cannot tell what is after a position, and returns
// where to begin instead.
func (l *logOf) lost(topic string, p cluster.Position) cluster.Position {
	l.n.t.Helper()
	page := l.after(topic, p)
	if page.Complete {
		l.n.t.Fatalf("after %+v there are %d messages, and no more; that cannot be known", p, len(page.Messages))
	}
	return page.Top
}

// top returns a position at the end of a topic.
func (l *logOf) top(topic string) cluster.Position {
	l.n.t.Helper()
	return l.after(topic, cluster.Position{}).Top
}

// received returns what has come of a topic.
func (l *logOf) received(topic string) []cluster.Message {
	return slices.DeleteFunc(l.n.messagesOf(l.name), func(m cluster.Message) bool { return m.Topic != topic })
}

// awaits waits until exactly these texts have come of a topic, each behind the
// one before.
func (l *logOf) awaits(topic string, want ...string) []cluster.Message {
	t := l.n.t
	t.Helper()
	var got []cluster.Message
	t.until(fmt.Sprintf("%d messages of topic %.40q", len(want), topic), func() bool {
		got = l.received(topic)
		return len(got) >= len(want)
	})
	if d := difference(texts(got), want); d != "" {
		t.Fatalf("%q received %s", l.n.id, d)
	}
	l.chain(topic, got)
	return got
}

// chain checks the links between messages.
func (l *logOf) chain(topic string, messages []cluster.Message) {
	l.n.t.Helper()
	for i := range messages {
		m := &messages[i]
		l.isOf(topic, m)
		if i > 0 && (m.Prev != messages[i-1].At.Offset || m.At.Epoch != messages[i-1].At.Epoch) || m.At.Offset <= m.Prev {
			l.n.t.Fatalf("message %d at %+v, after %d, follows one at %+v", i, m.At, m.Prev, messages[max(i-1, 0)].At)
		}
	}
}
