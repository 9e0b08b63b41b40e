package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/cmd/polywire/internal/cli"
	"github.com/polywire/polywire/internal/rabbittest"
	"github.com/polywire/polywire/queue"
)

// put calls a kind that goes to a queue and returns the answer.
func put(t *testing.T, url, kind, payload string) taken {
	t.Helper()
	out, _, err := run(t, "", "call", kind, payload, "--url", url, "--timeout", patience.String())
	if err != nil {
		t.Fatal(err)
	}
	var a taken
	if err := json.Unmarshal([]byte(out), &a); err != nil || a.ID == "" {
		t.Fatalf("%s: %v", out, err)
	}
	return a
}

// heard returns the next message that a subscriber prints.
func heard(t *testing.T, sub *process) (m arrived) {
	t.Helper()
	if err := json.Unmarshal([]byte(sub.line()), &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// listener subscribes to a room of a server, and returns when it is in it.
func listener(t *testing.T, url, room string) *process {
	t.Helper()
	sub := background(t, "sub", room, "--url", url)
	eventually(t, "somebody is in "+room, func() bool { return len(members(t, url, room)) == 1 })
	return sub
}

// throughQueue shows the rules at work: from a call to a queue to a room.
func throughQueue(t *testing.T, url string) {
	t.Helper()
	sub := listener(t, url, "feed:1")
	if a := put(t, url, "order.new", `{"n": 1}`); a.Queue != "orders" {
		t.Errorf("it went to %+v", a)
	}
	if m := heard(t, sub); m.Room != "feed:1" || m.Kind != "order.new" || string(m.Payload) != `{"n": 1}` && string(m.Payload) != `{"n":1}` {
		t.Errorf("the room got %+v", m)
	}
	put(t, url, "note", `"hi"`)
	if m := heard(t, sub); m.Kind != "news" || string(m.Payload) != `"hi"` {
		t.Errorf("the room got %+v", m)
	}
	for _, kind := range []string{"order", "orders", "notes"} { // in no rule
		if _, _, err := run(t, "", "call", kind, "1", "--url", url); err == nil || !strings.Contains(err.Error(), "not_found") {
			t.Errorf("%s: %v", kind, err)
		}
	}
	sub.end()
}

var throughRules = []string{
	"--queue-in", "order.*=orders", "--queue-out", "orders=feed:1",
	"--queue-in", "note=notes", "--queue-out", "notes=feed:1,kind=news,concurrency=2",
}

func serveQueues(t *testing.T, args ...string) *process {
	t.Helper()
	return background(t, append([]string{"serve", "--listen", "127.0.0.1:0"}, args...)...)
}

// In a cluster of three a queue is on a majority: any server takes messages for
// it, also when one is gone, and what a server takes from it goes to the members
// of all.
func TestServeQueuesCluster(t *testing.T) {
	at := strings.Join([]string{freeAddress(t), freeAddress(t), freeAddress(t)}, ",")
	var servers []*process
	for own := range strings.SplitSeq(at, ",") {
		servers = append(servers, serveQueues(t, "--queue-in", "order.*=orders", "--queue-out", "orders=feed",
			"--queue-wait", "25s", // for elections on a busy machine
			"--data-dir", t.TempDir(), "--no-sync", "--cluster-listen", own, "--cluster-peers", at))
	}
	var urls []string
	for _, p := range servers {
		urls = append(urls, last(p.line()))
		p.logs("joined the cluster")
	}
	sub := background(t, "sub", "feed", "--url", urls[2])
	eventually(t, "the others know who is in the room", func() bool {
		return len(members(t, urls[0], "feed")) == 1 && len(members(t, urls[1], "feed")) == 1
	})
	send := func(from int, via ...string) {
		want := make(map[string]bool)
		for i := range 6 {
			text := strconv.Itoa(from + i)
			put(t, via[i%len(via)], "order.new", text)
			want[text] = true
		}
		for len(want) > 0 { // what comes twice is not waited for
			delete(want, string(heard(t, sub).Payload))
		}
	}
	send(0, urls...)
	servers[0].end()
	send(6, urls[1:]...)
	sub.end()
}

// What a queue has accepted is there after a restart, and what was sent is not
// sent again.
func TestServeQueues(t *testing.T) {
	dir := t.TempDir()
	p := serveQueues(t, append(throughRules, "--data-dir", dir, "--no-sync")...)
	url := last(p.line())
	throughQueue(t, url)
	p.end()

	p = serveQueues(t, "--data-dir", dir, "--no-sync", "--queue-in", "order.*=orders")
	url = last(p.line())
	for i := range 5 {
		put(t, url, "order.kept", fmt.Sprintf(`{"n":%d}`, i))
	}
	p.end()

	p = serveQueues(t, "--data-dir", dir, "--no-sync", "--queue-out", "orders=feed,ordered,reach")
	sub := listener(t, last(p.line()), "feed")
	got := make(map[string]bool)
	for len(got) < 5 { // of five connections, so in any order
		m := heard(t, sub)
		if m.Kind != "order.kept" {
			t.Errorf("the room got %+v", m)
		}
		got[string(m.Payload)] = true
	}
	for i := range 5 {
		if text := fmt.Sprintf(`{"n":%d}`, i); !got[text] {
			t.Errorf("%s was lost: %v", text, got)
		}
	}
}

// Without its broker a server starts when it may, tells senders so, and goes
// on when the broker comes.
func TestServeQueuesRabbitMQ(t *testing.T) {
	t.Parallel() // it waits for brokers
	b := rabbittest.Absent(t)
	_, _, err := run(t, "", append([]string{"serve", "--listen", "127.0.0.1:0", "--amqp", b.URL()}, throughRules...)...)
	if err == nil || !strings.Contains(err.Error(), "queues: ") || strings.Contains(err.Error(), "guest:guest") {
		t.Errorf("without the broker: %v", err)
	}
	p := serveQueues(t, append(throughRules, "--amqp", b.URL(), "--amqp-optional", "--queue-wait", "100ms")...)
	url := last(p.line())
	_, _, err = run(t, "", "call", "order.new", "1", "--url", url)
	if err == nil || !strings.Contains(err.Error(), string(polywire.CodeUnavailable)) || !strings.Contains(err.Error(), "may be queued or not") {
		t.Errorf("without the broker: %v", err)
	}
	b.Start(t)
	sub := listener(t, url, "feed:1")
	tries := 0
	eventually(t, "the queue takes messages", func() bool {
		tries++
		_, _, err := run(t, "", "call", "order.new", fmt.Sprintf(`"try %d"`, tries), "--url", url)
		return err == nil
	})
	// Whether those came of which nobody knew or not, this one does, after them:
	// nothing is left for the next server.
	for last := fmt.Sprintf(`"try %d"`, tries); ; {
		m := heard(t, sub)
		if m.Kind != "order.new" {
			t.Errorf("the room got %+v", m)
		}
		if string(m.Payload) == last {
			break
		}
	}
	sub.end()
	p.end()

	byVariable := startProgram(t, []string{cli.EnvAMQP + "=" + b.URL()}, append([]string{"serve", "--listen", "127.0.0.1:0"}, throughRules...)...)
	throughQueue(t, last(byVariable.line()))
}

func TestServeQueuesRefusals(t *testing.T) {
	p := serveQueues(t, "--queue-in", "order.*=orders", "--data-dir", t.TempDir(), "--no-sync", "--max-message-bytes", "4000000")
	url := last(p.line())
	long := strings.Repeat("k", queue.MaxKeyBytes)
	for _, c := range []struct{ kind, payload, want string }{
		{"order." + long, "1", "bad_request: "},
		{"order.big", `"` + strings.Repeat("x", 3_000_000) + `"`, "too_large: "},
	} {
		if _, _, err := run(t, "", "call", c.kind, c.payload, "--url", url); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.20s %.20s: %v, want %q", c.kind, c.payload, err, c.want)
		}
	}
}

func TestServeWrongQueues(t *testing.T) {
	in := func(rule string) []string { return []string{"--data-dir", "x", "--queue-in", rule} }
	out := func(rule string) []string { return []string{"--data-dir", "x", "--queue-out", rule} }
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--queue-in", "a=b"}, "--data-dir, --nats or --amqp"},
		{[]string{"--queue-in", "a=b", "--amqp-optional", "--data-dir", "x"}, "is for --amqp"},
		{[]string{"--amqp", "amqp://x"}, "--queue-in and --queue-out say which"},
		{[]string{"--queue-in", "a=b", "--amqp", "http://me:secret@x"}, "amqp://user:password@host"},
		{append(in("a=b"), "--queue-replicas", "2"), "want 0, 1, 3 or 5"},
		{append(in("a=b"), "--queue-wait", "0s"), "more than nothing"},
		{in("a"), "want kind=queue"},
		{in("a="), "queue name"},
		{in("=b"), "needs a name"},
		{in("a*b=c"), "may only stand at the end"},
		{in("echo=c"), "registered twice"},
		{append(in("a=b"), "--queue-in", "a=c"), "registered twice"},
		{out("a"), "want queue=room"},
		{out("=b"), "queue name"},
		{out("a="), "room's name"},
		{out("a=" + strings.Repeat("r", 256)), "room's name"},
		{out("a=b,kind="), "want a name"},
		{out("a=b,kind"), "want a name"},
		{out("a=b,concurrency=0"), "want 1 to 1000"},
		{out("a=b,concurrency=many"), "want 1 to 1000"},
		{out("a=b,ordered=yes"), "has no value"},
		{out("a=b,c"), "want kind=NAME, reach, ordered or"},
		{append(out("a=b"), "--queue-out", "a=c"), "already"},
		{[]string{"--nats-listen", "127.0.0.1:0", "--nats", "nats://x"}, "use one or the other"},
		{[]string{"--nats-listen", ":4222"}, cli.EnvNATSToken},
	} {
		_, _, err := run(t, "", append([]string{"serve", "--listen", "127.0.0.1:0"}, c.args...)...)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("polywire serve %s: %v, want %q", strings.Join(c.args, " "), err, c.want)
		}
	}
}

func TestParseSend(t *testing.T) {
	for text, want := range map[string]sendRule{
		"a=b":                              {queue: "a", room: "b"},
		"a=chat:1":                         {queue: "a", room: "chat:1"},
		"a=b=c,kind=d=e":                   {queue: "a", room: "b=c", kind: "d=e"},
		"a=b,reach":                        {queue: "a", room: "b", reach: true},
		"a=b,ordered,concurrency=9,kind=k": {queue: "a", room: "b", kind: "k", options: queue.HandleOptions{Ordered: true, Concurrency: 9}},
	} {
		want.options.MaxAttempts, want.options.Prefetch = -1, 64
		want.options.Backoff = queue.Backoff{Min: 500 * time.Millisecond, Max: 10 * time.Second}
		pairs, err := splitSend(text)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := buildSend(pairs); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
}
