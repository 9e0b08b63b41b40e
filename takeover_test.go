package polywire_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/wire"
)

// job is what a stress call carries: the check is of Data, so that a buffer
// that was given away too early shows.
type job struct {
	Do    string
	Seq   int
	Data  string
	Check uint32
}

func newJob(r *rand.Rand, do string, seq int) job {
	data := strings.Repeat(string(rune('a'+seq%26)), 1+r.IntN(2000))
	return job{Do: do, Seq: seq, Data: data, Check: crc32.ChecksumIEEE([]byte(data))}
}

func (j job) intact() bool { return crc32.ChecksumIEEE([]byte(j.Data)) == j.Check }

func (j job) packet(id uint64) wire.Packet {
	data, _ := json.Marshal(j)
	return wire.Packet{Type: wire.Call, ID: id, Kind: "job", Payload: polywire.Payload{Type: "application/json", Data: data}}
}

// stress is a server whose handler does what each job says.
type stress struct {
	t        *testing.T
	srv      *polywire.Server
	handled  atomic.Int64
	sent     atomic.Int64 // to other connections
	order    bool
	mu       sync.Mutex
	lastSeen map[*polywire.Conn]int
}

func newStress(t *testing.T, order bool, opts ...polywire.Option) *stress {
	s := &stress{t: t, order: order, lastSeen: make(map[*polywire.Conn]int)}
	s.srv = newServer(t, func(srv *polywire.Server) { srv.Handle("job", s.handle) }, opts...)
	return s
}

func (s *stress) handle(ctx context.Context, m *polywire.Message) (any, error) {
	s.handled.Add(1)
	var j job
	if err := m.Bind(&j); err != nil {
		return nil, err
	}
	s.arrived(m.Conn(), j)
	switch j.Do {
	case "block":
		time.Sleep(time.Duration(1+j.Seq%20) * time.Millisecond) // virtual
	case "ask":
		var answer job
		if err := m.Conn().Call(ctx, "question", j, &answer); err != nil {
			return nil, err
		}
		if answer.Seq != j.Seq || !answer.intact() {
			s.t.Errorf("the peer's answer to %d came back as %d, intact: %v", j.Seq, answer.Seq, answer.intact())
		}
	case "tell":
		others := s.srv.All().ExceptConns(m.Conn()).Pick(polywire.Random())
		if err := others.Send(ctx, "told", j); err != nil {
			return nil, err
		}
		s.sent.Add(1)
	case "panic":
		panic("as asked")
	}
	// What has come meanwhile must not have overwritten the message.
	var again job
	if err := m.Bind(&again); err != nil || again != j || !again.intact() {
		s.t.Errorf("message %d changed while it was handled (%v)", j.Seq, err)
	}
	return again, nil
}

func (s *stress) arrived(c *polywire.Conn, j job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if last := s.lastSeen[c]; s.order && j.Seq != last+1 {
		s.t.Errorf("message %d was handled after %d", j.Seq, last)
	}
	s.lastSeen[c] = j.Seq
}

// drive sends calls in batches of random size, answers the server's questions,
// and returns when every call has its answer.
func (s *stress) drive(seed uint64, calls int, told *atomic.Int64) {
	p := connect(s.t, s.srv)
	defer p.end()
	var writing sync.Mutex // replies and batches go out from two goroutines
	r := rand.New(rand.NewPCG(seed, 1))
	jobs := make([]job, calls+1)
	for i := 1; i <= calls; i++ {
		jobs[i] = newJob(r, []string{"", "", "", "block", "ask", "tell", "panic"}[r.IntN(7)], i)
	}
	var sending sync.WaitGroup
	sending.Go(func() {
		for i := 1; i <= calls; {
			var batch []wire.Packet
			for n := 1 + r.IntN(20); n > 0 && i <= calls; n-- {
				batch = append(batch, jobs[i].packet(uint64(i)))
				i++
			}
			writing.Lock()
			p.send(batch...)
			writing.Unlock()
			time.Sleep(time.Duration(r.IntN(4)) * time.Millisecond) // virtual: some batches come while others run
		}
	})
	next := 1
	seen := make([]bool, calls+1)
	for answers := 0; answers < calls; {
		got := p.receive()
		switch got.Type {
		case wire.Call:
			writing.Lock()
			p.send(wire.Packet{Type: wire.Reply, ID: got.ID, Payload: got.Payload.Clone()})
			writing.Unlock()
		case wire.Message:
			told.Add(1)
		default:
			s.check(jobs, seen, &got, next)
			answers++
			next++
		}
	}
	sending.Wait()
}

// check looks at one answer: the right one, intact, the first and in order.
func (s *stress) check(jobs []job, seen []bool, got *wire.Packet, next int) {
	s.t.Helper()
	if got.ID == 0 || got.ID >= uint64(len(jobs)) || seen[got.ID] || s.order && got.ID != uint64(next) {
		s.t.Errorf("answer %d came as number %d", got.ID, next)
		return
	}
	seen[got.ID] = true
	want := jobs[got.ID]
	if want.Do == "panic" {
		if got.Err == nil || got.Err.Code != string(polywire.CodeInternal) {
			s.t.Errorf("a panic was answered with %+v", got.Err)
		}
		return
	}
	var back job
	if got.Err != nil {
		s.t.Errorf("%q was answered with %+v", want.Do, got.Err)
	} else if err := json.Unmarshal(got.Payload.Data, &back); err != nil || back != want {
		s.t.Errorf("the answer to %d is another one: %v", got.ID, err)
	}
}

// Handlers that return at once, block, call back, send to others and panic,
// on many connections at once: every call has exactly one answer, and nothing
// that is read meanwhile disturbs it.
func TestTakeOverStress(t *testing.T) {
	for _, n := range []int{1, 4} {
		t.Run(fmt.Sprintf("concurrency %d", n), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const conns, calls = 50, 100
				s := newStress(t, n == 1, polywire.WithConcurrency(n))
				var told atomic.Int64
				var all sync.WaitGroup
				for i := range conns {
					all.Go(func() { s.drive(uint64(i), calls, &told) })
				}
				all.Wait()
				synctest.Wait()
				if got := s.handled.Load(); got != conns*calls {
					t.Errorf("%d messages were handled, want %d", got, conns*calls)
				}
				if told.Load() == 0 || told.Load() > s.sent.Load() {
					t.Errorf("%d messages to others arrived of %d", told.Load(), s.sent.Load())
				}
				if left := srvIdle(s.srv); left != "" {
					t.Error(left)
				}
			})
		})
	}
}

// srvIdle says what a server without connections still has, which is nothing.
func srvIdle(srv *polywire.Server) string {
	if s := srv.Stats(); s.Connections != 0 || s.QueuedBytes != 0 {
		return fmt.Sprintf("%d connections and %d queued bytes are left", s.Connections, s.QueuedBytes)
	}
	return ""
}

// Shutdown in the middle of all that: what is being handled is answered, what
// comes later is refused, and then every link is closed with the right code.
func TestTakeOverShutdown(t *testing.T) {
	for seed := range uint64(12) {
		synctest.Test(t, func(t *testing.T) {
			s := newStress(t, false, polywire.WithConcurrency(1+int(seed%4)))
			var all sync.WaitGroup
			for i := range uint64(10) {
				all.Go(func() { s.untilClosed(seed*100 + i) })
			}
			time.Sleep(time.Duration(seed) * 3 * time.Millisecond)
			if err := s.srv.Shutdown(t.Context()); err != nil {
				t.Errorf("Shutdown: %v", err)
			}
			all.Wait()
			if left := srvIdle(s.srv); left != "" {
				t.Error(left)
			}
		})
	}
}

// untilClosed calls until the server says that it is going.
func (s *stress) untilClosed(seed uint64) {
	a, b := transportPipe()
	if s.srv.Host("plain").Attach(wire.Link{Transport: a, Session: plainSession{}}) != nil {
		b.Close()
		return // the server was gone already
	}
	p := &peer{t: s.t, link: b}
	defer p.end()
	r := rand.New(rand.NewPCG(seed, 2))
	const calls = 60
	answered := make(map[uint64]bool)
	w := transport.NewWriter(b.Framer(), nil)
	for i := 1; i <= calls; i++ {
		c := newJob(r, []string{"", "block", "tell", "panic"}[r.IntN(4)], i).packet(uint64(i))
		if err := p.sess.Encode(&w, &c); err != nil {
			s.t.Error(err)
		}
	}
	var sending sync.WaitGroup
	sending.Go(func() { _ = b.Write(w.Bytes()) }) // may be cut short by the end
	defer sending.Wait()
	for {
		f, err := p.next()
		if closed, ok := errors.AsType[*transport.CloseError](err); ok {
			if polywire.CloseCode(closed.Code) != polywire.CloseShutdown {
				s.t.Errorf("closed with %d", closed.Code)
			}
			b.Close()
			return
		}
		if err != nil {
			s.t.Errorf("the link ended without a close frame: %v", err)
			return
		}
		var got wire.Packet
		if err := json.Unmarshal(f.Data, &got); err != nil {
			s.t.Error(err)
		}
		if got.Type != wire.Reply && got.Type != wire.Error {
			continue
		}
		if answered[got.ID] {
			s.t.Errorf("call %d was answered twice", got.ID)
		}
		answered[got.ID] = true
	}
}
