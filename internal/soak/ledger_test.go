package soak_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
)

// note is one of the messages that are counted.
type note struct {
	From string `json:"from"`
	N    int    `json:"n"`
}

// promise is what a member was promised.
type promise uint8

const (
	// recovered: all that was accepted comes, in order, once.
	recovered promise = iota + 1
	// liveOnly: the same as long as a connection lasts; nothing between two.
	liveOnly
	// atLeastOnce: all that was accepted comes, once or more, in any order.
	atLeastOnce
)

// ledger has what was said in one place, and who heard what of it.
type ledger struct {
	mu      sync.Mutex
	said    map[string][]bool // by who said it: whether it was accepted, from 1
	members map[string]*hearing
	wrongs  []string
}

// hearing is what a member has heard.
type hearing struct {
	promise promise
	times   map[string][]byte // by who said it: how often, from 1
	last    map[string]int
	conn    map[string]string // by who said it: the connection that brought the last
	gaps    []gap
	all     int
	twice   int
}

// gap is what one connection did not bring, though it brought what is around.
type gap struct {
	from     string
	low, top int
}

func newLedger() *ledger {
	return &ledger{said: make(map[string][]bool), members: make(map[string]*hearing)}
}

// member lets somebody in, before anything is said.
func (l *ledger) member(name string, p promise) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.members[name] = &hearing{promise: p, times: make(map[string][]byte), last: make(map[string]int), conn: make(map[string]string)}
}

// says is the number of somebody's next message.
func (l *ledger) says(from string) note {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.said[from] = append(l.said[from], false)
	return note{from, len(l.said[from])}
}

// accepted notes that the server said it has a message.
func (l *ledger) accepted(n note) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.said[n.From][n.N-1] = true
}

// wrong notes what must not be.
func (l *ledger) wrong(format string, v ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.note(format, v...)
}

func (l *ledger) note(format string, v ...any) {
	if len(l.wrongs) < 50 {
		l.wrongs = append(l.wrongs, fmt.Sprintf(format, v...))
	}
}

// hears notes what a connection has brought to a member.
func (l *ledger) hears(name, conn string, payload []byte) {
	var n note
	err := json.Unmarshal(payload, &n)
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.members[name]
	if err != nil || n.N < 1 || n.N > len(l.said[n.From]) {
		l.note("%s: what nobody has said: %s", name, payload)
		return
	}
	for len(h.times[n.From]) < n.N {
		h.times[n.From] = append(h.times[n.From], 0)
	}
	h.all++
	before := h.times[n.From][n.N-1]
	h.times[n.From][n.N-1] = min(before+1, 100)
	last := h.last[n.From]
	same := h.conn[n.From] == conn
	h.last[n.From], h.conn[n.From] = max(last, n.N), conn
	switch {
	case before > 0:
		if h.twice++; h.promise != atLeastOnce {
			l.note("%s: %v twice", name, n)
		}
	case h.promise == atLeastOnce:
	case n.N < last && l.said[n.From][n.N-1]: // else it may have been on its way for long
		l.note("%s: %v after %d", name, n, last)
	case h.promise == liveOnly && same && n.N > last+1:
		h.gaps = append(h.gaps, gap{n.From, last + 1, n.N - 1})
	}
}

// missing says what somebody has not heard yet; nil when nothing. Only what was
// said last counts with those who may miss some: it must have been accepted.
func (l *ledger) missing() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, h := range l.members {
		for from, said := range l.said {
			for i := range said {
				if heard := i < len(h.times[from]) && h.times[from][i] > 0; said[i] && !heard && (h.promise != liveOnly || i == len(said)-1) {
					return fmt.Errorf("%s has heard %d messages, but not %d of %d of %s", name, h.all, i+1, len(said), from)
				}
			}
		}
	}
	return nil
}

// audit says all that is wrong.
func (l *ledger) audit() []string {
	err := l.missing()
	l.mu.Lock()
	defer l.mu.Unlock()
	all := slices.Clone(l.wrongs)
	if err != nil {
		all = append(all, err.Error())
	}
	if len(l.members) == 0 || len(l.said) == 0 {
		all = append(all, "nobody was there")
	}
	for name, h := range l.members {
		for _, g := range h.gaps {
			for n := g.low; n <= g.top; n++ {
				if l.said[g.from][n-1] && h.times[g.from][n-1] == 0 {
					all = append(all, fmt.Sprintf("%s: one connection has not brought %d of %s", name, n, g.from))
				}
			}
		}
	}
	return all
}

// String counts.
func (l *ledger) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	said, accepted := 0, 0
	for _, all := range l.said {
		said += len(all)
		for _, ok := range all {
			if ok {
				accepted++
			}
		}
	}
	heard, twice := 0, 0
	for _, h := range l.members {
		heard, twice = heard+h.all, twice+h.twice
	}
	return fmt.Sprintf("%d said by %d, %d accepted; %d members heard %d, %d of them again", said, len(l.said), accepted, len(l.members), heard, twice)
}

// The ledger finds what it is there for.
func TestLedger(t *testing.T) {
	for _, c := range []struct {
		name    string
		promise promise
		heard   string // connection and number; of five messages, of which the fourth was not accepted
		want    string // empty: nothing is wrong
	}{
		{"all", recovered, "a1 a2 a3 a4 a5", ""},
		{"all that was accepted", recovered, "a1 a2 b3 b5", ""},
		{"a gap", recovered, "a1 a3 a4 a5", "not 2 of 5"},
		{"the last", recovered, "a1 a2 a3", "not 5 of 5"},
		{"twice", recovered, "a1 a2 a2 a3 a5", "{p 2} twice"},
		{"disorder", recovered, "a1 a3 a2 a4 a5", "{p 2} after 3"},
		{"disorder of what was not accepted", recovered, "a1 a2 a3 a5 a4", ""},
		{"a gap between two connections", liveOnly, "a1 b3 b5", ""},
		{"a gap in one", liveOnly, "a1 a3 a5", "one connection has not brought 2"},
		{"the last of all", liveOnly, "a1 a2 a3", "not 5 of 5"},
		{"twice by two connections", liveOnly, "a1 a2 b2 b3 b5", "{p 2} twice"},
		{"often, in any order", atLeastOnce, "a5 a1 b3 a2 a1", ""},
		{"a gap there", atLeastOnce, "a5 a1 a2 a1", "not 3 of 5"},
		{"what nobody said", recovered, "a1 a2 a3 a4 a5 a6", "nobody has said"},
		{"nobody", 0, "", "nobody was there"},
	} {
		l := newLedger()
		if c.promise > 0 {
			l.member("x", c.promise)
		}
		for i := range 5 {
			if n := l.says("p"); i != 3 {
				l.accepted(n)
			}
		}
		for h := range strings.FieldsSeq(c.heard) {
			l.hears("x", h[:1], fmt.Appendf(nil, `{"from":"p","n":%s}`, h[1:]))
		}
		got := strings.Join(l.audit(), "; ")
		if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
