package polywire_test

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/wire"
)

func TestPresence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(t, nil, polywire.WithPresence("lobby", "team.*"),
			polywire.WithPublishPolicy(polywire.AllowPublish), polywire.WithBroadcastPolicy(polywire.AllowBroadcast))
		peers, conns := crowd(t, srv, 3)
		_ = conns[0].Join("lobby", "elsewhere")
		time.Sleep(time.Second)
		_ = conns[1].Join("lobby", "team.a")
		expect := func(p *peer, kind string, of *polywire.Conn, value string) {
			t.Helper()
			m := p.receive()
			var got polywire.Presence
			if err := json.Unmarshal(m.Payload.Data, &got); err != nil || m.Kind != kind || got.ID != of.ID() || string(got.Value) != value {
				t.Fatalf("%+v with %s (%v), want %s of %s", m, m.Payload.Data, err, kind, of.ID())
			}
		}
		expect(peers[0], polywire.PresenceJoined, conns[1], "")
		if err := conns[1].SetPresence(map[string]string{"mood": "fine"}); err != nil {
			t.Fatal(err)
		}
		expect(peers[0], polywire.PresenceChanged, conns[1], `{"mood":"fine"}`)
		there, err := srv.Room("lobby").Presence(t.Context())
		if err != nil || len(there) != 2 || there[0].ID != conns[0].ID() || string(there[1].Value) != `{"mood":"fine"}` {
			t.Fatalf("%+v %v", there, err)
		}
		if d := there[1].Since.Sub(there[0].Since); d != time.Second {
			t.Errorf("they joined %v apart", d)
		}
		if err := conns[0].SetPresence(strings.Repeat("x", 2000)); polywire.CodeOf(err) != polywire.CodeBadRequest {
			t.Errorf("a long value: %v", err)
		}
		if err := conns[0].SetPresence(func() {}); err == nil {
			t.Error("a function as a value")
		}
		for _, kind := range []string{polywire.PresenceJoined, polywire.PresenceLeft, polywire.PresenceChanged} {
			peers[1].send(wire.Packet{Type: wire.Publish, ID: 1, Room: "lobby", Kind: kind, Payload: text("forged")})
			if m := peers[1].receive(); m.Type != wire.Error || m.Err.Code != string(polywire.CodeForbidden) {
				t.Errorf("a peer's own %s: %+v", kind, m)
			}
			peers[1].send(wire.Packet{Type: wire.Broadcast, ID: 2, Kind: kind, Payload: text("forged")})
			if m := peers[1].receive(); m.Type != wire.Error || m.Err.Code != string(polywire.CodeForbidden) {
				t.Errorf("a peer's own %s to all: %+v", kind, m)
			}
		}
		conns[1].Leave("lobby")
		expect(peers[0], polywire.PresenceLeft, conns[1], `{"mood":"fine"}`)
		_ = conns[2].Join("lobby")
		expect(peers[0], polywire.PresenceJoined, conns[2], "")
		peers[2].end()
		expect(peers[0], polywire.PresenceLeft, conns[2], "")
		_ = srv.All().Send(t.Context(), "end", nil)
		for _, i := range []int{0, 1} { // and nothing else came
			if m := peers[i].receive(); m.Kind != "end" || m.Type != wire.Message {
				t.Errorf("peer %d got %+v", i, m)
			}
		}
		if _, err := srv.All().Presence(t.Context()); err == nil {
			t.Error("presence of everybody")
		}
	})
	if _, err := polywire.New(polywire.WithPresence("a*b")); err == nil {
		t.Error("a star within a pattern")
	}
}
