package jetstream_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/polywire/polywire/internal/testenv"
	"github.com/polywire/polywire/natsembed"
	"github.com/polywire/polywire/queue"
	"github.com/polywire/polywire/queue/jetstream"
)

// handle handles a queue by a ledger.
func handle(t *testing.T, b *queue.Broker, name string, l *ledger, o queue.HandleOptions) {
	t.Helper()
	err := b.Handle(name, func(_ context.Context, d *queue.Delivery) error {
		l.add(d.ID)
		return nil
	}, o)
	if err != nil {
		t.Fatal(err)
	}
}

func publish(t *testing.T, b *queue.Broker, ms ...queue.Message) {
	t.Helper()
	if err := b.PublishBatch(within(t), ms); err != nil {
		t.Fatal(err)
	}
}

// misled is a connection whose first question for the account goes elsewhere.
type misled struct {
	net.Conn
	once *sync.Once
}

func (m misled) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte("$JS.API.INFO")) {
		m.once.Do(func() { b = bytes.Replace(b, []byte("$JS.API.INFO"), []byte("$JS.NOT.INFO"), 1) })
	}
	return m.Conn.Write(b)
}

// While a cluster elects who answers, its servers take a question in silence:
// it is asked again.
func TestFirstQuestionIsNotAnswered(t *testing.T) {
	t.Parallel()
	s := newBroker(t, natsembed.Options{Listen: "127.0.0.1:0"})
	url := s.s.ClientURL()
	elsewhere, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer elsewhere.Close()
	asked, err := elsewhere.SubscribeSync("$JS.NOT.INFO")
	if err != nil {
		t.Fatal(err)
	}
	if err := elsewhere.FlushWithContext(within(t)); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	d, err := jetstream.New(within(t), jetstream.Options{URLs: []string{url}, NATS: []nats.Option{nats.SetCustomDialer(dialer(func(network, address string) (net.Conn, error) {
		c, err := net.Dial(network, address)
		return misled{c, &once}, err
	}))}})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Shutdown(within(t)); err != nil {
		t.Error(err)
	}
	if n, _, err := asked.Pending(); n != 1 || err != nil {
		t.Errorf("%d questions went elsewhere, %v", n, err)
	}
}

// dialer is a function as a [nats.CustomDialer].
type dialer func(network, address string) (net.Conn, error)

// Dial implements [nats.CustomDialer].
func (d dialer) Dial(network, address string) (net.Conn, error) { return d(network, address) }

func TestServerAwayAtStart(t *testing.T) {
	t.Parallel()
	s := newBroker(t, natsembed.Options{})
	s.stop()
	if _, err := jetstream.New(shortly(t), jetstream.Options{Connect: s.connect}); !errors.Is(err, queue.ErrUnavailable) {
		t.Errorf("New without a server: %v", err)
	}
	b := s.open(jetstream.Options{Optional: true})
	l := newLedger()
	handle(t, b, "q", l, queue.HandleOptions{})
	err := b.Publish(shortly(t), queue.Message{Queue: "q", ID: "early"})
	if !errors.Is(err, queue.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("publish without a server: %v", err)
	}
	if h := b.Health(); !h.Live || h.Ready {
		t.Errorf("%+v", h)
	}
	result := make(chan error, 1)
	go func() { result <- b.Publish(within(t), queue.Message{Queue: "q", ID: "m"}) }() // waits
	s.start()
	if err := <-result; err != nil {
		t.Error(err)
	}
	testenv.Eventually(t, patience, "the message is handled", func() bool { n, _ := l.missing([]string{"m"}); return n == 0 })
	testenv.Eventually(t, patience, "ready", func() bool { return b.Health().Ready })
}

// shortly is for what is to fail.
func shortly(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

// TestDelaysSurvive restarts the server while messages wait: delayed ones, and
// those that failed.
func TestDelaysSurvive(t *testing.T) {
	t.Parallel()
	s := newBroker(t, natsembed.Options{})
	first := s.open(jetstream.Options{})
	var mu sync.Mutex
	at := make(map[string]time.Time)
	handler := func(_ context.Context, d *queue.Delivery) error {
		if d.ID == "fails" && d.Attempt == 1 {
			return queue.RetryAfter(errors.New("not yet"), 4*time.Second)
		}
		mu.Lock()
		defer mu.Unlock()
		at[d.ID+" "+d.LastError] = time.Now()
		return nil
	}
	if err := first.Handle("q", handler, queue.HandleOptions{}); err != nil {
		t.Fatal(err)
	}
	start, idle := time.Now(), testenv.Idle()
	publish(t, first, queue.Message{Queue: "q", ID: "fails"},
		queue.Message{Queue: "q", ID: "short", Delay: time.Second},
		queue.Message{Queue: "q", ID: "long", Delay: 5 * time.Second},
		queue.Message{Queue: "q", ID: "hours", Delay: 3 * time.Hour})
	testenv.Eventually(t, patience, "it failed once", func() bool { return first.Stats().Queues["q"].Retried == 1 })
	first.Close()
	s.stop()
	s.start()
	second := s.open(jetstream.Options{})
	if err := second.Handle("q", handler, queue.HandleOptions{}); err != nil {
		t.Fatal(err)
	}
	back := time.Since(start) // nothing can come while there is no server
	testenv.Eventually(t, patience, "all but one are done", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(at) == 3
	})
	for what, due := range map[string]time.Duration{"fails not yet": 4 * time.Second, "short ": time.Second, "long ": 5 * time.Second} {
		// In time it can be only on a machine that has some left.
		if got := at[what].Sub(start); got < due-50*time.Millisecond || got > max(due, back)+2*time.Second && idle() > 0.5 {
			t.Errorf("%s came after %v, want %v", what, got, due)
		}
	}
	testenv.Eventually(t, patience, "one is left, for later", func() bool { // the last is acknowledged after it was done
		d, err := second.Inspect(within(t), "q")
		return err == nil && d.Delayed == 1 && d.Waiting == 0
	})
}

// TestConsumerDeleted deletes what the driver made, while it is at work.
func TestConsumerDeleted(t *testing.T) {
	t.Parallel()
	s := newBroker(t, natsembed.Options{NoSync: true})
	var troubles, healed atomic.Int64
	b, err := queue.New(s.driver(jetstream.Options{}), queue.Options{Hooks: []queue.Hooks{{
		Trouble: func(_ string, err error) {
			if err != nil {
				troubles.Add(1)
			} else {
				healed.Add(1)
			}
		},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	ms, ids := batch("q", "m", 500)
	publish(t, b, ms...)
	l := newLedger()
	handle(t, b, "q", l, queue.HandleOptions{Concurrency: 4, Lease: time.Second})
	js := s.streams()
	str, err := js.Stream(within(t), "polywire-q-q")
	if err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		testenv.Eventually(t, patience, "some are done", func() bool { return l.size() > 50*(n+1) })
		for name := range str.ConsumerNames(within(t)).Name() {
			if err := str.DeleteConsumer(within(t), name); err != nil {
				t.Fatal(err)
			}
		}
	}
	testenv.Eventually(t, patience, "all are done", func() bool { n, _ := l.missing(ids); return n == 0 })
	// All may have been done before the first consumer was deleted.
	testenv.Eventually(t, patience, "trouble is told, and that it is over", func() bool { return troubles.Load() > 0 && healed.Load() > 0 })
}

// TestStaleAnswers deletes the queue under a message in hand: its answer must
// not touch another program's message of the new queue, whose sequence is the same.
func TestStaleAnswers(t *testing.T) {
	answers := map[string]error{
		"ack": nil, "retry": queue.RetryAfter(errors.New("failed"), time.Hour), "bury": queue.Discard(errors.New("failed")),
	}
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			s := newBroker(t, natsembed.Options{NoSync: true})
			// holder hands out what it got, and answers when it is told to.
			holder := func(b *queue.Broker, answer error) (chan string, chan struct{}) {
				got, release := make(chan string, 10), make(chan struct{})
				err := b.Handle("q", func(ctx context.Context, d *queue.Delivery) error {
					got <- d.ID
					select {
					case <-release:
						return answer
					case <-ctx.Done():
						return ctx.Err()
					}
				}, queue.HandleOptions{Prefetch: -1})
				if err != nil {
					t.Fatal(err)
				}
				return got, release
			}
			expect := func(c chan string, want string) {
				t.Helper()
				select {
				case id := <-c:
					if id != want {
						t.Errorf("got %s, want %s", id, want)
					}
				case <-within(t).Done():
					t.Fatal(want + " does not come")
				}
			}
			first := s.open(jetstream.Options{})
			oldGot, oldRelease := holder(first, answer)
			publish(t, first, queue.Message{Queue: "q", ID: "old"})
			expect(oldGot, "old")
			if err := s.streams().DeleteStream(within(t), "polywire-q-q"); err != nil {
				t.Fatal(err)
			}
			publish(t, first, queue.Message{Queue: "q", ID: "new"})
			second := s.open(jetstream.Options{})
			newGot, _ := holder(second, nil)
			expect(newGot, "new")
			close(oldRelease)
			testenv.Eventually(t, patience, "the old one is answered", func() bool {
				st := first.Stats().Queues["q"]
				return st.Done+st.Retried+st.Dead == 1 && st.Running == 0
			})
			if d, err := first.Inspect(within(t), "q"); err != nil || d.Unacked != 1 {
				t.Errorf("the new one is touched: %+v, %v", d, err)
			}
			second.Close() // gives it back
			expect(oldGot, "new")
		})
	}
}

// TestFull fills the disk that the server may use: publishing fails clearly,
// nothing that was accepted is lost, and what was due meanwhile comes later.
func TestFull(t *testing.T) {
	t.Parallel()
	s := newBroker(t, natsembed.Options{MaxStoreBytes: 4 << 20, NoSync: true})
	b := s.open(jetstream.Options{})
	publish(t, b, queue.Message{Queue: "q", ID: "delayed", Delay: 3 * time.Second},
		queue.Message{Queue: "other", ID: "also", Delay: 3 * time.Second})
	accepted := []string{"delayed"}
	var refused error
	for i := 0; refused == nil; i++ {
		if i > 1000 {
			t.Fatal("there is always room")
		}
		m := queue.Message{Queue: "q", ID: fmt.Sprint("m-", i)}
		m.Payload.Data = make([]byte, 64<<10)
		if refused = b.Publish(within(t), m); refused == nil {
			accepted = append(accepted, m.ID)
		}
	}
	if !errors.Is(refused, queue.ErrRefused) || !strings.Contains(refused.Error(), "resources") {
		t.Errorf("refused by %v", refused)
	}
	if h := b.Health(); !h.Ready || !h.Degraded || len(h.Problems) == 0 {
		t.Errorf("%+v", h)
	}
	// Both delayed ones are due while there is no room.
	overdue := time.NewTimer(4 * time.Second)
	<-overdue.C
	if n, err := b.Purge(within(t), "nothing"); !errors.Is(err, queue.ErrNotFound) {
		t.Errorf("%d, %v", n, err)
	}
	l := newLedger()
	handle(t, b, "q", l, queue.HandleOptions{Concurrency: 4})
	handle(t, b, "other", l, queue.HandleOptions{Concurrency: 4})
	testenv.Eventually(t, patience, "all that was accepted is done", func() bool {
		n, _ := l.missing(append(accepted, "also"))
		return n == 0
	})
	publish(t, b, queue.Message{Queue: "q", ID: "after"})
	testenv.Eventually(t, patience, "there is room again", func() bool { n, _ := l.missing([]string{"after"}); return n == 0 })
	if l.repeats() > 0 {
		t.Errorf("%d done more than once", l.repeats())
	}
	testenv.Eventually(t, patience, "no longer degraded", func() bool { return !b.Health().Degraded })
}

// TestFullWhileHandling has no room for retries and dead letters.
func TestFullWhileHandling(t *testing.T) {
	s := newBroker(t, natsembed.Options{MaxStoreBytes: 2 << 20, NoSync: true})
	b := s.open(jetstream.Options{})
	ids := make([]string, 0, 40)
	for i := 0; ; i++ {
		m := queue.Message{Queue: "q", ID: fmt.Sprint("m-", i)}
		m.Payload.Data = make([]byte, 64<<10)
		if err := b.Publish(within(t), m); errors.Is(err, queue.ErrRefused) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, m.ID)
	}
	l := newLedger()
	err := b.Handle("q", func(_ context.Context, d *queue.Delivery) error {
		if d.Attempt == 1 && strings.HasSuffix(d.ID, "3") {
			return errors.New("once more")
		}
		if strings.HasSuffix(d.ID, "7") {
			return queue.Discard(errors.New("never"))
		}
		l.add(d.ID)
		return nil
	}, queue.HandleOptions{Concurrency: 2, Lease: time.Second, Backoff: queue.Backoff{Min: 20 * time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	var dead []string
	testenv.Eventually(t, patience, "all are done or dead", func() bool {
		page, err := b.Dead("q").List(within(t), queue.DeadFilter{}, "", 0)
		if err != nil && !errors.Is(err, queue.ErrNotFound) {
			t.Fatal(err)
		}
		dead = dead[:0]
		for _, d := range page.Letters {
			dead = append(dead, d.ID)
		}
		return l.size()+len(dead) == len(ids)
	})
	for _, id := range dead {
		if !strings.HasSuffix(id, "7") {
			t.Errorf("%s is dead", id)
		}
	}
}

// TestSlowHandlers take much longer than the lease, with more in hand.
func TestSlowHandlers(t *testing.T) {
	s := newBroker(t, natsembed.Options{NoSync: true})
	b := s.open(jetstream.Options{})
	ms, ids := batch("q", "m", 60)
	publish(t, b, ms...)
	l := newLedger()
	var mu sync.Mutex
	redelivered := 0
	err := b.Handle("q", func(ctx context.Context, d *queue.Delivery) error {
		mu.Lock()
		redelivered += d.Lost
		mu.Unlock()
		select {
		case <-time.After(7 * time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
		l.add(d.ID)
		return nil
	}, queue.HandleOptions{Concurrency: 30, Lease: 3 * time.Second}) // a machine that stands still for two thirds of a lease ends it
	if err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, patience, "all are done", func() bool { n, _ := l.missing(ids); return n == 0 })
	st := b.Stats().Queues["q"]
	if l.repeats() > 0 || redelivered > 0 || st.Received != int64(len(ids)) || st.Stale > 0 {
		t.Errorf("%d done twice, %d redelivered, %+v", l.repeats(), redelivered, st)
	}
}

// TestStorm has nothing but failures: neither program nor server may spin.
func TestStorm(t *testing.T) {
	s := newBroker(t, natsembed.Options{NoSync: true})
	b := s.open(jetstream.Options{})
	ms, _ := batch("q", "m", 100)
	publish(t, b, ms...)
	const wait = 500 * time.Millisecond
	var attempts atomic.Int64
	start := time.Now()
	err := b.Handle("q", func(context.Context, *queue.Delivery) error {
		attempts.Add(1)
		return errors.New("never")
	}, queue.HandleOptions{
		Concurrency: 10, MaxAttempts: -1,
		Backoff: queue.Backoff{Min: wait, Max: wait, Jitter: -1},
	})
	if err != nil {
		t.Fatal(err)
	}
	before, err := s.stats()
	if err != nil {
		t.Fatal(err)
	}
	<-time.After(3 * time.Second) // real: what is counted is done by an engine and a server of some seconds
	after, err := s.stats()
	if err != nil {
		t.Fatal(err)
	}
	n, took := attempts.Load(), time.Since(start)
	// A round each wait, which clocks may take for shorter, and a first one; each
	// takes a publish, an answer, a hold.
	most := 100 * (int64(took/(wait-20*time.Millisecond)) + 1)
	if n > most {
		t.Errorf("%d attempts in %v", n, took)
	}
	if got := after.MessagesIn - before.MessagesIn; got > most*8 {
		t.Errorf("%d messages to the server in %v", got, took)
	}
	testenv.Eventually(t, patience, "three rounds", func() bool { return attempts.Load() >= 300 })
}

// TestDeclaredOtherwise has a stream of somebody else's under our name.
func TestDeclaredOtherwise(t *testing.T) {
	s := newBroker(t, natsembed.Options{NoSync: true})
	for name, c := range map[string]natsjs.StreamConfig{
		"retention": {Subjects: []string{"polywire.q.retention.>"}},
		"bound":     {Retention: natsjs.WorkQueuePolicy, AllowMsgSchedules: true, MaxMsgs: 10},
		"age":       {Retention: natsjs.WorkQueuePolicy, AllowMsgSchedules: true, MaxAge: time.Minute},
		"schedules": {Retention: natsjs.WorkQueuePolicy},
	} {
		t.Run(name, func(t *testing.T) {
			c.Name = "polywire-q-" + name
			if c.Subjects == nil {
				c.Subjects = []string{"polywire.q." + name + ".now", "polywire.q." + name + ".at.*"}
			}
			if _, err := s.streams().CreateStream(within(t), c); err != nil {
				t.Fatal(err)
			}
			b := s.open(jetstream.Options{})
			err := b.Publish(within(t), queue.Message{Queue: name})
			if !errors.Is(err, queue.ErrRefused) || !strings.Contains(err.Error(), c.Name) {
				t.Errorf("publish: %v", err)
			}
			handle(t, b, name, newLedger(), queue.HandleOptions{})
			testenv.Eventually(t, patience, "the trouble is known", func() bool { return b.Stats().Queues[name].Trouble != "" })
			if h := b.Health(); h.Ready || !h.Live {
				t.Errorf("%+v", h)
			}
		})
	}
}
