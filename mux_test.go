package polywire_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/wire"
	"github.com/polywire/polywire/wire/native"
)

func named(name string) polywire.Handler {
	return func(context.Context, *polywire.Message) (any, error) { return name, nil }
}

func TestMuxPicks(t *testing.T) {
	m := polywire.NewMux()
	for _, p := range []string{"chat.say", "chat.*", "chat.admin.*", "*", "c"} {
		m.Handle(p, named(p))
	}
	if err := m.Err(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ kind, want string }{
		{"chat.say", "chat.say"}, {"chat.says", "chat.*"}, {"chat.", "chat.*"}, {"chat", "*"},
		{"chat.admin.kick", "chat.admin.*"}, {"c", "c"}, {"", "*"}, {"*", "*"},
	} {
		got, err := m.Lookup(c.kind)(t.Context(), nil)
		if got != c.want || err != nil {
			t.Errorf("%q goes to %v, want %q", c.kind, got, c.want)
		}
	}
	if h := polywire.NewMux().Lookup("x"); h != nil {
		t.Errorf("an empty mux has %v", h)
	}
}

func TestMuxMistakes(t *testing.T) {
	for _, c := range []struct {
		name     string
		patterns []string
		want     string
	}{
		{"twice", []string{"a", "a"}, `"a" registered twice`},
		{"prefix twice", []string{"a.*", "a.*"}, `"a.*" registered twice`},
		{"fallback twice", []string{"*", "*"}, `"*" registered twice`},
		{"empty", []string{""}, "needs a name"},
		{"star inside", []string{"a*b"}, "may only stand at the end"},
		{"two stars", []string{"a**"}, "may only stand at the end"},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv, err := polywire.New()
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range c.patterns {
				srv.Handle(p, named(p))
			}
			err = srv.Start()
			if !errors.Is(err, polywire.ErrConfig) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Start: %v, want %q", err, c.want)
			}
			if srv.State() != polywire.StateNew {
				t.Errorf("state %v after a failed start", srv.State())
			}
		})
	}
}

func TestOptionMistakes(t *testing.T) {
	for _, c := range []struct {
		opt  polywire.Option
		want string
	}{
		{polywire.WithMaxMessageBytes(0), "MaxMessageBytes is 0"},
		{polywire.WithOutboxBytes(-1), "OutboxBytes is -1"},
		{polywire.WithHeartbeat(0, 1), "heartbeat"},
		{polywire.WithHandlerTimeout(0), "HandlerTimeout"},
		{polywire.WithConcurrency(0), "Concurrency is 0"},
		{polywire.WithOrigins("example.com"), "origin"},
		{polywire.WithOrigins("https://example.com/path"), "origin"},
		{polywire.WithMaxConnections(-1, 0, 0), "negative"},
		{polywire.WithLogger(nil), "logger"},
		{polywire.WithWires(nil), "nil"},
	} {
		if _, err := polywire.New(c.opt); !errors.Is(err, polywire.ErrConfig) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}

func TestCodeMistakes(t *testing.T) {
	srv, err := polywire.New()
	if err != nil {
		t.Fatal(err)
	}
	srv.Code("a", 10)
	srv.Code("b", 10)
	srv.Code("a", 11)
	srv.Code("", 12)
	srv.Code("c", 0)
	err = srv.Start()
	if !errors.Is(err, polywire.ErrConfig) || strings.Count(err.Error(), "\n") != 3 {
		t.Errorf("Start: %v, want four mistakes", err)
	}
}

// brokenWire says that its options are wrong.
type brokenWire struct{ wire.Protocol }

func (brokenWire) Check() error { return errors.New("no such carrier") }

func TestWireMistakes(t *testing.T) {
	srv, err := polywire.New(polywire.WithWires(brokenWire{native.New()}))
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Start(); !errors.Is(err, polywire.ErrConfig) || !strings.Contains(err.Error(), "no such carrier") {
		t.Errorf("Start: %v", err)
	}
}

func TestChain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		step := func(name string, err error) polywire.Handler {
			return func(_ context.Context, m *polywire.Message) (any, error) {
				seen, _ := m.Value("seen").(string)
				m.SetValue("seen", seen+name)
				return seen + name, err
			}
		}
		srv := newServer(t, func(s *polywire.Server) {
			s.Handle("all", polywire.Chain(step("a", nil), step("b", nil), step("c", nil)))
			s.Handle("stops", polywire.Chain(step("a", nil), step("b", polywire.Errorf("stop", "here")), step("c", nil)))
			s.Handle("none", polywire.Chain())
		})
		p := connect(t, srv)
		defer p.end()
		for kind, want := range map[string]string{"all": `"abc" <nil>`, "stops": ` &{stop here { [] } false}`, "none": ` <nil>`} {
			p.send(call(1, kind, ""))
			if got := p.receive(); fmt.Sprintf("%s %v", got.Payload.Data, got.Err) != want {
				t.Errorf("%s: %s %v", kind, got.Payload.Data, got.Err)
			}
		}
	})
}

// A wire can tell what a handler said from what nobody said.
func TestFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(t, func(s *polywire.Server) {
			s.Handle("said", func(context.Context, *polywire.Message) (any, error) {
				return nil, polywire.Errorf(polywire.CodeNotFound, "no such user")
			})
			s.Handle("plain", func(context.Context, *polywire.Message) (any, error) { return nil, errors.New("oh") })
			s.Handle("panic", func(context.Context, *polywire.Message) (any, error) { panic("oh") })
		})
		p := connect(t, srv)
		defer p.end()
		for kind, fault := range map[string]bool{"said": false, "plain": true, "panic": true, "unknown": true} {
			p.send(call(1, kind, ""))
			if got := p.receive(); got.Err == nil || got.Err.Fault != fault {
				t.Errorf("%s: %+v", kind, got.Err)
			}
		}
	})
}
