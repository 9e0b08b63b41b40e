package natsack

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/polywire/polywire/internal/testenv"
	"github.com/polywire/polywire/natsembed"
)

func TestMain(m *testing.M) { testenv.VerifyNoLeaks(m) }

// fixture is a book whose answers the test gives, in place of a stream.
type fixture struct {
	t        *testing.T
	nc       *nats.Conn
	book     *Book[string]
	requests chan *nats.Msg
	heard    chan said
}

type said struct {
	what string
	err  error
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	s, err := natsembed.Start(ctx, natsembed.Options{Dir: t.TempDir(), NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Shutdown(ctx) })
	connect := func() *nats.Conn {
		nc, err := s.Connect()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		return nc
	}
	f := &fixture{t: t, nc: connect(), requests: make(chan *nats.Msg, 10), heard: make(chan said, 10)}
	server := connect()
	if _, err := server.ChanSubscribe("kept", f.requests); err != nil {
		t.Fatal(err)
	}
	if err := server.Flush(); err != nil {
		t.Fatal(err)
	}
	if f.book, err = New(f.nc, func(what string, err error) { f.heard <- said{what, err} }); err != nil {
		t.Fatal(err)
	}
	return f
}

// send returns the request as the server has it.
func (f *fixture) send(what string) (Wait[string], *nats.Msg) {
	f.t.Helper()
	w, err := f.book.Send(&nats.Msg{Subject: "kept", Data: []byte(what)}, what)
	if err != nil {
		f.t.Fatal(err)
	}
	m := <-f.requests
	if string(m.Data) != what {
		f.t.Fatalf("%s was sent, %s came", what, m.Data)
	}
	return w, m
}

func (f *fixture) answer(m *nats.Msg, text string) {
	f.t.Helper()
	if err := m.Respond([]byte(text)); err != nil {
		f.t.Fatal(err)
	}
}

// hears fails unless the next word is about what, with an error like want.
func (f *fixture) hears(what string, want error) {
	f.t.Helper()
	if s := <-f.heard; s.what != what || !errors.Is(s.err, want) {
		f.t.Fatalf("%s: %v; want %s: %v", s.what, s.err, what, want)
	}
}

const (
	firstKept  = `{"stream":"s","seq":1}`
	secondKept = `{"stream":"s","seq":2}`
	keptBefore = `{"stream":"s","seq":1,"duplicate":true}`
	isFull     = `{"stream":"s","seq":0,"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"}}`
)

func TestOutOfOrder(t *testing.T) {
	f := newFixture(t)
	_, a := f.send("a")
	_, b := f.send("b")
	if a.Reply == b.Reply {
		t.Fatal("two that wait have one subject")
	}
	f.answer(b, firstKept)
	f.hears("b", nil)
	f.answer(a, secondKept)
	f.hears("a", nil)
	for i, what := range []string{"c", "d"} {
		_, m := f.send(what)
		if m.Reply != a.Reply && m.Reply != b.Reply {
			t.Errorf("%s: none of the subjects is used again", what)
		}
		f.answer(m, fmt.Sprintf(`{"stream":"s","seq":%d}`, 3+i))
		f.hears(what, nil)
	}
}

// TestRepeated says the confirmation of one message again: while nothing waits on its
// subject it is nobody's, and later it does not confirm the message behind.
func TestRepeated(t *testing.T) {
	f := newFixture(t)
	_, m := f.send("a")
	f.answer(m, firstKept)
	f.hears("a", nil)
	f.answer(m, firstKept)
	if err := f.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	_, next := f.send("b")
	if next.Reply != m.Reply {
		t.Fatalf("%s, then %s: the subject is not used again", m.Reply, next.Reply)
	}
	f.answer(m, firstKept)
	f.hears("b", ErrAnswer)
	f.answer(next, secondKept) // the subject's use has ended
	_, last := f.send("c")
	if last.Reply == m.Reply {
		t.Error("a subject that cannot be trusted is used again")
	}
	f.answer(last, secondKept)
	f.hears("c", nil)
}

// TestNotAgain has answers after which a late or equal one could be taken for that of
// the next message on the same subject.
func TestNotAgain(t *testing.T) {
	for name, text := range map[string]string{"error": isFull, "duplicate": keptBefore, "dropped": "", "taken": ""} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			w, m := f.send("a")
			switch name {
			case "dropped":
				if !f.book.Drop(w) || f.book.Drop(w) {
					t.Error("dropped not at all, or twice")
				}
			case "taken":
				if taken := f.book.Take(func(what string) bool { return what == "a" }); len(taken) != 1 || taken[0] != "a" {
					t.Errorf("took %v", taken)
				}
			default:
				f.answer(m, text)
				if s := <-f.heard; (s.err == nil) != (text == keptBefore) {
					t.Errorf("got %v", s.err)
				}
			}
			_, next := f.send("b")
			if next.Reply == m.Reply {
				t.Error("the subject is used again")
			}
			f.answer(m, firstKept) // late
			f.answer(next, secondKept)
			f.hears("b", nil)
			if f.book.Drop(w) {
				t.Error("dropped what was over")
			}
			f.book.mu.Lock()
			defer f.book.mu.Unlock()
			if len(f.book.slots) != 1 || len(f.book.free) != 1 {
				t.Errorf("%d subjects are known, %d free", len(f.book.slots), len(f.book.free))
			}
		})
	}
}

// TestDropOfAnother drops a message that was confirmed, while the next one waits in its
// place.
func TestDropOfAnother(t *testing.T) {
	f := newFixture(t)
	w, m := f.send("a")
	f.answer(m, firstKept)
	f.hears("a", nil)
	_, next := f.send("b")
	if f.book.Drop(w) {
		t.Error("dropped the one behind")
	}
	f.answer(next, secondKept)
	f.hears("b", nil)
}

func TestEnd(t *testing.T) {
	f := newFixture(t)
	if _, err := f.book.Send(&nats.Msg{Subject: "nobody"}, "a"); err != nil {
		t.Fatal(err)
	}
	f.hears("a", nats.ErrNoResponders)
	if _, err := f.book.Send(&nats.Msg{Subject: "not a subject"}, "b"); !errors.Is(err, nats.ErrBadSubject) {
		t.Errorf("sent anywhere: %v", err)
	}
	f.send("c")
	f.nc.Close()
	f.hears("c", nats.ErrConnectionClosed)
	if _, err := f.book.Send(&nats.Msg{Subject: "kept"}, "d"); !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("after the end: %v", err)
	}
	if len(f.heard) > 0 {
		t.Errorf("heard %v, too", <-f.heard)
	}
}

// TestAnswers has answers as a server gives them to what was to be stored, and others.
func TestAnswers(t *testing.T) {
	nobody := nats.Header{"Status": {"503"}}
	for _, tt := range []struct {
		text  string
		h     nats.Header
		want  error // ErrAnswer: garbage
		again bool  // the subject may be used again
	}{
		{text: `{"stream":"a-webhook-events", "seq":7}`, again: true},
		{text: `{"stream":"a","domain":"d","seq":7,"duplicate": true}`},
		{text: `{"stream":"error","seq":1}`},
		{text: `{"seq":7,"stream":"a"}`},
		{h: nobody, want: nats.ErrNoResponders},
		{text: ``, want: ErrAnswer},
		{text: `{}`, want: ErrAnswer},
		{text: `{"seq":7}`, want: ErrAnswer},
		{text: `{"stream`, want: ErrAnswer},
		{text: `{"error"`, want: ErrAnswer},
		{text: `[]`, want: ErrAnswer},
		{text: `-ERR`, h: nobody, want: ErrAnswer},
	} {
		if err := check(&nats.Msg{Data: []byte(tt.text), Header: tt.h}); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v", tt.text, err)
		}
		if unique([]byte(tt.text)) != tt.again {
			t.Errorf("%s: used again: %v", tt.text, !tt.again)
		}
	}
	for _, text := range []string{isFull, `{"error":{"code":400,"err_code":10077}}`} {
		if api, ok := errors.AsType[*jetstream.APIError](check(&nats.Msg{Data: []byte(text)})); !ok || api.ErrorCode != 10077 {
			t.Errorf("%s: %v", text, api)
		}
	}
}

// FuzzAnswer reads any answer. One that is good says so as JSON, too.
func FuzzAnswer(f *testing.F) {
	for _, text := range []string{firstKept, keptBefore, isFull, "", "{", `{"stream":"`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := check(&nats.Msg{Data: text}); err == nil && len(text) < 2 {
			t.Errorf("%q is a confirmation", text)
		}
		if unique(text) && check(&nats.Msg{Data: text}) != nil {
			t.Errorf("%q: used again after an error", text)
		}
	})
}
