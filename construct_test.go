package polywire_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/codec/msgpack"
	"github.com/polywire/polywire/codec/protobuf"
	"github.com/polywire/polywire/transport/transporttest"
	"github.com/polywire/polywire/wire"
	"github.com/polywire/polywire/wire/native/nativepb"
)

type word struct{ Word, Note string }

// shelf is a pool whose contents can be counted.
type shelf struct {
	mu        sync.Mutex
	free      []*word
	made, out int
}

func (s *shelf) take() *word {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out++
	if n := len(s.free); n > 0 {
		w := s.free[n-1]
		s.free = s.free[:n-1]
		return w
	}
	s.made++
	return new(word)
}

func (s *shelf) put(w *word) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out--
	*w = word{}
	s.free = append(s.free, w)
}

func (s *shelf) check(t *testing.T, what string, made, out int) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.made != made || s.out != out {
		t.Errorf("%s: %d made and %d out, want %d and %d", what, s.made, s.out, made, out)
	}
}

func TestHandleNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var values, nested shelf
		srv := newServer(t, func(s *polywire.Server) {
			polywire.HandleNew(s, "upper", values.take, values.put, func(_ context.Context, in *word) (*word, error) {
				in.Word = strings.ToUpper(in.Word)
				return in, nil // it is encoded before it goes back
			})
			polywire.HandleNew(s, "fail", values.take, values.put, func(context.Context, *word) (*word, error) {
				return nil, polywire.Errorf(polywire.CodeConflict, "no")
			})
			polywire.HandleNew(s, "panic", values.take, values.put, func(context.Context, *word) (*word, error) { panic("no") })
			polywire.HandleNew(s, "keep", values.take, nil, func(_ context.Context, in *word) (*word, error) { return nil, nil })
			inner := polywire.NewMux()
			polywire.HandleNew(inner, "nested", nested.take, nested.put, func(_ context.Context, in *word) (*word, error) { return in, nil })
			polywire.HandleNew(s, "nested", values.take, values.put, func(ctx context.Context, _ *word) (*word, error) {
				out, err := inner.Handler()(ctx, polywire.MessageFrom(ctx))
				w, _ := out.(*word)
				return w, err
			})
			polywire.HandleNew(s, "badly", values.take, func(*word) { panic("no") }, func(context.Context, *word) (*word, error) { return nil, nil })
		})
		p := connect(t, srv)
		defer p.end()
		ask := func(kind, payload string) wire.Packet {
			p.send(wire.Packet{Type: wire.Call, ID: 1, Kind: kind, Payload: codec.Payload{Type: codec.TypeJSON, Data: []byte(payload)}})
			got := p.receive()
			synctest.Wait()
			return got
		}
		for range 3 {
			if got := ask("upper", `{"Word":"a","Note":"of the first"}`); string(got.Payload.Data) != `{"Word":"A","Note":"of the first"}` {
				t.Errorf("got %s", got.Payload.Data)
			}
			if got := ask("upper", `{"Word":"b"}`); string(got.Payload.Data) != `{"Word":"B","Note":""}` {
				t.Errorf("got %s", got.Payload.Data)
			}
		}
		values.check(t, "one after the other", 1, 0)
		if got := ask("fail", `{}`); got.Err == nil || got.Err.Code != "conflict" {
			t.Errorf("got %+v", got)
		}
		if got := ask("upper", `7`); got.Err == nil || got.Err.Code != "bad_request" {
			t.Errorf("got %+v", got)
		}
		values.check(t, "errors", 1, 0)
		if got := ask("nested", `{"Word":"n"}`); string(got.Payload.Data) != `{"Word":"n","Note":""}` {
			t.Errorf("got %s", got.Payload.Data)
		}
		values.check(t, "nested", 1, 0)
		nested.check(t, "nested", 1, 0)
		if got := ask("panic", `{}`); got.Err == nil || got.Err.Code != "internal" {
			t.Errorf("got %+v", got)
		}
		values.check(t, "what has panicked is not used again", 1, 1)
		if got := ask("keep", `{}`); got.Err != nil {
			t.Errorf("got %+v", got)
		}
		if got := ask("badly", `{}`); got.Err != nil {
			t.Errorf("got %+v", got)
		}
		if got := ask("upper", `{}`); got.Err != nil {
			t.Errorf("after a release that panicked: %+v", got)
		}
	})
}

// An answer that nobody waits for any more does not give its argument back
// before the handler has returned.
func TestHandleNewTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var values shelf
		srv := newServer(t, func(s *polywire.Server) {
			polywire.HandleNew(s, "slow", values.take, values.put, func(context.Context, *word) (*word, error) {
				time.Sleep(time.Minute) // of the bubble's time
				return nil, nil
			})
		})
		p := connect(t, srv)
		defer p.end()
		p.send(call(1, "slow", "")) // text is no word
		if got := p.receive(); got.Err == nil || got.Err.Code != "bad_request" {
			t.Errorf("got %+v", got)
		}
		p.send(wire.Packet{Type: wire.Call, ID: 2, Kind: "slow"})
		if got := p.receive(); got.Err == nil || got.Err.Code != "deadline_exceeded" {
			t.Errorf("got %+v", got)
		}
		values.check(t, "while it runs", 1, 1)
		<-time.After(time.Minute)
		synctest.Wait()
		values.check(t, "afterwards", 1, 0)
	})
}

func TestHandleNewMistakes(t *testing.T) {
	for name, register := range map[string]func(*polywire.Server){
		"no constructor": func(s *polywire.Server) {
			polywire.HandleNew(s, "k", nil, nil, func(context.Context, *word) (*word, error) { return nil, nil })
		},
		"no handler": func(s *polywire.Server) {
			polywire.HandleNew[word, word](s, "k", func() *word { return nil }, nil, nil)
		},
		"code twice":     func(s *polywire.Server) { s.Code("a", 1); s.Code("b", 1) },
		"no such codec":  func(s *polywire.Server) { s.Encoding("k", codec.TypeMsgpack) },
		"only for bytes": func(s *polywire.Server) { s.Encoding("k", codec.TypeBytes) },
		"encoding twice": func(s *polywire.Server) { s.Encoding("k", codec.TypeJSON); s.Encoding("k", codec.TypeJSON) },
		"no kind":        func(s *polywire.Server) { s.Encoding("", codec.TypeJSON) },
	} {
		srv, err := polywire.New()
		if err != nil {
			t.Fatal(err)
		}
		register(srv)
		err = srv.Start()
		if !errors.Is(err, polywire.ErrConfig) || errors.Is(err, polywire.ErrDuplicateCode) != (name == "code twice") {
			t.Errorf("%s: %v", name, err)
		}
		srv.Close()
	}
}

// upperPipe changes what comes in, in whatever encoding.
type upperPipe struct{}

func (upperPipe) Handler(next polywire.Handler) polywire.Handler {
	return func(ctx context.Context, m *polywire.Message) (any, error) {
		var w word
		if err := m.Bind(&w); err != nil {
			return nil, err
		}
		w.Word = strings.ToUpper(w.Word)
		if err := m.Rewrite(w); err != nil {
			return nil, err
		}
		return next(ctx, m)
	}
}

func (upperPipe) Sender(next polywire.Sender) polywire.Sender { return next }

func TestRewrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(t, func(s *polywire.Server) {
			s.Pipe(upperPipe{})
			s.Handle("k", func(_ context.Context, m *polywire.Message) (any, error) { return m.Payload(), nil })
			s.Handle("no", func(_ context.Context, m *polywire.Message) (any, error) { return nil, m.Rewrite(make(chan int)) })
		}, polywire.WithCodecs(codec.JSON{}, msgpack.Codec{}))
		p := connect(t, srv)
		defer p.end()
		packed, err := msgpack.Codec{}.Append(nil, word{Word: "b"})
		if err != nil {
			t.Fatal(err)
		}
		for _, in := range []codec.Payload{
			{Type: codec.TypeJSON, Data: []byte(`{"Word":"a"}`)}, {Type: codec.TypeMsgpack, Data: packed},
		} {
			p.send(wire.Packet{Type: wire.Call, ID: 1, Kind: "k", Payload: in})
			got := p.receive()
			text := string(got.Payload.Data)
			if got.Payload.Type != in.Type || !strings.Contains(text, "A") && !strings.Contains(text, "B") {
				t.Errorf("%s became %s %q", in.Type, got.Payload.Type, text)
			}
		}
		p.send(wire.Packet{Type: wire.Call, ID: 1, Kind: "no"})
		if got := p.receive(); got.Err == nil {
			t.Errorf("got %+v", got)
		}
	})
}

// carryingSession can say what it does not list.
type carryingSession struct{ plainSession }

func (carryingSession) Carries(contentType string) bool { return contentType == codec.TypeMsgpack }
func (carryingSession) Format() string                  { return "carrying" }

func TestEncoding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(t, func(s *polywire.Server) {
			s.Encoding("packed", codec.TypeMsgpack)
			s.Handle("*", func(context.Context, *polywire.Message) (any, error) { return 7, nil })
		}, polywire.WithCodecs(codec.JSON{}, msgpack.Codec{}))
		jsonOnly := connect(t, srv, codec.TypeJSON)
		defer jsonOnly.end()
		either := connect(t, srv, codec.TypeJSON, codec.TypeMsgpack)
		defer either.end()
		anyType := connect(t, srv)
		defer anyType.end()
		carrying := attachAs(t, srv, carryingSession{plainSession{[]string{codec.TypeJSON}}})
		defer carrying.end()
		for _, kind := range []string{"packed", "plain"} {
			if err := srv.All().Send(t.Context(), kind, []int{7}); err != nil {
				t.Fatal(err)
			}
			if err := srv.All().Send(t.Context(), kind, polywire.Args{7, 8}); err != nil {
				t.Fatal(err)
			}
			for name, p := range map[string]*peer{"JSON only": jsonOnly, "either": either, "any": anyType, "carrying": carrying} {
				want, data := codec.TypeJSON, []string{"[7]", "[7,8]", "7"}
				if kind == "packed" && name != "JSON only" {
					want, data = codec.TypeMsgpack, []string{"\x91\x07", "\x92\x07\x08", "\x07"}
				}
				p.send(call(1, kind, ""))
				for _, d := range data {
					if got := p.receive().Payload; got.Type != want || string(got.Data) != d {
						t.Errorf("%s to %s: %s %q, want %q", kind, name, got.Type, got.Data, d)
					}
				}
			}
		}
	})
}

// attachAs is connect for another session on the server's side.
func attachAs(t *testing.T, srv *polywire.Server, s wire.Session) *peer {
	t.Helper()
	a, b := transporttest.Pipe(transporttest.PipeOptions{})
	if err := srv.Host("plain").Attach(wire.Link{Transport: a, Session: s}); err != nil {
		t.Fatal(err)
	}
	return &peer{t: t, link: b}
}

// A peer that wants protobuf gets what can be protobuf as that.
func TestPreferredByPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(t, nil, polywire.WithCodecs(protobuf.Codec{}, msgpack.Codec{}))
		either := connect(t, srv, codec.TypeProtobuf, codec.TypeJSON)
		defer either.end()
		alone := connect(t, srv, codec.TypeProtobuf)
		defer alone.end()
		const kind = "polywire.v1.Envelope"
		for _, v := range []any{&nativepb.Envelope{Kind: "a"}, map[string]string{"kind": "a"}} {
			if err := srv.All().Send(t.Context(), kind, v); err != nil {
				t.Fatal(err)
			}
			_, message := v.(*nativepb.Envelope)
			if got := either.receive().Payload; (got.Type == codec.TypeProtobuf) != message {
				t.Errorf("%T is %s", v, got.Type)
			}
			if got := alone.receive().Payload; got.Type != codec.TypeProtobuf || string(got.Data) != "\x1a\x01a" {
				t.Errorf("%T is %s %q", v, got.Type, got.Data)
			}
		}
	})
}

// A numeric code that nobody has registered is no kind: the caller is told, for
// a one-way message the hooks are, and the connection stays.
func TestUnknownCode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := make(chan error, 1)
		srv := newServer(t, func(s *polywire.Server) {
			s.Code("k", 10)
			s.Handle("k", func(_ context.Context, m *polywire.Message) (any, error) { return m.Kind(), nil })
		}, polywire.WithHooks(polywire.Hooks{Error: func(_ *polywire.Conn, err error) { told <- err }}))
		p := connect(t, srv)
		defer p.end()
		p.send(wire.Packet{Type: wire.Message, Code: 77}, wire.Packet{Type: wire.Call, ID: 1, Code: 77}, wire.Packet{Type: wire.Call, ID: 2, Code: 10})
		if err := <-told; polywire.CodeOf(err) != polywire.CodeNotFound {
			t.Errorf("the hooks: %v", err)
		}
		if got := p.receive(); got.Err == nil || got.Err.Code != string(polywire.CodeNotFound) {
			t.Errorf("got %+v", got)
		}
		if got := p.receive(); string(got.Payload.Data) != `"k"` {
			t.Errorf("got %+v", got)
		}
	})
}
