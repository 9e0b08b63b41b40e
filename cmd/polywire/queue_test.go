package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/polywire/polywire/cmd/polywire/internal/cli"
	"github.com/polywire/polywire/cmd/polywire/internal/queuecmd"
	"github.com/polywire/polywire/internal/rabbittest"
	"github.com/polywire/polywire/natsembed"
	"github.com/polywire/polywire/queue"
	"github.com/polywire/polywire/queue/jetstream"
	"github.com/polywire/polywire/queue/rabbitmq"
)

// place is where a test's queues are.
type place struct {
	t     *testing.T
	flags []string
	open  func() (queue.Driver, error)
	shows bool // messages that wait
}

func natsPlace(t *testing.T) *place {
	t.Helper()
	n, err := natsembed.Start(t.Context(), natsembed.Options{Dir: t.TempDir(), Listen: "127.0.0.1:0", NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := n.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	return &place{t: t, flags: []string{"--nats", n.ClientURL()}, shows: true, open: func() (queue.Driver, error) {
		return jetstream.New(t.Context(), jetstream.Options{Connect: n.Connect})
	}}
}

func rabbitPlace(t *testing.T) *place {
	t.Helper()
	b := rabbittest.Start(t)
	return &place{t: t, flags: []string{"--amqp", b.URL()}, open: func() (queue.Driver, error) {
		return rabbitmq.New(t.Context(), rabbitmq.Options{URLs: []string{b.URL()}})
	}}
}

// run runs `polywire queue` and returns what it printed.
func (p *place) run(stdin string, args ...string) (stdout, stderr string, err error) {
	p.t.Helper()
	return run(p.t, stdin, append(append([]string{"queue"}, args...), p.flags...)...)
}

// must is run, and all is well.
func (p *place) must(args ...string) string {
	p.t.Helper()
	out, errOut, err := p.run("", args...)
	if err != nil {
		p.t.Fatalf("polywire queue %s: %v\n%s", strings.Join(args, " "), err, errOut)
	}
	return out
}

// answer is must with --json, into v.
func (p *place) answer(v any, args ...string) {
	p.t.Helper()
	out := p.must(append(args, "--json")...)
	in := json.NewDecoder(strings.NewReader(out))
	in.DisallowUnknownFields()
	if err := in.Decode(v); err != nil {
		p.t.Fatalf("polywire queue %s: %v in %s", strings.Join(args, " "), err, out)
	}
}

// depth is a line of `ls --json`.
func (p *place) depth(name string) (q queuecmd.Listed) {
	p.t.Helper()
	var found []queuecmd.Listed
	p.answer(&found, "ls", name)
	if len(found) != 1 || found[0].Queue != name || found[0].Waiting == nil || found[0].Dead == nil {
		p.t.Fatalf("ls: %+v", found)
	}
	return found[0]
}

// awaits waits until a queue has so much; RabbitMQ counts a moment later.
func (p *place) awaits(name string, waiting, dead int64) {
	p.t.Helper()
	eventually(p.t, fmt.Sprintf("%s has %d waiting and %d dead", name, waiting, dead), func() bool {
		q := p.depth(name)
		return *q.Waiting == waiting && *q.Dead == dead
	})
}

// kills makes dead letters of what waits in a queue.
func (p *place) kills(name string, n int64) {
	p.t.Helper()
	d, err := p.open()
	if err != nil {
		p.t.Fatal(err)
	}
	b, err := queue.New(d, queue.Options{})
	if err != nil {
		p.t.Fatal(err)
	}
	defer b.Close()
	err = b.Handle(name, func(_ context.Context, d *queue.Delivery) error {
		return queue.Discard(fmt.Errorf("no such thing as %s", d.Payload.Data))
	}, queue.HandleOptions{})
	if err != nil {
		p.t.Fatal(err)
	}
	eventually(p.t, "all are dead", func() bool {
		depth, err := b.Inspect(p.t.Context(), name)
		return err == nil && depth.Dead == n
	})
}

func TestQueueJetStream(t *testing.T) { commands(t, natsPlace(t)) }
func TestQueueRabbitMQ(t *testing.T)  { t.Parallel(); commands(t, rabbitPlace(t)) }

// commands goes through all of them.
func commands(t *testing.T, p *place) {
	id := strings.TrimSpace(p.must("publish", "orders", `{"n": 1}`, "--kind", "order.new", "--key", "k", "--header", "h=v"))
	if len(id) != 36 {
		t.Errorf("publish printed %q", id)
	}
	var put taken
	if p.answer(&put, "publish", "orders", "2", "--id", "two"); put != (taken{"orders", "two"}) {
		t.Errorf("publish: %+v", put)
	}
	if out, _, err := p.run("\"a\"\n\n\"b\"\n", "publish", "orders", "--lines", "--id", "l", "--kind", "line"); err != nil || out != "2 published\n" {
		t.Errorf("publish --lines: %q, %v", out, err)
	}
	p.must("publish", "orders", "later", "--type", "text/plain", "--delay", "1h")
	p.awaits("orders", 4, 0)
	tails(t, p, id)

	p.kills("orders", 4)
	p.awaits("orders", 0, 4)
	letters(t, p, id)
	replays(t, p)
	purges(t, p)
}

func tails(t *testing.T, p *place, id string) {
	t.Helper()
	out := p.must("tail", "orders", "--json")
	if !p.shows {
		var d queuecmd.DepthLine
		if err := json.Unmarshal([]byte(out), &d); err != nil || d.Waiting != 4 || d.Dead != 0 || d.Queue != "orders" || d.Time.IsZero() {
			t.Errorf("tail: %s, %v", out, err)
		}
		if out := p.must("tail", "orders"); !strings.Contains(out, "orders: 4 waiting, 0 dead") {
			t.Errorf("tail: %s", out)
		}
		return
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	var first queuecmd.Shown
	if err := json.Unmarshal([]byte(lines[0]), &first); err != nil || len(lines) != 4 {
		t.Fatalf("tail: %s, %v", out, err)
	}
	if first.ID != id || first.Kind != "order.new" || first.Key != "k" || first.Headers["h"] != "v" || string(first.Payload) != `{"n":1}` || first.Published == nil {
		t.Errorf("tail: %+v", first)
	}
	if out := p.must("tail", "orders", "-n", "1"); !strings.HasSuffix(out, id+` order.new key=k {"n":1}`+"\n") {
		t.Errorf("tail: %s", out)
	}
	if q := p.depth("orders"); *q.Waiting != 4 || *q.Delayed != 1 || q.Oldest == nil {
		t.Errorf("tail took something: %+v", q)
	}
}

func letters(t *testing.T, p *place, id string) {
	t.Helper()
	var page queuecmd.DeadPage
	p.answer(&page, "dead", "ls", "orders")
	if len(page.Letters) != 4 || page.Next != "" {
		t.Fatalf("dead ls: %+v", page)
	}
	for _, l := range page.Letters {
		if l.Reason != queue.ReasonDiscarded || l.Died == nil || !strings.Contains(l.LastError, "no such thing") || l.Attempts != 1 {
			t.Errorf("dead ls: %+v", l)
		}
	}
	for _, c := range []struct {
		filter []string
		want   int
	}{
		{[]string{"--kind", "line"}, 2},
		{[]string{"--error", "thing as 2"}, 1},
		{[]string{"--key", "k", "--reason", "discarded", "--since", "1h"}, 1},
		{[]string{"--reason", "attempts"}, 0},
		{[]string{"--until", "1h"}, 0},
		{[]string{"--since", "2020-01-02T15:04:05Z", "--until", "2999-01-02T15:04:05Z"}, 4},
	} {
		page = queuecmd.DeadPage{}
		if p.answer(&page, append([]string{"dead", "ls", "orders"}, c.filter...)...); len(page.Letters) != c.want {
			t.Errorf("dead ls %v: %d letters, want %d", c.filter, len(page.Letters), c.want)
		}
	}
	first := queuecmd.DeadPage{}
	p.answer(&first, "dead", "ls", "orders", "-n", "3")
	rest := queuecmd.DeadPage{}
	if p.answer(&rest, "dead", "ls", "orders", "--after", first.Next); len(first.Letters) != 3 || len(rest.Letters) != 1 || rest.Letters[0].ID == first.Letters[2].ID {
		t.Errorf("pages: %+v, %+v", first, rest)
	}
	out, errOut, err := p.run("", "dead", "ls", "orders", "-n", "1")
	if err != nil || strings.Count(out, "\n") != 1 || !strings.Contains(out, ` discarded attempts=1 error="no such thing`) || !strings.Contains(errOut, "--after ") {
		t.Errorf("dead ls: %q %q %v", out, errOut, err)
	}
	var letter queuecmd.Shown
	if p.answer(&letter, "dead", "read", "orders", id); letter.ID != id || letter.Stack == "" || string(letter.Payload) != `{"n":1}` || letter.Headers["h"] != "v" {
		t.Errorf("dead read: %+v", letter)
	}
	if out := p.must("dead", "read", "orders", id); !strings.Contains(out, "id         "+id+"\n") || !strings.Contains(out, "header     h=v\n") || !strings.Contains(out, "\n  ") {
		t.Errorf("dead read: %s", out)
	}
}

func replays(t *testing.T, p *place) {
	t.Helper()
	var w queuecmd.Worked
	if p.answer(&w, "replay", "orders", "two"); w.Queue != "orders" || w.Done != "replayed" || *w.Count != 1 {
		t.Errorf("replay: %+v", w)
	}
	p.awaits("orders", 1, 3)
	start := time.Now()
	if out := p.must("replay", "orders", "--kind", "line", "--rate", "5"); out != "2 replayed\n" || time.Since(start) < 200*time.Millisecond {
		t.Errorf("replay: %q after %v", out, time.Since(start))
	}
	p.awaits("orders", 3, 1)
	out, _, err := p.run("", "replay", "orders", "two", "nobody")
	if !errors.Is(err, queue.ErrNotFound) || exitCode(err) != 2 || out != "0 replayed\n" {
		t.Errorf("replay of what is not there: %q, %v", out, err)
	}
	if out := p.must("replay", "orders", "--all", "--limit", "5"); out != "1 replayed\n" {
		t.Errorf("replay: %q", out)
	}
	p.awaits("orders", 4, 0)
}

func purges(t *testing.T, p *place) {
	t.Helper()
	for _, answer := range []string{"", "n\n", "what?\n"} {
		out, asked, err := p.run(answer, "purge", "orders")
		if err == nil || !strings.Contains(err.Error(), "nothing was removed") || out != "" || !strings.Contains(asked, "messages that wait of queue orders for good? [y/N]") {
			t.Errorf("purge with the answer %q: %q %q %v", answer, out, asked, err)
		}
	}
	p.awaits("orders", 4, 0)
	out, _, err := p.run("Yes\n", "purge", "orders")
	if err != nil || out != "5 purged\n" {
		t.Errorf("purge: %q, %v", out, err)
	}
	p.awaits("orders", 0, 0)
	p.must("publish", "orders", "1", "--id", "p1", "--kind", "x")
	p.must("publish", "orders", "2", "--id", "p2")
	p.must("publish", "orders", "3", "--id", "p3")
	p.kills("orders", 3)
	var w queuecmd.Worked
	if p.answer(&w, "purge", "orders", "p2", "--dead", "--yes"); w.Done != "purged" || *w.Count != 1 {
		t.Errorf("purge: %+v", w)
	}
	if out, asked, err := p.run("y", "purge", "orders", "--dead", "--kind", "x"); err != nil || out != "1 purged\n" || !strings.Contains(asked, "that were picked") {
		t.Errorf("purge: %q %q %v", out, asked, err)
	}
	if out, asked, err := p.run("y\n", "purge", "orders", "--dead"); err != nil || out != "1 purged\n" || !strings.Contains(asked, "all 1 dead letters") {
		t.Errorf("purge: %q %q %v", out, asked, err)
	}
	if _, errOut, err := p.run("", "dead", "ls", "orders"); err != nil || errOut != "no dead letters\n" {
		t.Errorf("dead ls: %q %v", errOut, err)
	}
	for _, args := range [][]string{
		{"ls", "nope"}, {"tail", "nope"}, {"dead", "ls", "nope"}, {"dead", "read", "nope", "1"}, {"dead", "read", "orders", "1"},
		{"replay", "nope", "--all"}, {"replay", "nope", "1"}, {"purge", "nope", "--yes"}, {"purge", "nope", "--dead", "--yes"}, {"purge", "nope"},
	} {
		if _, _, err := p.run("", args...); err == nil || exitCode(err) != 2 {
			t.Errorf("%v: %v", args, err)
		}
	}
}

func TestQueueLs(t *testing.T) {
	p := natsPlace(t)
	if out := p.must("ls"); out != "" {
		t.Errorf("without queues: %q", out)
	}
	if out := p.must("ls", "--json"); out != "[]\n" {
		t.Errorf("without queues: %q", out)
	}
	p.must("publish", "b", "1")
	p.must("publish", "a b", "1", "--delay", "1h")
	out := p.must("ls")
	lines := strings.Split(out, "\n")
	if len(lines) != 4 || strings.Fields(lines[0])[0] != "QUEUE" || !strings.HasPrefix(lines[1], "a b ") || strings.Join(strings.Fields(lines[2])[:5], " ") != "b 1 0 0 0" {
		t.Errorf("ls:\n%s", out)
	}
	out, _, err := p.run("", "ls", "b", "c", "d", "--json")
	if exitCode(err) != 2 || !strings.Contains(err.Error(), `"c"`) || !strings.Contains(err.Error(), `"d"`) || !strings.Contains(out, `"queue":"b"`) {
		t.Errorf("ls of some: %q, %v", out, err)
	}
	if out := p.must("ls", "--prefix", "other"); out != "" {
		t.Errorf("of another prefix: %q", out)
	}
}

// What follows is shown once each, and goes to workers all the same.
func TestQueueTailFollow(t *testing.T) {
	p := natsPlace(t)
	p.must("publish", "orders", "1", "--id", "one")
	tail := background(t, append([]string{"queue", "tail", "orders", "--follow", "--json"}, p.flags...)...)
	next := func(want string) {
		t.Helper()
		var s queuecmd.Shown
		if err := json.Unmarshal([]byte(tail.line()), &s); err != nil || s.ID != want {
			t.Errorf("tail shows %+v, %v, want %s", s, err, want)
		}
	}
	next("one")
	p.must("publish", "orders", "2", "--id", "two")
	next("two")
	p.must("publish", "orders", "3", "--id", "three", "--delay", "1h")
	next("three")
	p.kills("orders", 2)
	p.must("replay", "orders", "two")
	next("two")
	tail.end()
}

// A directory can be looked into while its server does not run.
func TestQueueDataDir(t *testing.T) {
	dir := t.TempDir()
	serve := background(t, "serve", "--listen", "127.0.0.1:0", "--data-dir", dir, "--no-sync", "--queue-in", "order=orders")
	put(t, last(serve.line()), "order", `{"n":1}`)
	_, _, err := run(t, "", "queue", "ls", "--data-dir", dir)
	if !errors.Is(err, natsembed.ErrInUse) || !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) || !strings.Contains(err.Error(), "--nats-listen") {
		t.Errorf("while the server runs: %v", err)
	}
	serve.end()
	out, _, err := run(t, "", "queue", "tail", "orders", "--data-dir", dir)
	if err != nil || !strings.HasSuffix(out, `{"n":1}`+"\n") {
		t.Errorf("tail: %q, %v", out, err)
	}
	serve = background(t, "serve", "--listen", "127.0.0.1:0", "--data-dir", dir, "--no-sync", "--nats-listen", "127.0.0.1:0")
	serve.line()
	serve.logs("other programs reach the NATS inside")
	serve.mu.Lock()
	_, at, _ := strings.Cut(serve.log.String(), "the NATS inside\" at=")
	serve.mu.Unlock()
	at, _, _ = strings.Cut(at, "\n")
	if out, _, err := run(t, "", "queue", "purge", "orders", "--yes", "--nats", at); err != nil || out != "1 purged\n" {
		t.Errorf("purge: %q, %v", out, err)
	}
}

func TestQueueWrongInput(t *testing.T) {
	t.Setenv(cli.EnvNATS, "nats://127.0.0.1:1")
	t.Setenv(cli.EnvAMQP, "")
	for _, c := range []struct {
		args  string
		stdin string
		want  string
	}{
		{"sl", "", `unknown command "sl"`},
		{"dead sl", "", `unknown command "sl"`},
		{"ls --nats nats://a --amqp amqp://b", "", "use one"},
		{"ls --nats nats://a --data-dir b", "", "use one"},
		{"ls --data-dir /nowhere/at/all", "", "no server has kept anything there"},
		{"ls --data-dir x --nats-creds y", "", "--nats-creds is for --nats"},
		{"ls --timeout 0s", "", "more than nothing"},
		{"ls --timeout 100ms", "", "not available"},
		{"ls --amqp http://me:secret@a", "", "amqp://user:password@host"},
		{"ls --amqp amqp://me:secret@127.0.0.1:1 --timeout 300ms", "", "not available"},
		{"ls --nats nats://a --prefix a.b", "", "prefix"},
		{"ls \x01", "", "queue name"},
		{"publish", "", "QUEUE is missing"},
		{"publish q {", "", "the payload is not JSON"},
		{"publish q", "{", "the payload is not JSON"},
		{"publish \x01 1", "", "queue name"},
		{"publish q 1 --delay 1h --at 2030-01-02T15:04:05Z", "", "use one"},
		{"publish q 1 --at tomorrow", "", "want a time like 20"},
		{"publish q 1 --delay -1h", "", "from now on"},
		{"publish q 1 --header x", "", "want name=value"},
		{"publish q 1 --lines", "", "from standard input"},
		{"publish q 1 --timeout 100ms", "", "not available"},
		{"tail", "", "QUEUE is missing"},
		{"tail \x01", "", "queue name"},
		{"tail q --limit -1", "", "0 or more"},
		{"tail q --follow --data-dir x", "", "nobody publishes"},
		{"dead ls", "", "QUEUE is missing"},
		{"dead ls q --limit 0", "", "want 1 to 1000"},
		{"dead ls q --reason boredom", "", "want discarded, attempts, lost or broker"},
		{"dead ls q --since yesterday", "", "how long ago"},
		{"dead ls q --until -5m", "", "how long ago"},
		{"dead read q", "", "ID is missing"},
		{"dead read \x01 i", "", "queue name"},
		{"replay q", "", "which ones?"},
		{"replay q i --all", "", "no ids and no filters"},
		{"replay q --all --rate -1", "", "0 or more"},
		{"replay q --all --rate NaN", "", "0 or more"},
		{"replay q --all --limit -1", "", "0 or more"},
		{"replay q --reason x", "", "want discarded"},
		{"purge", "", "QUEUE is missing"},
		{"purge q i", "", "say --dead"},
		{"purge q --kind k", "", "say --dead"},
		{"purge q --dead --since x", "", "how long ago"},
	} {
		_, _, err := run(t, c.stdin, append([]string{"queue"}, strings.Fields(c.args)...)...)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") || exitCode(err) != 1 {
			t.Errorf("polywire queue %s: %v, want %q", c.args, err, c.want)
		}
	}
	t.Setenv(cli.EnvAMQP, "amqp://x")
	if _, _, err := run(t, "", "queue", "ls"); err == nil || !strings.Contains(err.Error(), "say --nats or --amqp") {
		t.Errorf("with both variables: %v", err)
	}
	t.Setenv(cli.EnvAMQP, "")
	t.Setenv(cli.EnvNATS, "")
	if _, _, err := run(t, "", "queue", "ls"); err == nil || !strings.Contains(err.Error(), "where are the queues?") {
		t.Errorf("without a place: %v", err)
	}
}

// Lines that are no JSON, or not taken, end it, and what was published is counted.
func TestQueuePublishLines(t *testing.T) {
	p := natsPlace(t)
	out, _, err := p.run("1\n2\n{\n3\n", "publish", "q", "--lines", "--json")
	if err == nil || !strings.Contains(err.Error(), "line 3 is not JSON") || !strings.Contains(err.Error(), "before: 2") || out != `{"queue":"q","published":2}`+"\n" {
		t.Errorf("a bad line: %q, %v", out, err)
	}
	if out, _, err := p.run(strings.Repeat("x y\n", 1200), "publish", "q", "--lines", "--type", "text/plain"); err != nil || out != "1200 published\n" {
		t.Errorf("lines of text: %q, %v", out, err)
	}
	_, _, err = p.run("1\n\""+strings.Repeat("x", 3<<20)+"\"\n", "publish", "q", "--lines")
	if !errors.Is(err, queue.ErrTooLarge) || !strings.Contains(err.Error(), "before: 1") {
		t.Errorf("a large line: %v", err)
	}
	p.awaits("q", 1203, 0)
}

// What is interrupted is not done, and says how far it came.
func TestQueueInterrupted(t *testing.T) {
	const letters = 10
	p := natsPlace(t)
	for id := range letters {
		p.must("publish", "q", fmt.Sprint(id), "--id", fmt.Sprint(id))
	}
	p.kills("q", letters)
	interrupted := func(when func(), args ...string) (string, error) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		root := newRoot()
		var out bytes.Buffer
		root.SetArgs(append([]string{"queue"}, args...))
		root.SetOut(&out)
		root.SetErr(t.Output())
		over := make(chan error, 1)
		go func() { over <- root.ExecuteContext(ctx) }()
		when()
		cancel()
		err := <-over
		if err == nil || !strings.Contains(err.Error(), "interrupted: ") || errors.Is(err, context.Canceled) {
			t.Errorf("%v: %v", args, err)
		}
		return out.String(), err
	}
	mute, err := net.Listen("tcp", "127.0.0.1:0") // says nothing to who comes
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	interrupted(func() {
		if c, err := mute.Accept(); err != nil {
			t.Error(err)
		} else {
			t.Cleanup(func() { _ = c.Close() })
		}
	}, "publish", "q", "1", "--id", "i", "--amqp", "amqp://"+mute.Addr().String(), "--timeout", "1m")

	// One letter is replayed each time. That it was is known when the walk goes
	// on, which may be a moment after others see it.
	known := false
	for n := int64(1); n <= letters && !known; n++ {
		out, err := interrupted(func() { p.awaits("q", n, letters-n) },
			append([]string{"replay", "q", "--all", "--rate", "0.001", "--json"}, p.flags...)...)
		known = strings.Contains(fmt.Sprint(err), "interrupted: 1 replayed")
		if want := fmt.Sprintf(`{"queue":"q","done":"replayed","count":%d}`+"\n", map[bool]int{true: 1}[known]); out != want {
			t.Errorf("it printed %q, want %q; %v", out, want, err)
		}
	}
	if !known {
		t.Error("it never knows how far it came")
	}
}
