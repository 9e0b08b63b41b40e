package clustertest

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/polywire/polywire/cluster"
)

func topicChecks() []check {
	return []check{
		{name: "topics of any bytes", run: checkOddTopics},
		{name: "nothing in a topic has a meaning", run: checkWildcards},
		{name: "what is no topic", run: checkNoTopics},
	}
}

// oddTopics are all different, and some differ only in what engines like to
// take for something else.
func oddTopics() []string {
	topics := []string{
		".", "..", "a.", ".a", "a..b", "a.b", "a.b.c", "a/b", "a:b", "a b", " ", "  ", " a", "a ", "\t", "\r\n", "a\r\nb",
		"*", "**", "a.*", "*.b", "a.*.c", ">", ">>", "a.>", "a.b.>", "$", "$SYS", "$SYS.>", "$JS.API.>", "_INBOX.>", "_",
		"#", "?", "%", "%2E", "%00", "\\", "\\x00", "=", "==", "-", "--", "+", "~", "\"", "'", "`", "{}", "[]", "()", "|", ";", ",", "@", "!",
		"\x00", "\x00\x00", "a\x00", "\x00a", "a\x00b", "\x7f", "é", "e\u0301", "日本語", "🙂", "\u200b", "\ufeff", "\xff", "\xff\xfe", "\xc3", "\xed\xa0\x80",
		"0", "00", "null", "true", "A", "aA", "Aa", "AA", "aa", "room/:chat", "ROOM/:chat",
	}
	for b := range 256 { // in two lengths
		topics = append(topics, string([]byte{byte(b)}), string([]byte{'z', byte(b), 'z'}))
	}
	for n := 500; n <= cluster.MaxTopicBytes; n++ {
		topics = append(topics, strings.Repeat("a", n))
	}
	n := cluster.MaxTopicBytes
	topics = append(topics, strings.Repeat(".", n), strings.Repeat("\xff", n), strings.Repeat("*", n), strings.Repeat(" ", n),
		strings.Repeat("x", n-1)+"y", "y"+strings.Repeat("x", n-1))
	slices.Sort(topics)
	return slices.Compact(topics)
}

// checkOddTopics: each topic is its own, and comes as it was.
func checkOddTopics(t *trial) {
	nodes := t.joinAll("a", "b", "c")
	a, even, odd := nodes[0], nodes[1], nodes[2]
	topics := oddTopics()
	want := make([][]string, 2)
	for i, topic := range topics {
		nodes[1+i%2].bus.Interest(topic, true)
		want[i%2] = append(want[i%2], topic)
	}
	even.sync()
	odd.sync()
	for _, topic := range topics {
		a.publish(topic, topic)
	}
	a.flush(even, odd)
	for i, n := range nodes[1:] {
		n.has(want[i]...)
		for _, m := range n.messages() {
			if m.Topic != string(m.Data) {
				t.Fatalf("topic %q came as %q", m.Data, m.Topic)
			}
		}
	}
	for i, topic := range topics { // all off again
		nodes[1+i%2].bus.Interest(topic, false)
	}
	even.sync()
	odd.sync()
	for _, topic := range topics {
		a.publish(topic, topic)
	}
	a.flush(even, odd)
	even.has(want[0]...)
	odd.has(want[1]...)
}

// checkWildcards: who wants "a.*" wants that, not "a.b".
func checkWildcards(t *trial) {
	nodes := t.joinAll("a", "b", "c")
	a, wild, plain := nodes[0], nodes[1], nodes[2]
	wilds := []string{"*", ">", "a.*", "a.>", "*.*", "a*", "a?", "%", "", ".", "#", "+", "a/+", "a/#", "[a-z]", "*.>"}
	plains := []string{"a", "b", "a.b", "a.b.c", "ab", "a/b", "a/b/c"}
	wilds = slices.DeleteFunc(wilds, func(s string) bool { return s == "" })
	wild.wants(wilds...)
	plain.wants(plains...)
	for _, topic := range plains {
		a.publish(topic, topic)
	}
	for _, topic := range wilds {
		a.publish(topic, topic)
	}
	a.flush(wild, plain)
	wild.has(wilds...)
	plain.has(plains...)
}

// checkNoTopics: an empty or too long one is refused, or ignored by Interest.
func checkNoTopics(t *trial) {
	nodes := t.joinAll("a", "b")
	a, b := nodes[0], nodes[1]
	b.wants("topic")
	for _, bad := range []string{"", strings.Repeat("x", cluster.MaxTopicBytes+1), strings.Repeat("x", 1<<16)} {
		b.bus.Interest(bad, true)
		b.bus.Interest(bad, false)
		for _, topics := range [][]string{{bad}, {"topic", bad}, {bad, "topic"}} {
			t.refuses(fmt.Sprintf("Publish with a topic of %d bytes", len(bad)), a.bus.Publish(t.patient(), topics, []byte("bad")))
		}
	}
	b.sync()
	a.publish("good", "topic")
	a.flush(b)
	b.has("good")
}

// refuses checks for an error that is the caller's fault, and not the engine's.
func (t *trial) refuses(what string, err error) {
	t.Helper()
	switch {
	case err == nil:
		t.Errorf("%s: no error", what)
	case errors.Is(err, cluster.ErrUnavailable), errors.Is(err, cluster.ErrClosed), errors.Is(err, cluster.ErrTooLarge):
		t.Errorf("%s: %v, which says something else", what, err)
	}
}
