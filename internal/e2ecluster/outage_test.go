//go:build unix

package e2ecluster_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
	clusterport "github.com/polywire/polywire/cluster"
	natscluster "github.com/polywire/polywire/cluster/nats"
	"github.com/polywire/polywire/internal/badnet"
	"github.com/polywire/polywire/internal/testenv"
)

// What is promised about an engine that is away: publishers are told, and
// afterwards all goes on, both within this time; and what a busy machine needs.
const (
	promised = 5 * time.Second
	slack    = 1500 * time.Millisecond
)

const plain = "plain"

// station is a server in this process with a member, behind a network of its
// own to NATS.
type station struct {
	srv     *polywire.Server
	adapter *natscluster.Adapter
	net     *badnet.Proxy
	member  *client.Client
	breaks  atomic.Int64 // of the member's connection

	mu    sync.Mutex
	heard map[string][]int // by room, without those sent at the station itself while NATS was away
}

// openStation starts one.
func openStation(t *testing.T, name, nats string) *station {
	t.Helper()
	s := &station{heard: make(map[string][]int)}
	var err error
	if s.net, err = badnet.New(nats); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.net.Close)
	url := "nats://" + s.net.Addr()
	o := natscluster.Options{Connect: natscluster.URL(url)}
	s.adapter = natscluster.New(o)
	s.srv, err = server(name, o, polywire.WithCluster(s.adapter),
		polywire.WithHistory(kept, polywire.History{Size: 10_000, Storage: clusterport.OnDisk}))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.srv.Serve(l, "http") }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := errors.Join(s.srv.Shutdown(ctx), <-served); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	})
	s.member, err = client.New("ws://"+l.Addr().String(), client.WithHooks(client.Hooks{
		Disconnect: func(why error) { s.breaks.Add(1) },
		Recovered: func(room string, ok bool) {
			if !ok {
				t.Errorf("%s: messages of %s were lost", name, room)
			}
		},
	}))
	if err != nil {
		t.Fatal(err)
	}
	s.member.Handle("n", func(_ context.Context, m *polywire.Message) (any, error) {
		var n int
		err := m.Bind(&n)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.heard[m.Room()] = append(s.heard[m.Room()], n)
		return nil, err
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := errors.Join(s.member.Connect(ctx), s.member.Subscribe(ctx, plain), s.member.Subscribe(ctx, kept)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		want := s.breaks.Load()
		if err := s.member.Close(); err != nil || want > 0 {
			t.Errorf("%s: the member's connection broke %d times; %v", name, want, err)
		}
	})
	return s
}

// times is how often the member has heard a number in a room.
func (s *station) times(room string, n int) (times int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.heard[room] {
		if m == n {
			times++
		}
	}
	return times
}

// sender sends numbers to a room from one station.
type sender struct {
	t    *testing.T
	at   *station
	room string
	n    int
	sent []int // that were acknowledged
}

// send sends the next number. No send may take longer than was promised.
func (s *sender) send() error {
	s.t.Helper()
	s.n++
	sent := within(promised + slack)
	err := s.at.srv.Room(s.room).Send(s.t.Context(), "n", s.n)
	sent.keep(s.t, "sending to "+s.room)
	switch {
	case err == nil:
		s.sent = append(s.sent, s.n)
	case !errors.Is(err, clusterport.ErrUnavailable):
		s.t.Errorf("sending to %s: %v", s.room, err)
	}
	return err
}

// failure is a way in which NATS can go away, and come back.
type failure struct {
	name string
	fail func(w *world)
	back func(w *world)
}

func failures() []failure {
	each := func(f func(*badnet.Proxy)) func(w *world) {
		return func(w *world) {
			for _, s := range w.stations {
				f(s.net)
			}
		}
	}
	return []failure{
		{"stopped", func(w *world) { w.signal(syscall.SIGSTOP) }, func(w *world) { w.signal(syscall.SIGCONT) }},
		{"cut off", each((*badnet.Proxy).Cut), each((*badnet.Proxy).Resume)},
		{"in a black hole", each((*badnet.Proxy).BlackHole), each((*badnet.Proxy).Resume)},
		{"killed", func(w *world) { w.nats.kill() }, func(w *world) { w.startNATS() }},
	}
}

// world is a NATS server in a process of its own, and two stations.
type world struct {
	t        *testing.T
	child    child
	nats     *process
	stations []*station
}

func (w *world) startNATS() {
	w.t.Helper()
	w.nats = spawn(w.t, w.child)
	w.nats.next(&w.nats.hello)
}

func (w *world) signal(s syscall.Signal) {
	w.t.Helper()
	if err := w.nats.cmd.Process.Signal(s); err != nil {
		w.t.Fatal(err)
	}
}

func TestEngineAway(t *testing.T) {
	addresses := freeAddresses(t, len(failures()))
	for i, f := range failures() {
		if f.name != "stopped" && f.name != "killed" && !testenv.Full() {
			continue // the shortened form: one that is noticed late, one at once
		}
		t.Run(f.name, func(t *testing.T) {
			t.Parallel() // it waits for NATS to be missed
			address := addresses[i]
			w := &world{t: t, child: child{Name: "nats", Dir: t.TempDir(), Listen: address}}
			w.startNATS()
			for _, name := range []string{"a", "b"} {
				w.stations = append(w.stations, openStation(t, name, address))
			}
			waitFor(t, patience, "they know each other", func() error {
				for _, s := range w.stations {
					if n := len(s.srv.Nodes().List()); n != 2 {
						return fmt.Errorf("%d nodes", n)
					}
				}
				return nil
			})
			w.away(f)
		})
	}
}

// away is what holds while NATS is away, and afterwards.
func (w *world) away(f failure) {
	t, here, there := w.t, w.stations[0], w.stations[1]
	t.Helper()
	toPlain, toKept := &sender{t: t, at: here, room: plain}, &sender{t: t, at: here, room: kept}
	if err := errors.Join(toPlain.send(), toKept.send()); err != nil {
		t.Fatal(err)
	}
	reaches(t, toPlain, there)
	reaches(t, toKept, here, there)

	f.fail(w)
	failed := within(promised + slack)
	var goes sync.WaitGroup
	goes.Go(func() { untilTold(t, toKept, failed) })
	untilTold(t, toPlain, failed)
	goes.Wait()
	for range 10 {
		if toPlain.send() == nil || toKept.send() == nil {
			t.Error("a message went out to nobody")
		}
	}
	// Those here have got it all.
	waitFor(t, patience, "the member here has heard all", func() error {
		for n := 1; n <= toPlain.n; n++ {
			if here.times(plain, n) != 1 {
				return fmt.Errorf("%d: %d times", n, here.times(plain, n))
			}
		}
		if here.times(kept, toKept.n) != 1 {
			return fmt.Errorf("%d of the room with history: %d times", toKept.n, here.times(kept, toKept.n))
		}
		return nil
	})
	if st := here.adapter.Stats(); len(st) != 1 || st[0].Available || st[0].AwayFor == 0 || here.srv.Nodes().Available() {
		t.Errorf("the figures do not tell that NATS is away: %+v", st)
	}

	f.back(w)
	back := within(promised + slack)
	waitFor(t, patience, "the room with history goes on", toKept.send)
	reaches(t, toKept, here, there)
	before := toPlain.n
	waitFor(t, patience, "the other room goes on", func() error {
		_ = toPlain.send() // it may be in vain while the other station is not back yet
		for n := before + 1; n <= toPlain.n; n++ {
			if there.times(plain, n) > 0 {
				return nil
			}
		}
		return fmt.Errorf("%d messages have not come", toPlain.n-before)
	})
	back.keep(t, "to go on after the return")
	t.Logf("all went on %v after the return", time.Since(back.began).Round(time.Millisecond))
	w.hole(toKept)
	reaches(t, toKept, here, there)
	for _, n := range toKept.sent { // once, and none is missing
		for i, s := range w.stations {
			if times := s.times(kept, n); times != 1 {
				t.Errorf("station %d has heard message %d of the room with history %d times", i, n, times)
			}
		}
	}
	there.mu.Lock()
	defer there.mu.Unlock()
	if !slices.IsSorted(there.heard[kept]) {
		t.Errorf("out of order: %v", there.heard[kept])
	}
}

// untilTold sends until there is an error, which must be in time. What the
// sender thinks has been sent meanwhile may be lost in a room without history.
func untilTold(t *testing.T, s *sender, failed bound) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for s.send() == nil {
		if d, tooLong := failed.took(); tooLong || d > patience {
			t.Errorf("nobody was told that %s cannot be reached", s.room)
			return
		}
		<-tick.C
	}
	failed.keep(t, "to be told that "+s.room+" cannot be reached")
	t.Logf("%s: an error after %v", s.room, time.Since(failed.began).Round(time.Millisecond))
}

// reaches waits until a sender's last number has come to the stations.
func reaches(t *testing.T, s *sender, stations ...*station) {
	t.Helper()
	waitFor(t, patience, "a message to "+s.room+" arrives", func() error { return arrived(s, stations...) })
}

func arrived(s *sender, stations ...*station) error {
	for i, at := range stations {
		if at.times(s.room, s.n) == 0 {
			return fmt.Errorf("message %d has not come to %d of %d stations", s.n, i+1, len(stations))
		}
	}
	return nil
}

// hole cuts one station off: what it misses it gets afterwards.
func (w *world) hole(s *sender) {
	w.t.Helper()
	cut := w.stations[1]
	cut.net.Cut()
	for range 20 {
		if err := s.send(); err != nil {
			w.t.Error(err)
		}
	}
	cut.net.Resume()
	back := within(promised + slack)
	waitFor(w.t, patience, "the hole is filled", func() error {
		for n := s.n - 19; n <= s.n; n++ {
			if cut.times(kept, n) != 1 {
				return fmt.Errorf("message %d is there %d times", n, cut.times(kept, n))
			}
		}
		return nil
	})
	back.keep(w.t, "to fill a hole")
	w.t.Logf("a hole was filled %v after the return", time.Since(back.began).Round(time.Millisecond))
}
