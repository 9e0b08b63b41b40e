package soak_test

import (
	"context"
	"math/rand/v2"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/internal/testenv"
)

// soakTime is how long there is trouble: the variable SOAK, or some seconds.
func soakTime(t *testing.T) (d time.Duration, long bool) {
	t.Helper()
	text := os.Getenv("SOAK")
	if text == "" {
		return 4 * time.Second, false
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		t.Fatalf("SOAK=%q: want a time, as 30m", text)
	}
	return d, true
}

// world is all that is there at once.
type world struct {
	t       *testing.T
	s       *server
	lanes   *lanes
	ways    ways
	count   tally
	ledgers map[string]*ledger
	said    []speaker
	asking  map[string]*client.Client // by the way's name
}

// TestSoak lets everything happen at once for as long as was said.
func TestSoak(t *testing.T) {
	howLong, long := soakTime(t)
	s := serve(t)
	before, err := s.state()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("at the beginning: %v", before)
	http.DefaultClient.CloseIdleConnections()
	own := openFiles()
	w := &world{t: t, s: s, asking: make(map[string]*client.Client), ledgers: map[string]*ledger{
		roomKept: newLedger(), roomLive: newLedger(), roomDone: newLedger(), "webhooks": newLedger(), "calls": newLedger(),
	}}
	t.Run("all at once", func(t *testing.T) {
		w.t, w.lanes = t, pave(t, s)
		w.ways = w.lanes.ways(s)
		w.people()
		w.trouble(howLong)
		w.settle()
	}) // everybody goes
	for name, l := range w.ledgers {
		if name == "calls" { // only for what was answered wrongly
			l.says("nobody")
			l.member("nobody", liveOnly)
		}
		t.Logf("%s: %v", name, l)
		for _, what := range l.audit() {
			t.Errorf("%s: %s", name, what)
		}
	}
	t.Logf("happened: %v", &w.count)
	for _, what := range []string{"calls", "visits", "slow readers"} {
		if w.count.of(what) == 0 {
			t.Errorf("there were no %s", what)
		}
	}
	w.t = t
	w.asBefore(before)
	http.DefaultClient.CloseIdleConnections()
	s.end(long)
	testenv.Eventually(t, patience, "this process has no more files open than before", func() bool { return openFiles() <= own })
}

// openFiles is how many this process has open; 0 where that is not told.
func openFiles() int {
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(all)
}

// people come: members on every wire, and those who speak and ask.
func (w *world) people() {
	kept, live, done, hooks := w.ledgers[roomKept], w.ledgers[roomLive], w.ledgers[roomDone], w.ledgers["webhooks"]
	y := &w.ways
	for _, m := range []way{y.proto, y.json, y.tcp, y.tcpToo, y.unix, y.events} {
		listen(w.t, kept, recovered, m, roomKept, kindNote)
	}
	for _, m := range []way{y.json, y.tcp, y.unix, y.socketio, y.drs, y.goomerang} {
		listen(w.t, live, liveOnly, m, roomLive, kindText)
	}
	for _, m := range []way{y.proto, y.unix} {
		listen(w.t, done, atLeastOnce, m, roomDone, kindNote)
	}
	receive(w.t, w.s, hooks)
	for _, m := range []way{y.proto, y.tcpToo, y.unix} {
		w.said = append(w.said, publisher(w.t, kept, m, roomKept, kindNote))
	}
	w.said = append(w.said, program(w.t, kept, w.lanes.http[2], roomKept))
	for _, m := range []way{y.socketioToo, y.drsToo, y.goomerangToo, y.tcp} {
		w.said = append(w.said, publisher(w.t, live, m, roomLive, kindText))
	}
	for _, m := range []way{y.json, y.drs, y.socketio} {
		w.said = append(w.said, caller(w.t, done, m, kindJob))
	}
	for _, m := range []way{y.proto, y.tcp} {
		w.said = append(w.said, caller(w.t, hooks, m, kindOrder))
	}
	for _, m := range w.askers() {
		w.asking[m.name] = connect(w.t, m, m.open(w.t))
	}
}

// askers are the ways by which echoes can be asked for; nothing happens to the first.
func (w *world) askers() []way {
	y := &w.ways
	return []way{y.unix, y.proto, y.json, y.upgrade, y.tcp, y.tcpToo, y.socketio, y.socketioToo, y.drs, y.drsToo}
}

// trouble lets them all speak and ask while networks fail.
func (w *world) trouble(d time.Duration) {
	ctx, cancel := context.WithTimeout(w.t.Context(), d)
	defer cancel()
	var goes sync.WaitGroup
	for _, s := range w.said {
		goes.Go(func() { s.run(ctx, 50*time.Millisecond, &w.count) })
	}
	for _, m := range w.askers() {
		goes.Go(func() { echoes(ctx, m, w.asking[m.name], w.ledgers["calls"], &w.count) })
	}
	goes.Go(func() { comeAndGo(ctx, w.askers(), &w.count) })
	goes.Go(func() { slowReaders(ctx, w.t, w.s, &w.count) })
	goes.Go(func() { w.watch(ctx) })
	seed := rand.Uint64()
	w.t.Logf("faults of seed %d: %v", seed, w.lanes.trouble(ctx, seed))
	goes.Wait()
}

// watch tells each minute how the server is, and looks whether what it holds
// grows without end: what it has for these clients it has after some minutes.
func (w *world) watch(ctx context.Context) {
	var early state
	for minute := 1; pass(ctx, time.Minute); minute++ {
		now, err := w.s.state()
		if err != nil {
			w.t.Error(err)
			return
		}
		w.t.Logf("after %d minutes: %v", minute, now)
		switch {
		case minute == 10:
			early = now
		case minute > 10 && (now.heap > 1.5*early.heap+16<<20 || now.goroutines > 1.5*early.goroutines+200 || now.files > 1.5*early.files+100):
			w.t.Errorf("it holds more and more: %v after ten minutes, %v after %d", early, now, minute)
			return
		}
	}
}

// settle waits until all is as it must be on a network that is good again:
// everybody can speak and ask, and everybody has heard all.
func (w *world) settle() {
	for _, m := range w.askers() {
		w.eventually("an echo for "+m.name, func() error { return echo(w.t.Context(), m, w.asking[m.name], -1) })
	}
	for _, s := range w.said {
		w.eventually("an answer to "+s.from, func() error { return s.once(w.t.Context()) })
	}
	for name, l := range w.ledgers {
		w.eventually("all is heard of "+name, func() error {
			err := l.missing()
			for _, s := range w.said {
				if err != nil && s.l == l && name == roomLive { // who was away hears the next
					_ = s.once(w.t.Context()) // the ledger knows
				}
			}
			return err
		})
	}
}

// eventually waits until something is without an error.
func (w *world) eventually(what string, ok func() error) {
	w.t.Helper()
	var err error
	for end := time.Now().Add(2 * patience); time.Now().Before(end); pass(w.t.Context(), 100*time.Millisecond) {
		if err = ok(); err == nil {
			return
		}
	}
	w.t.Errorf("not within %v: %s: %v", 2*patience, what, err)
}

// asBefore waits until the server holds no more than at the beginning, but for
// some of what it keeps on purpose: history, keys of the API, queues that exist.
func (w *world) asBefore(before state) {
	const (
		goroutines = 60        // of streams and consumers, which last
		files      = 20        // their files
		heap       = 128 << 20 // what is kept for those who come back has bounds: 16 to 64 MiB each
	)
	var now state
	var err error
	for end := time.Now().Add(2 * patience); time.Now().Before(end); pass(w.t.Context(), 200*time.Millisecond) {
		now, err = w.s.state()
		if err == nil && now.conns == 0 && now.goroutines <= before.goroutines+goroutines && now.files <= before.files+files && now.heap <= before.heap+heap {
			w.t.Logf("at the end: %v", now)
			return
		}
	}
	w.t.Errorf("the server had %v, and has %v, %v", before, now, err)
}
