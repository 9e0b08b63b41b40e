package auth_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/auth"
	"github.com/polywire/polywire/transport/stream"
	"github.com/polywire/polywire/transport/transporttest"
	"github.com/polywire/polywire/wire"
	"github.com/polywire/polywire/wire/native"
)

// connOf is a connection with an identity, for policies.
func connOf(t *testing.T, id *polywire.Identity) *polywire.Conn {
	t.Helper()
	srv, err := polywire.New(polywire.WithAuth(func(context.Context, *polywire.Handshake) (*polywire.Identity, error) { return id, nil }))
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Start(); err != nil {
		t.Fatal(err)
	}
	a, b := transporttest.ConnPair(0)
	t.Cleanup(func() {
		b.Close()
		srv.Close()
	})
	host := srv.Host("native")
	if err := host.Attach(wire.Link{Transport: stream.New(a, stream.Options{}), Session: native.NewSession(host, native.JSON)}); err != nil {
		t.Fatal(err)
	}
	return srv.Conns()[0]
}

func TestRooms(t *testing.T) {
	onlyNumbers := func(_ context.Context, _ *polywire.Conn, m auth.Match) error {
		if strings.Trim(m.Vars["id"], "0123456789") != "" {
			return polywire.Errorf(polywire.CodeNotFound, "no such room")
		}
		return nil
	}
	policy := auth.Policy{
		Rules: []auth.Rule{
			{Pattern: "lobby", Subscribe: true, Publish: true},
			{Pattern: "user-{sub}", Subscribe: true},
			{Pattern: "dm:{a}:{user}", Subscribe: true, Publish: true, Allow: func(_ context.Context, c *polywire.Conn, m auth.Match) error {
				if m.Vars["user"] != c.User() && m.Vars["a"] != c.User() || len(m.Vars) != 2 {
					return fmt.Errorf("not %v's", m.Vars)
				}
				return nil
			}},
			{Pattern: "team:*", Subscribe: true, Publish: true, Kinds: []string{"chat.*", "typing"}, UsersOnly: true},
			{Pattern: "org:{orgs}:news", Subscribe: true},
			{Pattern: "item-{id}", Subscribe: true, Allow: onlyNumbers},
			{Pattern: "{tenant}/{user}", Subscribe: true},
			{Pattern: "*.log", Subscribe: true},
		},
		SubscribeClaim: "rooms", PublishClaim: "may_publish",
	}
	rooms := must(auth.NewRooms(policy))
	ann := &polywire.Identity{User: "ann", Claims: map[string]any{
		"sub": "ann", "orgs": []any{"red", json.Number("7")}, "tenant": "t1", "rooms": []any{"vip", "beta:*", 7}, "may_publish": "vip",
	}}
	numbered := &polywire.Identity{User: "9", Claims: map[string]any{"sub": 9, "orgs": []string{"blue"}, "rooms": "*", "empty": ""}}
	const yes, no = "", "not allowed"
	for _, tc := range []struct {
		who  *polywire.Identity
		room string
		kind string // of what is published; empty: a subscription
		want string
	}{
		{ann, "lobby", "", yes}, {nil, "lobby", "", yes}, {nil, "lobby", "x", yes}, {ann, "lobby2", "", no}, {ann, "lobb", "", no}, {ann, "", "", no},
		{ann, "user-ann", "", yes}, {ann, "user-ann", "x", no}, {ann, "user-bob", "", no}, {ann, "user-", "", no}, {ann, "user-ann2", "", no},
		{ann, "USER-ANN", "", no}, {nil, "user-ann", "", no}, {nil, "user-", "", no}, {numbered, "user-9", "", yes},
		{ann, "dm:ann:bob", "", yes}, {ann, "dm:bob:ann", "x", yes}, {ann, "dm:bob:carl", "", no}, {ann, "dm:ann:", "", no}, {ann, "dm::ann", "", no},
		{ann, "team:a", "", yes}, {ann, "team:a:b", "", yes}, {ann, "team:", "", no}, {nil, "team:a", "", no}, {&polywire.Identity{}, "team:a", "", no},
		{ann, "team:a", "chat.said", yes}, {ann, "team:a", "typing", yes}, {ann, "team:a", "typing2", no}, {ann, "team:a", "admin.kick", no},
		{ann, "org:red:news", "", yes}, {ann, "org:7:news", "", yes}, {ann, "org:blue:news", "", no}, {ann, "org:red:news2", "", no},
		{ann, "org:red:x:news", "", no}, {numbered, "org:blue:news", "x", no}, {ann, "org::news", "", no},
		{ann, "item-12", "", yes}, {ann, "item-12a", "", "no such room"},
		{ann, "t1/ann", "", yes}, {ann, "t2/ann", "", no}, {ann, "t1/bob", "", no}, {ann, "/ann", "", no}, {ann, "t1/ann/x", "", no},
		{ann, "a.log", "", yes}, {ann, ".log", "", no}, {ann, "a.log.log", "", no}, {ann, "a.log2", "", no},
		{ann, "vip", "", yes}, {ann, "vip", "x", yes}, {ann, "vip2", "", no}, {ann, "beta:1", "", yes}, {ann, "beta:1", "x", no}, {ann, "7", "", no},
		{numbered, "anything", "", yes}, {numbered, "anything", "x", no}, {nil, "vip", "", no},
	} {
		c := connOf(t, tc.who)
		var err error
		if tc.kind == "" {
			err = rooms.Subscribe(t.Context(), c, tc.room)
		} else {
			err = rooms.Publish(t.Context(), c, tc.room, tc.kind)
		}
		if reason(err) != tc.want {
			t.Errorf("%+v %q %q: %v, want %q", tc.who, tc.room, tc.kind, err, tc.want)
		}
		if tc.want == no && polywire.CodeOf(err) != polywire.CodeForbidden {
			t.Errorf("%q: %v", tc.room, err)
		}
	}
}

// With no rules nobody may anything.
func TestNoRules(t *testing.T) {
	rooms := must(auth.NewRooms(auth.Policy{}))
	c := connOf(t, &polywire.Identity{User: "ann"})
	for _, room := range []string{"", "a", "*", "lobby"} {
		if rooms.Subscribe(t.Context(), c, room) == nil || rooms.Publish(t.Context(), c, room, "x") == nil {
			t.Errorf("room %q is open", room)
		}
	}
}

func TestBadRules(t *testing.T) {
	for _, pattern := range []string{"", "{", "}", "a{b", "a}b", "{}", "a{}", "{a}{b}", "{a}*", "**", "*{a}", "{a}-{a}", "{a{b}}", "{a*}"} {
		if _, err := auth.NewRooms(auth.Policy{Rules: []auth.Rule{{Pattern: pattern, Subscribe: true}}}); err == nil {
			t.Errorf("pattern %q is taken", pattern)
		}
	}
	for name, r := range map[string]auth.Rule{
		"nothing allowed": {Pattern: "a"}, "an empty kind": {Pattern: "a", Publish: true, Kinds: []string{""}},
	} {
		if _, err := auth.NewRooms(auth.Policy{Rules: []auth.Rule{r}}); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// A room's name is a stranger's: whatever it is, the last word is yes or no,
// and yes only for what the pattern would make of the claims.
func FuzzRooms(f *testing.F) {
	f.Add("org:{org}:user-{user}", "org:red:user-ann", "red")
	f.Add("{org}:{user}", "a:ann:ann", "a:ann")
	f.Add("*-{user}", "---ann", "")
	f.Add("{org}", "{org}", "{org}")
	f.Fuzz(func(t *testing.T, pattern, room, org string) {
		rooms, err := auth.NewRooms(auth.Policy{Rules: []auth.Rule{{Pattern: pattern, Subscribe: true}}})
		if err != nil || strings.Contains(pattern, "*") {
			return
		}
		c := connOf(t, &polywire.Identity{User: "ann", Claims: map[string]any{"org": org}})
		if rooms.Subscribe(t.Context(), c, room) != nil {
			return
		}
		if made := strings.NewReplacer("{user}", "ann", "{org}", org).Replace(pattern); made != room {
			t.Errorf("pattern %q with org %q lets into %q", pattern, org, room)
		}
	})
}

// A server with the policy asks it on every wire.
func TestRoomsOfServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := auth.Config{
			Secret: string(secret()), Issuers: []string{issuer}, Audiences: []string{audience}, Query: "access_token",
			Rooms: []string{"user-{sub}=subscribe", "team:*=subscribe,publish"},
		}
		opened, err := cfg.Open(nil)
		if err != nil {
			t.Fatal(err)
		}
		s := newSite(t, opened.Options()...)
		for _, at := range []string{"ws://memory", "tcp://memory:1", "drs+ws://memory"} {
			raw := good("ann", time.Hour)
			c, err := s.dial(at, raw, bearerHeader(raw))
			if err != nil {
				t.Fatal(err)
			}
			for room, want := range map[string]polywire.Code{"user-ann": "", "team:a": "", "user-bob": polywire.CodeForbidden, "lobby": polywire.CodeForbidden} {
				if err := c.Subscribe(t.Context(), room); polywire.CodeOf(err) != want {
					t.Errorf("%s: subscribe to %q: %v", at, room, err)
				}
			}
			for room, want := range map[string]polywire.Code{"user-ann": polywire.CodeForbidden, "team:a": ""} {
				if err := c.Publish(t.Context(), room, "x", 1); polywire.CodeOf(err) != want {
					t.Errorf("%s: publish to %q: %v", at, room, err)
				}
			}
		}
		for room, want := range map[string]string{"user-ann": "200", "user-bob": "403"} {
			request := "GET /events?room=" + room + "&access_token=" + good("ann", time.Hour) + " HTTP/1.1\r\nHost: memory\r\n\r\n"
			if line := s.write("ws", request); !strings.HasPrefix(line, "HTTP/1.1 "+want) {
				t.Errorf("events of %q: %s", room, line)
			}
		}
	})
}
