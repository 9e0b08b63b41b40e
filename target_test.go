package polywire_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/wire"
)

// crowd connects n peers and returns them with their connections.
func crowd(t *testing.T, srv *polywire.Server, n int) ([]*peer, []*polywire.Conn) {
	t.Helper()
	peers := make([]*peer, n)
	conns := make([]*polywire.Conn, n)
	for i := range n {
		peers[i] = connect(t, srv)
		for _, c := range srv.All().Conns() {
			if !slices.Contains(conns, c) {
				conns[i] = c
			}
		}
		t.Cleanup(peers[i].end)
	}
	return peers, conns
}

func TestTargets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(t, nil)
		peers, conns := crowd(t, srv, 5)
		conns[0].Join("a")
		conns[1].Join("a", "b")
		conns[2].Join("b")
		conns[3].Join("c", "a")
		for _, c := range []struct {
			name   string
			target polywire.Target
			want   []int
		}{
			{"all", srv.All(), []int{0, 1, 2, 3, 4}},
			{"room", srv.Room("a"), []int{0, 1, 3}},
			{"several rooms, once each", srv.To("a", "b"), []int{0, 1, 2, 3}},
			{"no room", srv.To(), nil},
			{"empty room", srv.Room("nobody"), nil},
			{"except a room", srv.Room("a").Except("b"), []int{0, 3}},
			{"except rooms", srv.All().Except("b").Except("c"), []int{0, 4}},
			{"except conns", srv.All().ExceptConns(conns[4], conns[0]), []int{1, 2, 3}},
			{"others", conns[0].Others("a"), []int{1, 3}},
			{"given conns", srv.ToConns(conns[2], conns[4]), []int{2, 4}},
		} {
			if got := len(c.target.Conns()); got != len(c.want) {
				t.Errorf("%s: Count is %d, want %d", c.name, got, len(c.want))
			}
			if err := c.target.Send(t.Context(), c.name, nil); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			for _, i := range c.want {
				if got := peers[i].receive(); got.Kind != c.name {
					t.Errorf("%s: peer %d got %q", c.name, i, got.Kind)
				}
			}
		}
		// Nobody else got anything: the next message of each is this one.
		srv.All().Send(t.Context(), "end", nil)
		for i, p := range peers {
			if got := p.receive(); got.Kind != "end" {
				t.Errorf("peer %d also got %q", i, got.Kind)
			}
		}
		_ = srv.Room("b").Join(t.Context(), "d")
		if got := srv.Rooms(); !slices.Equal(got, []string{"a", "b", "c", "d"}) {
			t.Errorf("rooms: %v", got)
		}
		_ = srv.All().Leave(t.Context(), "a")
		conns[3].LeaveAll()
		if got := srv.Rooms(); !slices.Equal(got, []string{"b", "d"}) {
			t.Errorf("rooms: %v", got)
		}
		_ = srv.Room("d").Disconnect(context.Background(), 4000, "bye")
		for _, i := range []int{1, 2} {
			if code := peers[i].closed(); code != 4000 {
				t.Errorf("peer %d closed with %d", i, code)
			}
		}
		synctest.Wait()
		if n := len(srv.All().Conns()); n != 3 || len(srv.Rooms()) != 0 {
			t.Errorf("%d connections, rooms %v", n, srv.Rooms())
		}
		if err := conns[1].Join("late"); !errors.Is(err, polywire.ErrConnClosed) {
			t.Errorf("joined after the end: %v", err)
		}
	})
}

func TestPatterns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(t, nil)
		_, conns := crowd(t, srv, 4)
		count := func(p polywire.Pattern, n int) map[*polywire.Conn]int {
			got := make(map[*polywire.Conn]int)
			for range n {
				for _, c := range pick(p, srv.All().Conns()) {
					got[c]++
				}
			}
			return got
		}
		if got := count(polywire.Everyone(), 3); len(got) != 4 || got[conns[0]] != 3 {
			t.Errorf("everyone: %v", got)
		}
		if got := count(polywire.RoundRobin(), 8); len(got) != 4 || got[conns[0]] != 2 || got[conns[3]] != 2 {
			t.Errorf("round robin: %v", got)
		}
		if got := count(polywire.Random(), 400); len(got) != 4 || got[conns[1]] < 40 {
			t.Errorf("random: %v", got)
		}
		if got := count(polywire.LeastLoaded(), 400); len(got) != 4 {
			t.Errorf("least loaded of equals: %v", got)
		}
		if got := count(polywire.ByKey("user-1"), 50); len(got) != 1 {
			t.Errorf("one key went to several: %v", got)
		}
		spread := make(map[*polywire.Conn]int)
		for k := range 1000 {
			spread[pick(polywire.ByKey(fmt.Sprint("key-", k)), srv.All().Conns())[0]]++
		}
		for _, c := range conns {
			if spread[c] < 150 || spread[c] > 350 {
				t.Errorf("1000 keys are spread unevenly: %v", spread)
			}
		}
		// When a member goes, only its keys move.
		for k := range 200 {
			key := polywire.ByKey(fmt.Sprint("key-", k))
			before := pick(key, srv.All().Conns())[0]
			after := pick(key, srv.All().ExceptConns(conns[2]).Conns())[0]
			if before != conns[2] && before != after {
				t.Fatalf("key %d moved though its member stayed", k)
			}
		}
	})
}

func TestLeastLoaded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(t, nil)
		_, conns := crowd(t, srv, 3)
		for i, n := range []int{300, 100, 200} { // KiB; the pipe takes 64 of each
			if err := conns[i].Send(t.Context(), "load", make([]byte, n<<10)); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if got := pick(polywire.LeastLoaded(), srv.All().Conns()); got[0] != conns[1] {
			t.Errorf("picked one with %d bytes queued", got[0].QueuedBytes())
		}
	})
}

// Who owes answers has more to do than who has not read yet.
func TestLeastLoadedByOpenCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(t, nil)
		_, conns := crowd(t, srv, 3)
		ctx, cancel := context.WithCancel(t.Context())
		var calls sync.WaitGroup
		for i, n := range []int{3, 1, 2} {
			for range n {
				calls.Go(func() {
					if err := conns[i].Call(ctx, "never", nil, nil); !errors.Is(err, context.Canceled) {
						t.Errorf("a call ended with %v", err)
					}
				})
			}
		}
		synctest.Wait()
		if got := pick(polywire.LeastLoaded(), srv.All().Conns()); got[0] != conns[1] {
			t.Error("did not pick the one with one open call")
		}
		cancel()
		calls.Wait()
	})
}

func answer(p *peer, s string) {
	for {
		q, err := p.next()
		if err != nil {
			return
		}
		var packet wire.Packet
		if ok, _ := p.sess.Decode(q, &packet); ok && packet.Type == wire.Call {
			reply := wire.Packet{Type: wire.Reply, ID: packet.ID, Payload: text(s)}
			if s == "" {
				reply = wire.Packet{Type: wire.Error, ID: packet.ID, Err: &wire.ErrorBody{Code: "busy", Message: "not now"}}
			}
			p.send(reply)
		}
	}
}

func TestCallMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(t, nil)
		peers, conns := crowd(t, srv, 4)
		for i, s := range []string{"red", "blue", ""} { // the fourth never answers
			conns[i].Join("voters")
			go answer(peers[i], s)
		}
		conns[3].Join("voters")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var answers []polywire.Answer[string]
		if err := srv.Room("voters").Call(ctx, "vote", nil, polywire.Collect(&answers)); err != nil {
			t.Fatal(err)
		}
		got := make(map[*polywire.Conn]string)
		for _, a := range answers {
			got[a.Conn] = a.Value + string(polywire.CodeOf(a.Err))
		}
		want := map[*polywire.Conn]string{conns[0]: "red", conns[1]: "blue", conns[2]: "busy", conns[3]: "deadline_exceeded"}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("answers: %v", got)
		}
		var one string
		start := time.Now()
		if err := srv.Room("voters").Call(t.Context(), "vote", nil, &one); err != nil || one == "" || time.Since(start) > 0 {
			t.Errorf("first good answer: %q, %v after %v", one, err, time.Since(start))
		}
		err := srv.ToConns(conns[2]).Call(t.Context(), "vote", nil, &one)
		var remote *polywire.Error
		if !errors.As(err, &remote) || !remote.Remote() || remote.Code != "busy" {
			t.Errorf("only errors: %v", err)
		}
		if err := srv.Room("nobody").Call(t.Context(), "vote", nil, nil); !errors.Is(err, polywire.ErrNoConnections) {
			t.Errorf("nobody: %v", err)
		}
		robin := polywire.RoundRobin()
		var turns []string
		for range 4 {
			if err := srv.ToConns(conns[0], conns[1]).Pick(robin).Call(t.Context(), "vote", nil, &one); err != nil {
				t.Error(err)
			}
			turns = append(turns, one)
		}
		if !slices.Equal(turns, []string{"red", "blue", "red", "blue"}) {
			t.Errorf("turns: %v", turns)
		}
	})
}

func TestCallLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(t, nil, polywire.WithMaxOpenCalls(3))
		peers, conns := crowd(t, srv, 1)
		results := make(chan error, 10)
		for range 5 {
			go func() { results <- conns[0].Call(t.Context(), "q", nil, nil) }()
		}
		synctest.Wait()
		for range 2 {
			if err := <-results; polywire.CodeOf(err) != polywire.CodeTooManyRequests {
				t.Errorf("a call over the limit: %v", err)
			}
		}
		peers[0].end()
		for range 3 {
			if err := <-results; !errors.Is(err, polywire.ErrConnClosed) {
				t.Errorf("a call on a broken connection: %v", err)
			}
		}
		if err := conns[0].Call(t.Context(), "q", nil, nil); !errors.Is(err, polywire.ErrConnClosed) {
			t.Errorf("a call after the end: %v", err)
		}
	})
}

// A message is translated once for each form, and what cannot be said is reported.
func TestFanoutTranslates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type drop struct {
			kind   string
			reason polywire.DropReason
		}
		drops := make(chan drop, 10)
		srv := newServer(t, nil, polywire.WithHooks(polywire.Hooks{
			Dropped: func(_ *polywire.Conn, kind string, r polywire.DropReason) { drops <- drop{kind, r} },
		}))
		all, onlyJSON := connect(t, srv), connect(t, srv, codec.TypeJSON)
		defer all.end()
		defer onlyJSON.end()
		payload := codec.Payload{Type: codec.TypeBytes, Data: []byte("raw")}
		if err := srv.All().Send(t.Context(), "bytes", payload); err != nil {
			t.Fatal(err)
		}
		if got := all.receive(); got.Payload.Type != codec.TypeBytes || string(got.Payload.Data) != "raw" {
			t.Errorf("got %+v", got.Payload)
		}
		if got := onlyJSON.receive(); got.Payload.Type != codec.TypeJSON || string(got.Payload.Data) != `"cmF3"` {
			t.Errorf("got %s %s", got.Payload.Type, got.Payload.Data)
		}
		err := srv.All().Send(t.Context(), "unsayable", codec.Payload{Type: "application/x-unknown", Data: []byte{1}})
		if !errors.Is(err, codec.ErrNoTranslation) {
			t.Errorf("Send: %v", err)
		}
		if d := <-drops; d.kind != "unsayable" || d.reason != polywire.DropUntranslated {
			t.Errorf("dropped: %+v", d)
		}
		if got := all.receive(); got.Kind != "unsayable" {
			t.Errorf("the other peer got %q", got.Kind)
		}
	})
}

// pick lets a pattern choose among connections of this node.
func pick(p polywire.Pattern, conns []*polywire.Conn) (picked []*polywire.Conn) {
	members := make([]polywire.Member, len(conns))
	for i, c := range conns {
		members[i] = polywire.MemberOf(c)
	}
	for _, m := range p(members) {
		picked = append(picked, m.Conn())
	}
	return picked
}
