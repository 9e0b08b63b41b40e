package cluster

import (
	"container/list"
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"
)

// memoryLog is a log in a [Memory]; the engine's lock guards it. As in most
// engines one sequence numbers the messages of all topics. What it knows of a
// topic beside its messages, some 100 bytes, it knows for ever.
type memoryLog struct {
	h       *Memory
	name    string
	options LogOptions
	users   map[*memoryNode]struct{}
	wanted  memoryInterests

	epoch  string
	last   uint64
	bytes  int64
	topics map[string]*memoryTopic
	order  list.List // of *memoryEntry, oldest first
}

// memoryTopic is what a log has of a topic.
type memoryTopic struct {
	entries []*memoryEntry // oldest first
	last    uint64         // offset of the last message, kept or not
	floor   uint64         // offset of the last message that is not kept
}

type memoryEntry struct {
	m     Message
	at    time.Time
	topic *memoryTopic
	place *list.Element
}

// Log implements [Historian]. Nodes must agree with those that have the log
// open; where none has, new options take the old ones' place.
func (n *memoryNode) Log(ctx context.Context, name string, o LogOptions) (Log, error) {
	if name == "" || o.Size < 1 || o.Age < 0 || o.Bytes < 0 {
		return nil, fmt.Errorf("cluster: log %q: a name, and bounds that are not negative, are needed, and a Size of at least 1", name)
	}
	h := n.h
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := n.usable(ctx); err != nil {
		return nil, err
	}
	l := h.logs[name]
	if l == nil {
		l = &memoryLog{h: h, name: name, options: o, users: make(map[*memoryNode]struct{}), wanted: make(memoryInterests)}
		l.reset()
		h.logs[name] = l
	}
	if l.options != o {
		if len(l.users) > 0 {
			return nil, fmt.Errorf("cluster: log %q: other nodes have other options: %s", name, differences(o, l.options))
		}
		l.adopt(o)
	}
	l.users[n] = struct{}{}
	if n.logs[l] == nil {
		n.logs[l] = make(map[string]struct{})
	}
	return &memoryLogOf{l: l, n: n}, nil
}

// adopt puts new options in force.
func (l *memoryLog) adopt(o LogOptions) {
	l.options = o
	for _, t := range l.topics {
		for len(t.entries) > o.Size {
			l.giveUp(t)
		}
	}
	l.trim()
}

// differences says how options that were asked for differ from what there is.
func differences(asked, there LogOptions) string {
	var d []string
	add := func(name string, a, b any) {
		if a != b {
			d = append(d, fmt.Sprintf("%s %v, not %v", name, b, a))
		}
	}
	add("Storage", asked.Storage, there.Storage)
	add("Size", asked.Size, there.Size)
	add("Age", asked.Age, there.Age)
	add("Bytes", asked.Bytes, there.Bytes)
	return strings.Join(d, ", ")
}

// reset makes the log empty, in a new epoch.
func (l *memoryLog) reset() {
	l.epoch, l.last, l.bytes = newEpoch(), 0, 0
	l.topics = make(map[string]*memoryTopic)
	l.order.Init()
}

// add appends a message.
func (l *memoryLog) add(from, topic string, data []byte) Message {
	t := l.topics[topic]
	if t == nil {
		t = &memoryTopic{}
		l.topics[strings.Clone(topic)] = t
	}
	l.last++
	m := Message{
		From: from, Topic: topic, Data: append([]byte{}, data...),
		Log: l.name, At: Position{Epoch: l.epoch, Offset: l.last}, Prev: t.last,
	}
	t.last = l.last
	e := &memoryEntry{m: m, at: time.Now(), topic: t}
	e.place = l.order.PushBack(e)
	t.entries = append(t.entries, e)
	l.bytes += int64(len(data))
	for len(t.entries) > l.options.Size {
		l.giveUp(t)
	}
	l.trim()
	return m
}

// giveUp drops a topic's oldest message.
func (l *memoryLog) giveUp(t *memoryTopic) {
	e := t.entries[0]
	t.entries[0] = nil
	t.entries = t.entries[1:]
	t.floor = e.m.At.Offset
	l.bytes -= int64(len(e.m.Data))
	l.order.Remove(e.place)
}

// trim drops what is too old or too much of the whole log.
func (l *memoryLog) trim() {
	old := time.Now().Add(-l.options.Age)
	for first := l.order.Front(); first != nil; first = l.order.Front() {
		e := first.Value.(*memoryEntry) //nolint:forcetypeassert // nothing else is put there
		tooOld := l.options.Age > 0 && !e.at.After(old)
		tooMuch := l.options.Bytes > 0 && l.bytes > l.options.Bytes
		if !tooOld && !tooMuch {
			return
		}
		l.giveUp(e.topic)
	}
}

// after returns what a topic has after a position.
func (l *memoryLog) after(topic string, p Position) Page {
	l.trim()
	t := l.topics[topic]
	if t == nil { // the next message will come after all others
		t = &memoryTopic{last: l.last}
		if p.Epoch == l.epoch && p.Offset <= l.last {
			return Page{Top: Position{Epoch: l.epoch, Offset: l.last}, Complete: true}
		}
	}
	page := Page{Top: Position{Epoch: l.epoch, Offset: t.last}}
	if p.Epoch != l.epoch || p.Offset < t.floor || p.Offset > l.last {
		return page
	}
	page.Complete = true
	first := sort.Search(len(t.entries), func(i int) bool { return t.entries[i].m.At.Offset > p.Offset })
	for _, e := range t.entries[first:] {
		page.Messages = append(page.Messages, e.m)
	}
	return page
}

// memoryLogOf is a log as one node has it.
type memoryLogOf struct {
	l *memoryLog
	n *memoryNode
}

// Append implements [Log].
func (o *memoryLogOf) Append(ctx context.Context, topic string, data []byte) (Position, error) {
	l, h := o.l, o.l.h
	if badTopic(topic) {
		return Position{}, errTopic(topic)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := o.n.usable(ctx); err != nil {
		return Position{}, err
	}
	if len(data) > MaxMemoryBytes || l.options.Bytes > 0 && int64(len(data)) > l.options.Bytes {
		return Position{}, fmt.Errorf("%w: %d bytes", ErrTooLarge, len(data))
	}
	m := l.add(o.n.id, topic, data)
	for to := range l.wanted[topic] {
		h.give(to, m)
	}
	return m.At, nil
}

// After implements [Log].
func (o *memoryLogOf) After(ctx context.Context, topic string, p Position) (Page, error) {
	if badTopic(topic) {
		return Page{}, errTopic(topic)
	}
	h := o.l.h
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := o.n.usable(ctx); err != nil {
		return Page{}, err
	}
	page := o.l.after(topic, p)
	page.Messages = slices.Clip(page.Messages)
	return page, nil
}

// Interest implements [Log].
func (o *memoryLogOf) Interest(topic string, on bool) {
	if badTopic(topic) {
		return
	}
	h := o.l.h
	h.mu.Lock()
	defer h.mu.Unlock()
	topics := o.n.logs[o.l]
	if topics == nil {
		return // the node has ended
	}
	if on {
		topics[topic] = struct{}{}
	} else {
		delete(topics, topic)
	}
	o.l.wanted.set(topic, o.n, on)
}
