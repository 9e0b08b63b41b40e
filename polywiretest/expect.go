package polywiretest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire"
)

const (
	// quiet is how long nothing has to come where nothing tells that nothing will.
	quiet = 50 * time.Millisecond
	// shownBytes is how much of a payload a failure shows.
	shownBytes = 200
)

// inbox holds what has come and was not expected yet.
type inbox struct {
	mu       sync.Mutex
	messages []*polywire.Message
	changed  chan struct{} // closed and replaced with each message
}

// take is the handler of everything that has no other.
func (b *inbox) take(_ context.Context, m *polywire.Message) (any, error) {
	if m.IsCall() && m.Wire() != "drs" { // where every message asks for an answer
		return nil, polywire.Errorf(polywire.CodeNotFound, "the test's client has no handler for %s", m.Kind())
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.messages = append(b.messages, m.Clone())
	close(b.changed)
	b.changed = make(chan struct{})
	return nil, nil
}

// find removes and returns the first message that fits, or says when to look again.
func (b *inbox) find(fits func(m *polywire.Message) bool) (m *polywire.Message, changed <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.IndexFunc(b.messages, fits)
	if i < 0 {
		return nil, b.changed
	}
	m = b.messages[i]
	b.messages = slices.Delete(b.messages, i, i+1)
	return m, nil
}

// String tells what is there.
func (b *inbox) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.messages) == 0 {
		return "nothing else came"
	}
	var text strings.Builder
	text.WriteString("what came and was not expected yet:")
	for _, m := range b.messages {
		fmt.Fprintf(&text, "\n\t%s", describe(m))
	}
	return text.String()
}

// describe is a message in a line.
func describe(m *polywire.Message) string {
	parts := []string{m.Kind()}
	if m.Room() != "" {
		parts = append(parts, "in", m.Room())
	}
	for _, p := range m.Args() {
		data := string(p.Data)
		if !strings.Contains(p.Type, "json") {
			data = fmt.Sprintf("%s %q", p.Type, p.Data)
		}
		if len(data) > shownBytes {
			data = data[:shownBytes] + "..."
		}
		parts = append(parts, data)
	}
	return strings.Join(parts, " ")
}

func ofKind(kind string) func(m *polywire.Message) bool {
	return func(m *polywire.Message) bool { return m.Kind() == kind }
}

// Expect waits for the next message of a kind and returns it, the test's to
// keep. Messages of other kinds stay for their own Expect. If none comes within
// 10 s, or the client ends before, the test fails and says what came instead.
func (c *Client) Expect(kind string) *polywire.Message {
	c.t.Helper()
	return c.await(fmt.Sprintf("a message of kind %q", kind), ofKind(kind))
}

// ExpectIn is Expect for a message of a room.
func (c *Client) ExpectIn(room, kind string) *polywire.Message {
	c.t.Helper()
	return c.await(fmt.Sprintf("a message of kind %q in %q", kind, room), func(m *polywire.Message) bool {
		return m.Kind() == kind && m.Room() == room
	})
}

// Next waits for the next message of whatever kind, for tests of their order.
func (c *Client) Next() *polywire.Message {
	c.t.Helper()
	return c.await("a message", func(*polywire.Message) bool { return true })
}

// Expect is [Client.Expect] for the message's argument, decoded.
func Expect[T any](c *Client, kind string) T {
	c.t.Helper()
	m := c.Expect(kind)
	var v T
	if err := m.Bind(&v); err != nil {
		c.t.Fatalf("polywiretest: %s is no %T: %v", describe(m), v, err)
	}
	return v
}

func (c *Client) await(what string, fits func(m *polywire.Message) bool) *polywire.Message {
	c.t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	done := c.Done()
	for {
		m, changed := c.inbox.find(fits)
		if m != nil {
			return m
		}
		select {
		case <-changed:
		case <-done:
			if m, _ := c.inbox.find(fits); m != nil { // it came before the end
				return m
			}
			c.t.Fatalf("polywiretest: want %s, but the client has ended (%v); %v", what, c.Err(), &c.inbox)
		case <-timer.C:
			c.t.Fatalf("polywiretest: want %s, none came within %v; %v", what, patience, &c.inbox)
		}
	}
}

// ExpectNone fails the test if a message of one of these kinds has come, or
// comes; without kinds, any message. In a bubble it waits until all in it have
// come to rest, and no time passes; elsewhere for 50 ms, which can miss what
// comes later.
func (c *Client) ExpectNone(kinds ...string) {
	c.t.Helper()
	if c.bubble {
		synctest.Wait()
	} else {
		<-time.After(quiet) // real: outside of a bubble nothing tells that nothing comes
	}
	m, _ := c.inbox.find(func(m *polywire.Message) bool { return len(kinds) == 0 || slices.Contains(kinds, m.Kind()) })
	if m != nil {
		c.t.Fatalf("polywiretest: want no message of %q, but this came: %s", kinds, describe(m))
	}
}

// ExpectClosed waits until the server has ended the connection with a code,
// and returns its words. The test fails if it ends in another way, or not within 10 s.
// It is for clients without [Reconnect], and for codes that end those with it.
func (c *Client) ExpectClosed(code polywire.CloseCode) *polywire.CloseError {
	c.t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-c.Done():
	case <-timer.C:
		c.t.Fatalf("polywiretest: want the connection closed with %d, it is open after %v; %v", code, patience, &c.inbox)
	}
	var closed *polywire.CloseError
	if !errors.As(c.Err(), &closed) || closed.Code != code {
		c.t.Fatalf("polywiretest: want the connection closed with %d, it was by: %v", code, c.Err())
	}
	return closed
}

// inBubble reports whether the caller is in a bubble of testing/synctest, which
// says so by not panicking.
func inBubble() (yes bool) {
	defer func() { yes = recover() == nil }()
	synctest.Wait()
	return
}
