package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/cluster"
	"github.com/polywire/polywire/cmd/polywire/internal/cli"
	"github.com/polywire/polywire/internal/testenv"
	"github.com/polywire/polywire/natsembed"
)

const patience = 2 * time.Minute

// process is a command that runs in the background.
type process struct {
	t     *testing.T
	stop  context.CancelFunc
	over  chan struct{}
	err   error
	lines chan string // of standard output
	mu    sync.Mutex
	log   strings.Builder // standard error
}

// Write implements [io.Writer] for standard error.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.log.Write(b)
	return p.t.Output().Write(b)
}

// background runs a command until the test ends, or stop is called.
func background(t *testing.T, args ...string) *process {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	p := &process{t: t, stop: cancel, over: make(chan struct{}), lines: make(chan string, 100)}
	r, w := io.Pipe()
	c := newRoot()
	c.SetArgs(args)
	c.SetOut(w)
	c.SetErr(p)
	go func() {
		defer close(p.over)
		p.err = c.ExecuteContext(ctx)
		w.Close()
	}()
	go func() {
		defer close(p.lines)
		for in := bufio.NewScanner(r); in.Scan(); {
			p.lines <- in.Text()
		}
	}()
	t.Cleanup(func() {
		p.end()
		if p.err != nil && !errors.Is(p.err, context.Canceled) { // as main takes it
			t.Errorf("polywire %s: %v", strings.Join(args, " "), p.err)
		}
	})
	return p
}

func (p *process) end() {
	p.stop()
	<-p.over
	for range p.lines { // until its reader has ended
	}
}

// line returns the next line that the command prints.
func (p *process) line() string {
	p.t.Helper()
	select {
	case line, ok := <-p.lines:
		if !ok {
			p.t.Fatalf("it has ended: %v", p.err)
		}
		return line
	case <-time.After(patience):
		p.t.Fatal("it prints nothing")
		return ""
	}
}

// logs waits until the log has a text.
func (p *process) logs(text string) {
	p.t.Helper()
	eventually(p.t, "the log has "+text, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return strings.Contains(p.log.String(), text)
	})
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	end := time.Now().Add(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !f() {
		if time.Now().After(end) {
			t.Fatal("never: " + what)
		}
		<-tick.C
	}
}

// givenOut are the addresses that freeAddress has returned. Nobody may listen on
// one yet, so that the system would give it out again.
var givenOut sync.Map

// freeAddress is one that nobody has now, where outgoing connections take none.
func freeAddress(t *testing.T) string {
	t.Helper()
	for range 100 {
		for _, host := range []string{"127.77.77.78", "127.0.0.1"} { // the first where all of 127/8 is the loopback
			l, err := net.Listen("tcp", host+":0")
			if err != nil {
				continue
			}
			l.Close()
			address := l.Addr().String()
			if _, found := givenOut.LoadOrStore(address, true); !found {
				return address
			}
			break
		}
	}
	t.Fatal("no address on the loopback")
	return ""
}

// members asks a server who is in a room.
func members(t *testing.T, url, room string) (who []polywire.Presence) {
	t.Helper()
	out, _, err := run(t, "", "call", "presence", `"`+room+`"`, "--url", url)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(out), &who); err != nil || who == nil {
		t.Fatalf("%s: %v", out, err)
	}
	return who
}

// speakers shows that two servers are one: rooms, who is in them, and what the
// log says of it.
func speakers(t *testing.T, first, second *process, more func()) {
	t.Helper()
	a, b := last(first.line()), last(second.line())
	for _, p := range []*process{first, second} {
		p.logs("joined the cluster")
	}
	first.logs("name=nb")
	second.logs("name=na")
	meetInRoom(t, a, b, b)

	sub := background(t, "sub", "hall", "--url", a)
	eventually(t, "somebody is in the hall", func() bool { return len(members(t, b, "hall")) == 1 })
	visitor := background(t, "sub", "hall", "--url", b)
	var told arrived
	if err := json.Unmarshal([]byte(sub.line()), &told); err != nil || told.Kind != polywire.PresenceJoined || told.Room != "hall" {
		t.Errorf("told %+v, %v", told, err)
	}
	who := members(t, a, "hall")
	if len(who) != 2 || who[0].Node == who[1].Node || who[0].ID == who[1].ID {
		t.Errorf("in the hall: %+v", who)
	}
	visitor.logs("listening to hall") // others may see it before it knows
	visitor.end()
	if err := json.Unmarshal([]byte(sub.line()), &told); err != nil || told.Kind != polywire.PresenceLeft {
		t.Errorf("told %+v, %v", told, err)
	}
	more()
	second.end()
	first.logs("a server has left the cluster")
	if who := members(t, a, "hall"); len(who) != 1 {
		t.Errorf("in the hall: %+v", who)
	}
}

func TestServeClusterOfEmbedded(t *testing.T) {
	at := []string{freeAddress(t), freeAddress(t), freeAddress(t)}
	var servers []*process
	withVariables(t, map[string]string{secretVariable: "only ours"}, func() {
		for i, own := range at {
			servers = append(servers, background(t, "serve", "--listen", "127.0.0.1:0", "--allow", "publish", "--presence", "hall",
				"--node-name", "n"+string('a'+rune(i)), "--data-dir", t.TempDir(), "--cluster-listen", own, "--cluster-peers", strings.Join(at, ",")))
		}
		for _, p := range servers {
			p.logs("joined the cluster")
		}
	})
	t.Parallel() // it waits
	speakers(t, servers[0], servers[1], func() { servers[0].logs("name=nc") })
	servers[2].end()
	if testenv.Full() { // it takes NATS a quarter of a minute
		servers[0].logs("less than a majority")
	}
}

func TestServeWithNATSElsewhere(t *testing.T) {
	open := func(dir, listen string) *natsembed.Server {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		n, err := natsembed.Start(ctx, natsembed.Options{Dir: dir, Listen: listen, Auth: natsembed.Auth{User: "me", Password: "secret"}, NoSync: true})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	shut := func(n *natsembed.Server) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := n.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	}
	dir, address := t.TempDir(), freeAddress(t)
	n := open(dir, address)
	t.Cleanup(func() { shut(n) }) // when the servers have ended
	url := "nats://me:secret@" + address
	t.Setenv(cli.EnvNATS, url)
	first := background(t, "serve", "--listen", "127.0.0.1:0", "--allow", "publish", "--presence", "hall", "--node-name", "na")
	second := background(t, "serve", "--listen", "127.0.0.1:0", "--allow", "publish", "--presence", "hall", "--nats", url, "--node-name", "nb")
	speakers(t, first, second, func() {
		shut(n)
		first.logs("the cluster cannot be reached")
		n = open(dir, address)
		first.logs("the cluster is back")
		second.logs("the cluster is back") // so that it can say goodbye
	})
}

func TestServeWrongClusters(t *testing.T) {
	other := "198.51.100.1:6222" // RFC 5737: nobody's
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--nats", "nats://a", "--data-dir", "x"}, "use one or the other"},
		{[]string{"--nats", "nats://a", "--cluster-peers", "b"}, "use one or the other"},
		{[]string{"--nats-creds", "x"}, "is for --nats"},
		{[]string{"--no-sync"}, "--data-dir"},
		{[]string{"--cluster-secret", "x"}, "--cluster-peers makes one"},
		{[]string{"--cluster-advertise", "x:1"}, "--cluster-peers makes one"},
		{[]string{"--cluster-peers", "a", "--recovery"}, "needs a --data-dir"},
		{[]string{"--cluster-listen", "127.0.0.1:0", "--history", "a"}, "needs a --data-dir"},
		{[]string{"--cluster-peers", other}, "set --cluster-secret"},
		{[]string{"--cluster-peers", "nonsense:port:x"}, `"nonsense:port:x": want host, or host:port`},
		{[]string{"--cluster-peers", "a:port"}, "want host, or host:port"},
		{[]string{"--cluster-peers", other + ",:6222"}, "want host, or host:port"},
		{[]string{"--cluster-peers", "127.0.0.1:1,127.0.0.1:2"}, "--cluster-listen says which"},
		{[]string{"--cluster-peers", other + ",198.51.100.2:1", "--cluster-secret", "x"}, "say --cluster-listen"},
		{[]string{"--cluster-listen", "127.0.0.1", "--cluster-peers", other}, "host:port"},
		{[]string{"--cluster-listen", "127.0.0.1:0", "--cluster-peers", "ftp://a:1"}, "scheme"},
		{[]string{"--node-name", "a b"}, "has spaces"},
		{[]string{"--history", "a:storage=disk"}, "needs a --data-dir"},
		{[]string{"--history", "a:storage=tape", "--data-dir", "x"}, "memory or disk"},
		{[]string{"--history", "a:size=0"}, "want a"},
		{[]string{"--history", "a:size=9,age=-1s"}, "want a"},
		{[]string{"--history", "a:age=5"}, "want a time with its unit"},
		{[]string{"--history", "a:bytes=9000000000g"}, "want a size"},
		{[]string{"--history", "a:weight=5"}, "want size, age, bytes or storage"},
		{[]string{"--history", "*a"}, "prefix and '*'"},
		{[]string{"--history", "a", "--history", "a:size=1"}, "twice"},
		{[]string{"--presence", "a*b"}, "prefix and '*'"},
	} {
		_, _, err := run(t, "", append([]string{"serve", "--listen", "127.0.0.1:0"}, c.args...)...)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("polywire serve %s: %v, want %q", strings.Join(c.args, " "), err, c.want)
		}
	}
}

func TestParseHistory(t *testing.T) {
	for text, want := range map[string]struct {
		pattern string
		polywire.History
	}{
		"news":                  {"news", polywire.History{}},
		"chat:*":                {"chat:*", polywire.History{}},
		"a:b:size=5":            {"a:b", polywire.History{Size: 5}},
		"a=b":                   {"a=b", polywire.History{}},
		"*:size=100,age=5m":     {"*", polywire.History{Size: 100, Age: 5 * time.Minute}},
		"a:storage=disk,size=1": {"a", polywire.History{Storage: cluster.OnDisk, Size: 1}},
		"a:bytes=64m":           {"a", polywire.History{Bytes: 64 << 20}},
		"a:bytes=1000":          {"a", polywire.History{Bytes: 1000}},
		"a:bytes=3k":            {"a", polywire.History{Bytes: 3 << 10}},
	} {
		pairs, err := splitHistory(text)
		if err != nil {
			t.Fatal(err)
		}
		if r, err := buildHistory(pairs); err != nil || r.pattern != want.pattern || r.History != want.History {
			t.Errorf("%s: %+v %v", text, r, err)
		}
	}
}

func TestOwnAddress(t *testing.T) {
	for _, c := range []struct{ peers, want, err string }{
		{"127.0.0.1:1", "127.0.0.1:1", ""},
		{"198.51.100.1:6222,127.0.0.1:6222", "127.0.0.1:6222", ""},
		{"nats://127.0.0.1:1,198.51.100.1:2", "127.0.0.1:1", ""},
		{"198.51.100.1:6222,198.51.100.2:6222", ":6222", ""},
		{"198.51.100.1:1,198.51.100.2:2", "", "say --cluster-listen"},
		{"127.0.0.1:1,127.0.0.2:1", "", "several"},
		{"nowhere", "", "want host:port"},
	} {
		got, err := ownAddress(t.Context(), strings.Split(c.peers, ","))
		if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %q, %v", c.peers, got, err)
		}
	}
}

// A server alone keeps its rooms' messages, and tells who is there.
func TestServeRooms(t *testing.T) {
	p := background(t, "serve", "--listen", "127.0.0.1:0", "--allow", "publish", "--history", "kept:size=10", "--recovery")
	url := last(p.line())
	if who := members(t, url, "nobody"); len(who) != 0 {
		t.Errorf("%+v", who)
	}
	sub := background(t, "sub", "kept", "--url", url)
	eventually(t, "somebody is there", func() bool { return len(members(t, url, "kept")) == 1 })
	if _, _, err := run(t, "", "pub", "kept", "note", "1", "--url", url); err != nil {
		t.Fatal(err)
	}
	if got := sub.line(); got != `{"room":"kept","kind":"note","payload":1}` {
		t.Error(got)
	}
	for kind, c := range map[string][2]string{
		"presence":     {`"$secret"`, "forbidden"},
		"presence.set": {`"` + strings.Repeat("x", 2000) + `"`, "at most"},
	} {
		if _, _, err := run(t, "", "call", kind, c[0], "--url", url); err == nil || !strings.Contains(err.Error(), c[1]) {
			t.Errorf("%s %.20s: %v", kind, c[0], err)
		}
	}
	for _, bad := range []string{`""`, `5`, `"` + strings.Repeat("x", 300) + `"`} {
		if _, _, err := run(t, "", "call", "presence", bad, "--url", url); err == nil || !strings.Contains(err.Error(), "bad_request") {
			t.Errorf("presence %.20s: %v", bad, err)
		}
	}
	for _, good := range []string{`{"mood":"fine"}`, `null`} {
		if _, _, err := run(t, "", "call", "presence.set", good, "--url", url); err != nil {
			t.Errorf("presence.set %s: %v", good, err)
		}
	}
}
