package load

import (
	"sync"
	"testing"
	"time"

	"github.com/polywire/polywire/transport"
)

func TestSteady(t *testing.T) {
	ws := startServer(t, false, "", rawReply)
	wsNative := startServer(t, false, "polywire.v1.proto", nativeReply)
	tcpNative := startServer(t, true, "polywire.v1.proto", nativeReply)
	var shared Recorder
	var asked uint64
	if s := shared.Total(); s != (Sample{}) {
		t.Errorf("before the beginning: %+v", s)
	}
	for _, link := range []struct{ url, wire string }{
		{"ws://" + ws.addr, "raw"}, // answers in order
		{"ws://" + wsNative.addr, "native"},
		{"tcp://" + tcpNative.addr, "native"},
	} {
		res := run(t, Config{URL: link.url, Wire: link.wire, Mode: Steady, Conns: 7, DialRate: -1, Duration: short,
			Every: 10 * time.Millisecond, Recorder: &shared})
		if res.Asked == 0 || res.Asked != res.Messages || res.OpenConns != 7 || res.Latency.Max <= 0 || res.Latency.P50 > res.Latency.Max {
			t.Errorf("%s: %+v", link.url, res)
		}
		asked += res.Asked
	}
	if w, all := shared.Window(), shared.Total(); w.Sent != asked || w.Answered != asked || all.Sent != asked || all.Latency != w.Latency || all.Seconds <= 0 {
		t.Errorf("of %d requests the first window has %+v, the whole %+v", asked, w, all)
	}
	if w := shared.Window(); w.Sent != 0 || w.Answered != 0 || w.Latency != (Latency{}) {
		t.Errorf("the next window has %+v", w)
	}
}

// A server that says nothing until it has been asked many times is asked none
// the less, and its first answer has been due for all that time.
func TestSteadyIsAnOpenLoop(t *testing.T) {
	const (
		held  = 20
		every = 20 * time.Millisecond // so that it takes long until so many are late that they count as lost
	)
	var mu sync.Mutex
	var frames []transport.Frame
	asked := 0
	var asking *testConn
	s := startServer(t, false, "polywire.v1.proto", func(s *testServer, c *testConn, f transport.Frame) {
		mu.Lock()
		defer mu.Unlock()
		if c != asking { // the first, or one after a run that was too short
			asking, asked, frames = c, 0, nil
		}
		if asked++; asked < held {
			frames = append(frames, transport.Frame{Type: f.Type, Data: append([]byte(nil), f.Data...)})
			return
		}
		for _, f := range append(frames, f) {
			nativeReply(s, c, f)
		}
		frames = nil
	})
	res := run(t, Config{URL: "ws://" + s.addr, Mode: Steady, Conns: 1, Every: every, Duration: 2 * held * every})
	if res.Asked < held || res.Messages != res.Asked {
		t.Errorf("%d answers to %d requests", res.Messages, res.Asked)
	}
	if want := (held - 2) * every; res.Latency.Max < float64(want.Milliseconds()) {
		t.Errorf("the slowest answer took %v ms, want %v", res.Latency.Max, want)
	}
}

func TestSteadyCountsWhatIsLost(t *testing.T) {
	for name, c := range map[string]struct {
		reply replyFunc
		fails bool
	}{
		"no answers":     {func(*testServer, *testConn, transport.Frame) {}, false},
		"answered twice": {func(s *testServer, c *testConn, f transport.Frame) { nativeReply(s, c, f); nativeReply(s, c, f) }, true},
		"hung up":        {func(_ *testServer, c *testConn, _ transport.Frame) { _ = c.Close() }, true},
	} {
		s := startServer(t, false, "polywire.v1.proto", c.reply)
		cfg := Config{URL: "ws://" + s.addr, Mode: Steady, Conns: 1, Every: 10 * time.Millisecond, Duration: time.Second, settle: short}
		if c.fails {
			cfg.Duration = time.Minute // the only connection fails before the end
		}
		res, err := Run(t.Context(), cfg)
		if (err != nil) != c.fails || (res.Errors > 0) != c.fails || !c.fails && res.Messages >= res.Asked {
			t.Errorf("%s: %+v, %v", name, res, err)
		}
	}
}

func TestPaced(t *testing.T) {
	var p paced
	for i := range int64(outstanding + 1) {
		if id := p.ask(100 + i); id != uint64(i)+1 {
			t.Fatalf("request %d has id %d", i, id)
		}
	}
	for _, tt := range []struct {
		name string
		id   uint64
		due  int64 // 0: an error; -1: it is lost
	}{
		{"none", 0, 0},
		{"too old", 1, -1},
		{"the oldest that is known", 2, 101},
		{"the same again", 2, 0},
		{"the latest", outstanding + 1, 100 + outstanding},
		{"not asked yet", outstanding + 2, 0},
	} {
		if due, known, err := p.answer(tt.id); due != max(tt.due, 0) || known != (tt.due > 0) || (err == nil) != (tt.due != 0) {
			t.Errorf("%s: due at %d, %v", tt.name, due, err)
		}
	}
}
