package e2ecluster_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/polywire/polywire/client"
)

// note is one of the messages that are counted.
type note struct {
	From string `json:"from"`
	N    int    `json:"n"`
}

// ledger has what was published, and what each subscriber got of it.
type ledger struct {
	mu     sync.Mutex
	sent   map[string][]bool // by publisher: whether the server said that it has the message, from 1
	heard  map[string][]note // by subscriber, in order
	kinds  map[string]string // of subscribers: those of a kind must agree about what nobody was told of
	losses []string          // what subscribers were told that they have missed
}

func newLedger() *ledger {
	return &ledger{sent: make(map[string][]bool), heard: make(map[string][]note), kinds: make(map[string]string)}
}

func (l *ledger) subscriber(name, kind string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.heard[name], l.kinds[name] = nil, kind
}

func (l *ledger) hears(name string, payload []byte) {
	var n note
	err := json.Unmarshal(payload, &n)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil || n.N == 0 {
		l.losses = append(l.losses, fmt.Sprintf("%s: not a note: %s", name, payload))
		return
	}
	l.heard[name] = append(l.heard[name], n)
}

// lost notes that a subscriber was told that it has missed something.
func (l *ledger) lost(name, what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.losses = append(l.losses, name+": "+what)
}

// next is the number of a publisher's next message.
func (l *ledger) next(from string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent[from] = append(l.sent[from], false)
	return len(l.sent[from])
}

func (l *ledger) acknowledged(from string, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent[from][n-1] = true
}

// counts returns how many messages were published, and how many of them
// without an answer.
func (l *ledger) counts() (all, unknown int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, sent := range l.sent {
		all += len(sent)
		for _, ok := range sent {
			if !ok {
				unknown++
			}
		}
	}
	return all, unknown
}

// complete returns nil when everybody has heard every publisher's last message.
func (l *ledger) complete() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, notes := range l.heard {
		last := make(map[string]int)
		for _, n := range notes {
			last[n.From] = n.N
		}
		for from, sent := range l.sent {
			if last[from] < len(sent) {
				return fmt.Errorf("%s has heard %d notes, of %s until %d of %d", name, len(notes), from, last[from], len(sent))
			}
		}
	}
	return nil
}

// audit fails the test for what is wrong.
func (l *ledger) audit(t *testing.T) {
	t.Helper()
	for _, what := range l.wrong() {
		t.Error(what)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !t.Failed() {
		t.Logf("%d subscribers: gaps 0, duplicates 0", len(l.heard))
	}
}

// wrong says what is wrong: gaps, duplicates, disorder.
func (l *ledger) wrong() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := slices.Clone(l.losses)
	if len(l.heard) == 0 {
		all = append(all, "there is no subscriber")
	}
	agreed := make(map[string]map[note]bool) // by kind: of the messages that nobody was told of, those heard
	for name, notes := range l.heard {
		times, last := make(map[note]int), make(map[string]int)
		for _, n := range notes {
			if times[n]++; times[n] > 1 {
				all = append(all, fmt.Sprintf("%s: duplicate %v", name, n))
			} else if n.N < last[n.From] {
				all = append(all, fmt.Sprintf("%s: %v came after %d", name, n, last[n.From]))
			}
			last[n.From] = max(last[n.From], n.N)
		}
		unsure := make(map[note]bool)
		for from, sent := range l.sent {
			for i, ok := range sent {
				n := note{from, i + 1}
				if !ok {
					unsure[n] = times[n] > 0
				} else if times[n] == 0 {
					all = append(all, fmt.Sprintf("%s: gap at %v", name, n))
				}
			}
		}
		if others := agreed[l.kinds[name]]; others == nil {
			agreed[l.kinds[name]] = unsure
		} else if !maps.Equal(others, unsure) {
			all = append(all, fmt.Sprintf("%s: of what was not acknowledged it has %v, others %v", name, unsure, others))
		}
	}
	return all
}

// The ledger finds what it is there for.
func TestLedger(t *testing.T) {
	for _, c := range []struct {
		name  string
		heard map[string][]int // of five messages, of which the fourth was not acknowledged
		want  []string
	}{
		{"all", map[string][]int{"x": {1, 2, 3, 4, 5}, "y": {1, 2, 3, 4, 5}}, nil},
		{"all that was acknowledged", map[string][]int{"x": {1, 2, 3, 5}}, nil},
		{"a gap", map[string][]int{"x": {1, 3, 4, 5}}, []string{"x: gap at {p 2}"}},
		{"a duplicate", map[string][]int{"x": {1, 2, 2, 3, 4, 5}}, []string{"x: duplicate {p 2}"}},
		{"disorder", map[string][]int{"x": {1, 3, 2, 4, 5}}, []string{"x: {p 2} came after 3"}},
		{"one more than another", map[string][]int{"x": {1, 2, 3, 4, 5}, "y": {1, 2, 3, 5}}, []string{"of what was not acknowledged"}},
		{"nobody", nil, []string{"there is no subscriber"}},
	} {
		l := newLedger()
		for i := range 5 {
			if n := l.next("p"); i != 3 {
				l.acknowledged("p", n)
			}
		}
		for name, numbers := range c.heard {
			l.subscriber(name, "kind")
			for _, n := range numbers {
				l.hears(name, fmt.Appendf(nil, `{"from":"p","n":%d}`, n))
			}
		}
		got := l.wrong()
		if len(got) != len(c.want) || len(got) == 1 && !strings.Contains(got[0], c.want[0]) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		if err := l.complete(); err != nil { // all have the last one
			t.Errorf("%s: %v", c.name, err)
		}
	}
	l := newLedger()
	l.next("p")
	l.subscriber("x", "kind")
	l.hears("x", []byte(`{}`))
	l.lost("x", "something")
	if l.complete() == nil || len(l.wrong()) != 2 {
		t.Errorf("%v, %q", l.complete(), l.wrong())
	}
}

// publishers publish to a room until stop is called.
type publishers struct {
	t    *testing.T
	l    *ledger
	quit chan struct{}
	once sync.Once
	goes sync.WaitGroup
}

// publish lets several publishers together publish at a rate, spread over nodes.
func publish(t *testing.T, l *ledger, nodes []*process, several, rate int) *publishers {
	t.Helper()
	p := &publishers{t: t, l: l, quit: make(chan struct{})}
	t.Cleanup(p.stop)
	for i := range several {
		n := nodes[i%len(nodes)]
		from := fmt.Sprintf("p%d at %s", i, n.Name)
		c, err := client.Dial(t.Context(), "ws://cluster", dialTo(n, way{}))
		if err != nil {
			t.Fatal(err)
		}
		p.goes.Go(func() {
			p.run(c, from, time.Second*time.Duration(several)/time.Duration(rate))
			if err := c.Close(); err != nil {
				t.Errorf("%s: %v", from, err)
			}
		})
	}
	return p
}

// run publishes in order. Who was held up makes up for it.
func (p *publishers) run(c *client.Client, from string, every time.Duration) {
	began := time.Now()
	for i := 1; ; i++ {
		wait := time.NewTimer(time.Until(began.Add(time.Duration(i) * every)))
		select {
		case <-wait.C:
		case <-p.quit:
			wait.Stop()
			p.farewell(c, from)
			return
		}
		_ = p.one(c, from) // the ledger knows
	}
}

func (p *publishers) one(c *client.Client, from string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	n := p.l.next(from)
	told := within(6 * time.Second) // 5 s, and some
	err := c.Publish(ctx, kept, "note", note{from, n})
	if err == nil {
		p.l.acknowledged(from, n)
		return nil
	}
	p.t.Logf("%s: message %d: %v", from, n, err)
	told.keep(p.t, from+": to be told of an error")
	return err
}

// farewell is a last message that is acknowledged.
func (p *publishers) farewell(c *client.Client, from string) {
	for end := time.Now().Add(patience); p.one(c, from) != nil; {
		if time.Now().After(end) {
			p.t.Errorf("%s cannot publish any more", from)
			return
		}
	}
}

// stop ends the publishing, and returns when all is said.
func (p *publishers) stop() {
	p.once.Do(func() { close(p.quit) })
	p.goes.Wait()
}
