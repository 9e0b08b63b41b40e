package console

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/auth"
	"github.com/polywire/polywire/codec"
)

// batch is the data of a tail event.
type batch struct {
	Entries []entryView `json:"entries"`
	Dropped int64       `json:"dropped"`
}

// collect returns the next n entries of a stream.
func (e *events) collect(n int) (all []entryView) {
	e.w.Helper()
	for len(all) < n {
		var b batch
		if err := json.Unmarshal([]byte(e.until("tail")), &b); err != nil {
			e.w.Fatal(err)
		}
		all = append(all, b.Entries...)
	}
	return all
}

// line is what a test compares of an entry.
func line(e entryView) string {
	text := fmt.Sprintf("%s %s %s", e.Dir, e.What, e.Kind)
	if e.Room != "" || e.Rooms != nil {
		text += fmt.Sprintf(" %s%v", e.Room, e.Rooms)
	}
	if e.Code != "" {
		text += fmt.Sprintf(" %s %q", e.Code, e.Error)
	}
	if e.Receivers != nil {
		text += fmt.Sprintf(" to %d", *e.Receivers)
	}
	return text + " " + e.Body
}

func TestTail(t *testing.T) {
	w := newWorld(t, worldOptions{token: token})
	c, other := w.dial(), w.dial()
	if err := c.Subscribe(t.Context(), "lobby"); err != nil {
		t.Fatal(err)
	}
	id := c.ID()
	streams := map[string]*events{}
	for _, q := range []string{"", "&kind=ec*&dir=in", "&room=lobby"} {
		streams[q] = w.open("?tail=1"+q, bearer)
	}
	streams["&conn"] = w.open("?tail=1&conn="+id+"&dir=out", bearer)
	for _, s := range streams {
		s.until("hello")
	}
	var out string
	if err := c.Call(t.Context(), "echo", "<script>", &out); err != nil {
		t.Fatal(err)
	}
	if err := c.Call(t.Context(), "fail", 1, nil); err == nil {
		t.Fatal("it did not fail")
	}
	if err := other.Publish(t.Context(), "lobby", "news", map[string]int{"a": 1}, polywire.WithHeader("authorization", "Bearer x"), polywire.WithHeader("traceparent", "00-1")); err != nil {
		t.Fatal(err)
	}
	if err := w.srv.Room(id).Send(t.Context(), "hint", "you"); err != nil {
		t.Fatal(err)
	}
	if err := w.srv.Room("empty").Send(t.Context(), "nobody", 1); err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{
		"": {
			`in call echo "<script>"`, `out answer echo "<script>"`, `in call fail forbidden "forbidden: not for you" 1`,
			`out answer fail forbidden "forbidden: not for you" `, `out broadcast news [lobby] to 1 {"a":1}`, `in publish news [lobby] to 1 {"a":1}`,
			`out broadcast hint [` + id + `] to 1 "you"`, `out broadcast nobody [empty] to 0 1`,
		},
		"&kind=ec*&dir=in": {`in call echo "<script>"`},
		"&room=lobby":      {`out broadcast news [lobby] to 1 {"a":1}`, `in publish news [lobby] to 1 {"a":1}`},
		"&conn": {
			`out answer echo "<script>"`, `out answer fail forbidden "forbidden: not for you" `, `out broadcast news [lobby] to 1 {"a":1}`,
			`out broadcast hint [` + id + `] to 1 "you"`,
		},
	}
	for q, s := range streams {
		all := s.collect(len(want[q]))
		var lines []string
		for i, e := range all {
			lines = append(lines, line(e))
			if i > 0 && e.Seq <= all[i-1].Seq || e.AtMS == 0 {
				t.Errorf("%q: the order of %+v", q, e)
			}
			switch e.Kind {
			case "echo":
				if e.Conn != id || e.Wire != "native" || e.Type != codec.TypeJSON || e.Size != len(`"<script>"`) || (e.TookMS != nil) != (e.Dir == dirIn) {
					t.Errorf("%+v", e)
				}
			case "news":
				if e.Header["authorization"] != masked || e.Header["traceparent"] != "00-1" {
					t.Errorf("headers: %v", e.Header)
				}
				if e.Dir == dirIn && e.Conn != other.ID() {
					t.Errorf("who published: %+v", e)
				}
			}
		}
		if !slices.Equal(lines, want[q]) {
			t.Errorf("%q:\n%s\nwant\n%s", q, strings.Join(lines, "\n"), strings.Join(want[q], "\n"))
		}
	}
	for _, s := range streams {
		s.close()
	}
	w.eventually("nobody to watch", func() bool { return w.console.tail.watchers.Load() == nil && w.console.streams.Load() == 0 })
}

// What carries credentials is never shown, in whichever direction.
func TestTailHides(t *testing.T) {
	w := newWorld(t, worldOptions{token: token, prepare: func(srv *polywire.Server) {
		for _, kind := range []string{auth.KindRefresh, polywire.KindHello} {
			srv.Handle(kind, func(_ context.Context, m *polywire.Message) (any, error) {
				if m.Payload().Type == codec.TypeBytes {
					return nil, polywire.Errorf(polywire.CodeUnauthorized, "%s is no token", m.Payload().Data)
				}
				return m.Payload(), nil
			})
		}
	}})
	s := w.open("?tail=1", bearer)
	s.until("hello")
	c := w.dial()
	const secret = "a-jwt-that-is-secret"
	for _, kind := range []string{auth.KindRefresh, polywire.KindHello} {
		if err := c.Call(t.Context(), kind, secret, nil, polywire.WithHeader("X-Auth-Token", secret)); err != nil {
			t.Fatal(err)
		}
		if err := c.Call(t.Context(), kind, []byte(secret), nil); err == nil {
			t.Fatal("it did not fail")
		}
		if err := w.srv.All().Send(t.Context(), kind, secret); err != nil {
			t.Fatal(err)
		}
	}
	all := s.collect(10)
	text, _ := json.Marshal(all)
	if strings.Contains(string(text), secret) || strings.Contains(string(text), base64.StdEncoding.EncodeToString([]byte(secret))) {
		t.Errorf("%s", text)
	}
	for _, e := range all {
		if !e.Hidden || e.Body != "" {
			t.Errorf("%+v", e)
		}
	}
}

func TestTailShows(t *testing.T) {
	w := newWorld(t, worldOptions{token: token})
	s := w.open("?tail=1&dir=in&kind=echo", bearer)
	s.until("hello")
	c := w.dial()
	for _, v := range []any{
		polywire.Payload{Type: "text/plain", Data: []byte("plain")},
		polywire.Payload{Type: codec.TypeBytes, Data: []byte{0xff, 0}},
		polywire.Payload{Type: "application/msgpack", Data: []byte{0x81, 0xa1, 'a', 1}},
		strings.Repeat("€", 1000),
		strings.Repeat("x", 50_000),
		polywire.Payload{},
		polywire.Args{1, "two", []int{3}},
	} {
		if err := c.Send(t.Context(), "echo", v); err != nil {
			t.Fatal(err)
		}
	}
	want := []body{
		{Type: "text/plain", Size: 5, Body: "plain"},
		{Type: codec.TypeBytes, Size: 2, Body: "/wA=", Base64: true},
		{Type: "application/msgpack", Size: 4, Body: `{"a":1}`},
		{Type: codec.TypeJSON, Size: 3002, Body: `"` + strings.Repeat("€", 682), Cut: true},
		{Type: codec.TypeJSON, Size: 50_002, Body: `"` + strings.Repeat("x", maxBodyShown-1), Cut: true},
		{},
		{Type: codec.TypeJSON, Size: 13, Body: `[1,"two",[3]]`},
	}
	for i, e := range s.collect(len(want)) {
		if i == len(want)-1 {
			e.Body, e.Size = strings.ReplaceAll(e.Body, " ", ""), want[i].Size // as the wire joins them
		}
		if e.body != want[i] {
			t.Errorf("%d: %+v\nwant %+v", i, e.body, want[i])
		}
	}
}

// Under load messages are not held up: what nobody has time to show is counted.
func TestTailUnderLoad(t *testing.T) {
	w := newWorld(t, worldOptions{token: token})
	slow, s := w.open("?tail=1", bearer), w.open("?tail=1&dir=in", bearer) // nobody reads the first
	s.until("hello")
	var sent atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		c := w.dial()
		wg.Go(func() {
			for i := range 500 {
				if err := c.Call(t.Context(), "echo", i, nil); err != nil {
					t.Error(err)
					return
				}
				sent.Add(1)
			}
		})
	}
	var seen, dropped int64
	for seen+dropped < 2000 {
		var b batch
		if err := json.Unmarshal([]byte(s.until("tail")), &b); err != nil {
			t.Fatal(err)
		}
		if len(b.Entries) > maxBatch {
			t.Errorf("%d entries at once", len(b.Entries))
		}
		seen, dropped = seen+int64(len(b.Entries)), dropped+b.Dropped
	}
	wg.Wait()
	if sent.Load() != 2000 || seen+dropped != 2000 || seen == 0 {
		t.Errorf("%d of %d messages were seen, %d counted", seen, sent.Load(), dropped)
	}
	slow.close()
}

// A value that takes long to encode, panics, or cannot be encoded costs its own
// entry the body, and nobody a message.
func TestTailEncoding(t *testing.T) {
	w := newWorld(t, worldOptions{token: token})
	s := w.open("?tail=1", bearer)
	s.until("hello")
	w.console.tail.handled(*w.console.tail.watchers.Load(), new(polywire.Message), 0, nil)
	for _, v := range []any{panics{}, func() {}, slowly{}, slowly{}, "x"} {
		b := &polywire.Broadcast{Kind: "k", Payload: v}
		w.console.tail.broadcast(*w.console.tail.watchers.Load(), b, nil, w.console.viewer)
	}
	all := s.collect(6)
	if !all[1].Omitted || !all[2].Omitted || all[3].Body != `"slow"` || all[3].Omitted {
		t.Errorf("%+v", all)
	}
	b := budget{most: encodeTime}
	now := time.Unix(1000, 0)
	if b.spend(encodeTime); !b.left(now) { // in the second before
		t.Error("a second begins")
	}
	if b.spend(encodeTime / 2); !b.left(now) {
		t.Error("half is left")
	}
	if b.spend(encodeTime / 2); b.left(now) {
		t.Error("nothing is left")
	}
	if !b.left(now.Add(time.Second)) {
		t.Error("another second has begun")
	}
}

type panics struct{}

func (panics) MarshalJSON() ([]byte, error) { panic("ouch") }

type slowly struct{}

func (slowly) MarshalJSON() ([]byte, error) { return []byte(`"slow"`), nil }

// Nobody watches: a message costs one look.
func TestTailCostsNothing(t *testing.T) {
	w := newWorld(t, worldOptions{})
	h := w.console.Hooks()
	m, b := new(polywire.Message), &polywire.Broadcast{Kind: "k", Rooms: []string{"r"}, Payload: "x"}
	if n := testing.AllocsPerRun(100, func() {
		h.AfterHandle(m, time.Millisecond, nil, nil)
		h.AfterBroadcast(b)
		h.AfterPeerBroadcast(nil, b)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestStreamsAreBounded(t *testing.T) {
	w := newWorld(t, worldOptions{token: token})
	var all []*events
	for i := range maxStreams {
		query := ""
		if i < maxWatchers {
			query = "?tail=1"
		}
		s := w.open(query, bearer)
		if s.until("hello"); i < maxWatchers && w.console.tail.count() != i+1 {
			t.Errorf("%d watch", w.console.tail.count())
		}
		all = append(all, s)
		if i == maxWatchers-1 {
			if resp, body := w.ask("GET", apiPath+"events?tail=1", "", bearer); resp.Code != 429 || !strings.Contains(body, "4 tails") {
				t.Errorf("%s %s", resp.Status, body)
			}
		}
	}
	if resp, body := w.ask("GET", apiPath+"events", "", bearer); resp.Code != 429 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("%s %s", resp.Status, body)
	}
	all[0].close()
	w.eventually("a place", func() bool { return w.console.streams.Load() < maxStreams })
	w.open("?tail=1", bearer).until("figures")
	w.console.Close()
	if got := all[5].until("end"); !strings.Contains(got, "ending") {
		t.Error(got)
	}
	if name, _ := all[5].next(); name != "" {
		t.Errorf("%s after the end", name)
	}
}

// A stream ends with the session that it was opened in.
func TestStreamEndsWithSession(t *testing.T) {
	w := newWorld(t, worldOptions{token: token})
	w.ask("POST", apiPath+"login", login(token))
	s := w.open("")
	if got := s.until("hello"); !strings.Contains(got, w.srv.Nodes().ID()) || !strings.Contains(got, `"tail":false`) {
		t.Error(got)
	}
	s.until("figures")
	w.ask("POST", apiPath+"logout", "{}")
	if got := s.until("end"); !strings.Contains(got, "logged out") {
		t.Error(got)
	}
	if name, _ := s.next(); name != "" {
		t.Errorf("%s after the end", name)
	}
}

func TestHeaders(t *testing.T) {
	many := make(map[string]string)
	for i := range 100 {
		many[fmt.Sprint("name-", i)] = strings.Repeat("x", 1000)
	}
	got := showHeader(many)
	if len(got) != maxHeaders {
		t.Errorf("%d headers", len(got))
	}
	for _, v := range got {
		if len(v) != maxTextBytes {
			t.Errorf("%d bytes", len(v))
		}
	}
	for name, want := range map[string]string{
		"Authorization": masked, "cookie": masked, "X-API-Key": masked, "Set-Cookie": masked, "x-csrf-token": masked, "PASSWORD": masked,
		"webhook-signature": masked, "traceparent": "v", "content-type": "v",
	} {
		if got := showHeader(map[string]string{name: "v"})[name]; got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
	if showHeader(nil) != nil {
		t.Error("none is none")
	}
}
