package natsstore_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/polywire/polywire/internal/testenv"
	"github.com/polywire/polywire/natsembed"
	"github.com/polywire/polywire/queue"
	"github.com/polywire/polywire/queue/jetstream"
	"github.com/polywire/polywire/webhook"
	"github.com/polywire/polywire/webhook/dispatch"
	"github.com/polywire/polywire/webhook/natsstore"
)

const (
	childVariable = "NATSSTORE_TEST_CHILD"
	childAccepted = "accepted: "
	childKept     = "kept: "
	killedEvents  = 2000
)

// sender is a dispatcher with all that it stands on.
type sender struct {
	server *natsembed.Server
	nc     *nats.Conn
	broker *queue.Broker
	store  *natsstore.Store
	d      *dispatch.Dispatcher
}

// newSender embeds a server, and may send to the loopback.
func newSender(ctx context.Context, so natsembed.Options, change func(o *dispatch.Options)) (*sender, error) {
	s := &sender{}
	var err error
	if s.server, err = natsembed.Start(ctx, so); err != nil {
		return nil, err
	}
	if s.nc, err = s.server.Connect(); err != nil {
		return nil, errors.Join(err, s.close(ctx))
	}
	if s.store, err = natsstore.Open(ctx, natsstore.Options{Conn: s.nc}); err != nil {
		return nil, errors.Join(err, s.close(ctx))
	}
	driver, err := jetstream.New(ctx, jetstream.Options{Connect: s.server.Connect})
	if err != nil {
		return nil, errors.Join(err, s.close(ctx))
	}
	if s.broker, err = queue.New(driver, queue.Options{}); err != nil {
		return nil, errors.Join(err, s.close(ctx))
	}
	client, err := webhook.NewClient(webhook.ClientOptions{AllowHTTP: true, AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}})
	if err != nil {
		return nil, errors.Join(err, s.close(ctx))
	}
	o := dispatch.Options{Broker: s.broker, Client: client, Endpoints: s.store.Endpoints, Events: s.store.Events, Attempts: s.store.Attempts}
	if change != nil {
		change(&o)
	}
	if s.d, err = dispatch.New(ctx, o); err != nil {
		return nil, errors.Join(err, s.close(ctx))
	}
	return s, nil
}

func (s *sender) close(ctx context.Context) error {
	var errs []error
	if s.d != nil {
		errs = append(errs, s.d.Shutdown(ctx))
	}
	if s.broker != nil {
		errs = append(errs, s.broker.Shutdown(ctx))
	}
	if s.nc != nil {
		s.nc.Close()
	}
	return errors.Join(append(errs, s.server.Shutdown(ctx))...)
}

// runChild sends the events from a number on, and says which were accepted.
func runChild(string) int {
	ctx, cancel := context.WithTimeout(context.Background(), 4*patience)
	defer cancel()
	if err := send(ctx, os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

func send(ctx context.Context, dir, url, first string) error {
	s, err := newSender(ctx, natsembed.Options{Dir: dir}, func(o *dispatch.Options) {
		o.Lease = time.Second
		o.Hooks = []dispatch.Hooks{{Attempted: func(e dispatch.Entry) { fmt.Println(childKept + "/" + e.Endpoint + " " + e.Attempt.ID) }}}
	})
	if err != nil {
		return err
	}
	for _, id := range []string{"a", "b"} {
		_, _, err = s.d.Add(ctx, webhook.Endpoint{ID: id, URL: url + "/" + id, Types: []string{"*"}})
		if err != nil && !errors.Is(err, dispatch.ErrConflict) {
			return err
		}
	}
	next, err := strconv.Atoi(first)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	errs := make(chan error, 4)
	for range 4 {
		go func() {
			for {
				mu.Lock()
				n := next
				next++
				mu.Unlock()
				if n >= killedEvents/2 { // each goes to two endpoints
					errs <- nil
					return
				}
				r, err := s.d.Publish(ctx, webhook.Event{ID: fmt.Sprint("e", n), Type: "a", Data: n})
				if err != nil || r.Endpoints != 2 {
					errs <- fmt.Errorf("published to %d: %w", r.Endpoints, err)
					return
				}
				fmt.Println(childAccepted + r.ID)
			}
		}()
	}
	for range 4 {
		if err := <-errs; err != nil {
			return err
		}
	}
	<-ctx.Done()
	return errors.New("nobody killed it")
}

// counter is a receiver that counts.
type counter struct {
	mu    sync.Mutex
	got   map[string]int
	total int
}

func (c *counter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	pause(2 * time.Millisecond) // the work
	c.mu.Lock()
	c.got[r.URL.Path+" "+r.Header.Get("Webhook-Id")]++
	c.total++
	c.mu.Unlock()
	w.WriteHeader(http.StatusNoContent)
}

func (c *counter) count() (total, different int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.total, len(c.got)
}

// told is what the programs said before they were killed.
type told struct {
	mu       sync.Mutex
	accepted map[string]bool
	kept     []string // deliveries whose attempt was kept, of this round
}

func (s *told) read(t *testing.T, out io.Reader) {
	for lines := bufio.NewScanner(out); lines.Scan(); {
		line := lines.Text()
		s.mu.Lock()
		if id, ok := strings.CutPrefix(line, childAccepted); ok {
			s.accepted[id] = true
		} else if delivery, ok := strings.CutPrefix(line, childKept); ok {
			s.kept = append(s.kept, delivery)
		} else {
			t.Errorf("the child says %s", line)
		}
		s.mu.Unlock()
	}
}

// next is the first event that is not known to be accepted.
func (s *told) next() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for s.accepted[fmt.Sprint("e", n)] {
		n++
	}
	return strconv.Itoa(n)
}

// TestKilled kills the program in the middle of 2,000 deliveries, ten times: nothing
// that was accepted is lost, and what is delivered twice was in flight when the program
// was killed: its request was made, and its attempt not kept yet.
func TestKilled(t *testing.T) {
	const kills = 10
	receiver := &counter{got: make(map[string]int)}
	server := httptest.NewServer(receiver)
	t.Cleanup(server.Close)
	dir := t.TempDir()
	said := &told{accepted: make(map[string]bool)}
	settled := make(map[string]int) // deliveries, and how often they had been made when their attempt was kept
	for round := 0; round <= kills; round++ {
		start, _ := receiver.count()
		cmd, out := startChild(t, dir, server.URL, said.next())
		read := make(chan struct{})
		go func() {
			defer close(read)
			said.read(t, out)
		}()
		last := round == kills
		// A disk that takes long for each message has the time for hundreds.
		testenv.Eventually(t, 3*patience, fmt.Sprint("deliveries of round ", round), func() bool {
			total, different := receiver.count()
			if last {
				return different == killedEvents
			}
			return total-start >= killedEvents/(kills+4)
		})
		if last {
			pause(1500 * time.Millisecond) // what still comes is a duplicate: a lease is a second
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-read
		_ = cmd.Wait() // it was killed
		for _, delivery := range said.kept {
			if n := receiver.times(delivery); settled[delivery] == 0 {
				settled[delivery] = n
			}
		}
		said.kept = nil
	}
	for id := range said.accepted {
		for _, endpoint := range []string{"a", "b"} {
			if receiver.times("/"+endpoint+" "+id) == 0 {
				t.Errorf("%s was accepted, and %s never got it", id, endpoint)
			}
		}
	}
	for delivery, n := range settled {
		if now := receiver.times(delivery); now != n {
			t.Errorf("%s was made %d times, and its attempt kept; then it was made again", delivery, n)
		}
	}
	total, different := receiver.count()
	t.Logf("%d deliveries, %d more than once, %d of them known to be kept", total, total-different, len(settled))
	if len(settled) < killedEvents/2 {
		t.Errorf("only %d deliveries are known to be kept: that says little", len(settled))
	}
}

func (c *counter) times(delivery string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.got[delivery]
}

func startChild(t *testing.T, args ...string) (*exec.Cmd, io.Reader) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), childVariable+"=send")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, out
}

// eventually waits for a condition.
func eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	testenv.Eventually(tb, patience, what, ok)
}

// pause is time that something takes.
func pause(d time.Duration) {
	t := time.NewTimer(d)
	<-t.C
}
