//go:build linux

package polywire_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/polywire/polywire"
)

// soon is the shortest time after which connections sleep: the next tick of
// the server's clock but one.
func soon() polywire.Option { return polywire.WithSleepAfter(1) }

// openMany opens connections in all languages.
func (s *site) openMany(n int) []*rawConn {
	s.t.Helper()
	all := make([]*rawConn, n)
	for i := range all {
		all[i] = s.open(languages()[i%len(languages())])
	}
	return all
}

// asleep waits until n connections sleep. More must never do.
func (s *site) asleep(n int) {
	s.t.Helper()
	s.until(fmt.Sprint(n, " connections sleep"), func() bool {
		now := s.srv.Stats().Asleep
		if now > n {
			s.t.Fatalf("%d connections sleep, at most %d may", now, n)
		}
		return now == n
	})
}

func TestSleepersHaveNoGoroutine(t *testing.T) {
	const n = 200
	s := newSite(t, nil, soon())
	defer s.close()
	all := s.openMany(n)
	s.asleep(n) // before their first message
	for _, c := range all {
		c.echo()
	}
	s.asleep(n)
	s.until("their goroutines have ended", func() bool { return runtime.NumGoroutine() < 30 })
	for _, c := range all {
		c.echo()
	}
}

// sequence is the state of one peer that sends numbers and gets them back,
// among the server's own.
type sequence struct {
	*rawConn
	r               *rand.Rand
	sent, got, news int
	rest            []byte // of a frame that was cut
}

// burst sends messages, the last perhaps not wholly, and reads all answers.
func (q *sequence) burst() error {
	all := q.rest
	for range 1 + q.r.IntN(10) {
		q.sent++
		e := envelope{Type: "message", Kind: "seq", Payload: json.RawMessage(strconv.Itoa(q.sent))}
		all = append(all, q.encode(e)...)
	}
	whole := q.sent
	q.rest = nil
	if q.r.IntN(3) == 0 {
		e := envelope{Type: "message", Kind: "seq", Payload: json.RawMessage(strconv.Itoa(q.sent + 1))}
		q.sent++
		cut := q.encode(e)
		at := 1 + q.r.IntN(len(cut)-1)
		all, q.rest = append(all, cut[:at]...), cut[at:]
	}
	for len(all) > 0 { // in pieces, where frames end and where they do not
		n := 1 + q.r.IntN(len(all))
		if _, err := q.nc.Write(all[:n]); err != nil {
			return err
		}
		all = all[n:]
	}
	return q.until(func() bool { return q.got == whole })
}

// until reads, and checks that everything comes once and in order.
func (q *sequence) until(enough func() bool) error {
	for !enough() {
		op, payload, err := q.next()
		if err != nil {
			return err
		}
		if op != q.op() {
			continue
		}
		e, err := q.decode(payload)
		if err != nil {
			return err
		}
		last := &q.got
		if e.Kind == "news" {
			last = &q.news
		}
		if n, err := strconv.Atoi(string(e.Payload)); err != nil || n != *last+1 {
			return fmt.Errorf("%s %s came after %d", e.Kind, e.Payload, *last)
		}
		*last++
	}
	return nil
}

// Bursts, sleep, bursts: not a message is lost or out of order in either
// direction, also where sleep would come in the middle of a frame.
func TestWakingCostsNothing(t *testing.T) {
	const n, rounds = 200, 4
	s := newSite(t, func(srv *polywire.Server) {
		srv.Handle("seq", func(ctx context.Context, m *polywire.Message) (any, error) {
			return nil, m.Conn().Send(ctx, "seq", m.Payload())
		})
	}, soon())
	defer s.close()
	peers := make([]*sequence, n)
	for i, c := range s.openMany(n) {
		peers[i] = &sequence{rawConn: c, r: rand.New(rand.NewPCG(uint64(i), 3))}
	}
	for round := range rounds {
		s.together(peers, (*sequence).burst)
		whole := 0
		for _, p := range peers {
			if p.rest == nil {
				whole++
			}
		}
		s.asleep(whole)
		for i := range 3 {
			if err := s.srv.All().Send(t.Context(), "news", 3*round+i+1); err != nil {
				t.Fatal(err)
			}
		}
		s.together(peers, func(q *sequence) error { return q.until(func() bool { return q.news == 3*round+3 }) })
		if now := s.srv.Stats().Asleep; now != whole {
			t.Errorf("%d connections sleep after they were sent something, want %d", now, whole)
		}
	}
	for _, p := range peers {
		p.write(p.rest)
	}
	s.together(peers, func(q *sequence) error { return q.until(func() bool { return q.got == q.sent }) })
	if d := s.srv.Stats().Dropped; d != 0 {
		t.Errorf("%d messages were dropped", d)
	}
}

func (s *site) together(peers []*sequence, f func(*sequence) error) {
	s.t.Helper()
	var all sync.WaitGroup
	for i, p := range peers {
		all.Go(func() {
			if err := f(p); err != nil {
				s.t.Errorf("peer %d (%s): %v", i, p.name, err)
			}
		})
	}
	all.Wait()
	if s.t.Failed() {
		s.t.FailNow()
	}
}

// reset ends a connection without a word of TCP's either.
func (c *rawConn) reset() {
	_ = c.nc.(*net.TCPConn).SetLinger(0)
	c.nc.Close()
}

func TestSleepersThatVanish(t *testing.T) {
	for name, vanish := range map[string]func(*rawConn){
		"close": func(c *rawConn) { c.nc.Close() },
		"reset": (*rawConn).reset,
	} {
		t.Run(name, func(t *testing.T) {
			const n = 100
			s := newSite(t, nil, soon())
			defer s.close()
			all := s.openMany(n)
			for _, c := range all {
				c.echo()
			}
			s.asleep(n)
			for _, c := range all {
				vanish(c)
			}
			for range n {
				if why := <-s.disconnects; why.Code != polywire.CloseConnectionClosed {
					t.Errorf("ended with %v", why)
				}
			}
		})
	}
}

// A peer that is gone without a trace is found out by its silence.
func TestSilentSleeperEnds(t *testing.T) {
	s := newSite(t, nil, soon(), polywire.WithHeartbeat(time.Second, time.Second))
	defer s.close()
	for range s.openMany(20) { // which answer no ping
		if why := <-s.disconnects; why.Code != polywire.CloseNoPong {
			t.Errorf("ended with %v", why)
		}
	}
}

func TestShutdownWakesSleepers(t *testing.T) {
	const n = 100
	s := newSite(t, nil, soon())
	all := s.openMany(n)
	s.asleep(n)
	var told sync.WaitGroup
	for _, c := range all {
		told.Go(func() {
			for {
				op, payload, err := c.next()
				if err != nil {
					t.Errorf("the end came without a close frame: %v", err)
					return
				}
				if op == opClose {
					if string(payload[:2]) != "\x0b\xb9" { // 3001
						t.Errorf("closed with % x", payload)
					}
					_, _ = c.nc.Write(c.frame(opClose, string(payload[:2])))
					return
				}
			}
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := s.srv.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	told.Wait()
	s.close()
}

func TestCloseEndsSleepers(t *testing.T) {
	const n = 100
	s := newSite(t, nil, soon())
	all := s.openMany(n)
	s.asleep(n)
	s.close()
	for range n {
		<-s.disconnects
	}
	for _, c := range all {
		c.drains()
	}
}

// Both sides end connections at the moment when they fall asleep for the first
// time, which is when they have been opened.
func TestEndWhileFallingAsleep(t *testing.T) {
	const n = 500
	s := newSite(t, nil, soon())
	ends := []func(*rawConn){
		func(c *rawConn) { c.nc.Close() },
		(*rawConn).reset,
		func(*rawConn) { _ = s.srv.All().Disconnect(context.Background(), 4000, "") },
		func(c *rawConn) { c.nc.Close(); _ = s.srv.All().Disconnect(context.Background(), 4000, "") },
		func(c *rawConn) { _, _ = c.nc.Write(c.encode(envelope{Type: "message", Kind: "echo"})); c.reset() },
		func(c *rawConn) { go s.srv.All().Disconnect(context.Background(), 4000, ""); c.nc.Close() },
	}
	for i := range n {
		c := s.open(languages()[i%4])
		ends[i%len(ends)](c)
		c.nc.Close()
	}
	s.until("all connections have ended", func() bool {
		return s.srv.Stats().Connections == 0 && len(s.disconnects) == int(s.srv.Stats().Accepted)
	})
	if a := s.srv.Stats().Accepted; a > n {
		t.Errorf("%d of %d connections were accepted", a, n)
	}
	s.close()
}

// The same at the tick of the clock at which all fall asleep, and with the
// server's own end.
func TestEndAtTheTick(t *testing.T) {
	const n, rounds = 200, 3
	for round := range rounds {
		s := newSite(t, nil, soon())
		all := s.openMany(n)
		for _, c := range all {
			c.echo()
		}
		s.until("they begin to sleep", func() bool { return s.srv.Stats().Asleep > n/10 })
		var ending sync.WaitGroup
		ending.Go(func() {
			for i, c := range all {
				if i%2 == 0 {
					c.nc.Close()
				} else {
					_, _ = c.nc.Write(c.encode(envelope{Type: "call", ID: 1, Kind: "echo"}))
				}
			}
		})
		if round%2 == 0 {
			_ = s.srv.All().Disconnect(context.Background(), 4000, "")
		}
		s.close()
		ending.Wait()
		if len(s.disconnects) != n {
			t.Errorf("%d connections ended of %d", len(s.disconnects), n)
		}
	}
}
