package natsstore

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/polywire/polywire/natsembed"
)

// asked are confirmations that the test gives itself, in place of a stream.
func asked(t *testing.T) (c *confirmations, requests chan *nats.Msg) {
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
	server := connect()
	requests = make(chan *nats.Msg, 10)
	if _, err := server.ChanSubscribe("kept", requests); err != nil {
		t.Fatal(err)
	}
	if err := server.Flush(); err != nil {
		t.Fatal(err)
	}
	return &confirmations{nc: connect()}, requests
}

// send makes a request and returns what comes of it.
func send(ctx context.Context, c *confirmations, subject string) chan error {
	done := make(chan error, 1)
	go func() { done <- c.request(ctx, &nats.Msg{Subject: subject, Data: []byte("x")}) }()
	return done
}

func answer(t *testing.T, m *nats.Msg, text string) {
	t.Helper()
	if err := m.Respond([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

const (
	firstKept  = `{"stream":"s","seq":1}`
	secondKept = `{"stream":"s","seq":2}`
	keptBefore = `{"stream":"s","seq":1,"duplicate":true}`
	isFull     = `{"stream":"s","seq":0,"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"}}`
)

// TestConfirmationTwice repeats the confirmation of one message while the next one waits
// on the same subject: it says nothing about that one.
func TestConfirmationTwice(t *testing.T) {
	c, requests := asked(t)
	first := send(t.Context(), c, "kept")
	m := <-requests
	answer(t, m, firstKept)
	if err := <-first; err != nil {
		t.Fatal(err)
	}
	second := send(t.Context(), c, "kept")
	next := <-requests
	if next.Reply != m.Reply {
		t.Fatalf("%s, then %s: the subject is not used again", m.Reply, next.Reply)
	}
	answer(t, m, firstKept)
	answer(t, next, isFull)
	if err := <-second; err == nil {
		t.Error("the message behind was confirmed by the repetition")
	}
}

// TestConfirmationSubjects has answers after which a late or equal one could be taken for
// that of the next message on the same subject.
func TestConfirmationSubjects(t *testing.T) {
	for name, text := range map[string]string{"error": isFull, "duplicate": keptBefore, "late": ""} {
		t.Run(name, func(t *testing.T) {
			c, requests := asked(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			first := send(ctx, c, "kept")
			m := <-requests
			if text == "" {
				cancel()
			} else {
				answer(t, m, text)
			}
			if err := <-first; (err == nil) != (text == keptBefore) {
				t.Errorf("got %v", err)
			}
			second := send(t.Context(), c, "kept")
			next := <-requests
			if next.Reply == m.Reply {
				t.Error("the subject is used again")
			}
			answer(t, m, firstKept) // late
			answer(t, next, secondKept)
			if err := <-second; err != nil {
				t.Error(err)
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			if len(c.slots) != 1 || len(c.free) > 1 {
				t.Errorf("%d subjects are known, and %d free", len(c.slots), len(c.free))
			}
		})
	}
}

func TestConfirmationNever(t *testing.T) {
	c, requests := asked(t)
	if err := c.request(t.Context(), &nats.Msg{Subject: "nobody"}); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("with nobody there: %v", err)
	}
	waits := send(t.Context(), c, "kept")
	<-requests
	c.nc.Close()
	if err := <-waits; !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("with the connection closed: %v", err)
	}
	if err := c.request(t.Context(), &nats.Msg{Subject: "kept"}); !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("after that: %v", err)
	}
}
