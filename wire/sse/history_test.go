package sse_test

import (
	"context"
	"fmt"
	"net"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/transport/transporttest"
	"github.com/polywire/polywire/wire/sse"
)

var idLine = regexp.MustCompile(`(?m)^id: (.*)\n`)

// browser is what EventSource does: it remembers the last id, and tells the
// events apart.
type browser struct {
	t      *testing.T
	l      *transporttest.Listener
	target string
	last   string
	nc     net.Conn
}

// open begins a stream and returns the events that it begins with.
func (b *browser) open() string {
	b.t.Helper()
	got := b.ask()
	head, body, _ := strings.Cut(got, "\r\n\r\n")
	if !strings.HasPrefix(head, "HTTP/1.1 200 ") {
		b.t.Fatalf("%q", got)
	}
	return b.take(strings.TrimPrefix(unchunk(b.t, body), ": polywire\n\n"))
}

// ask asks for a stream and returns what comes.
func (b *browser) ask() string {
	b.t.Helper()
	b.nc = dial(b.t, b.l)
	var lines []string
	if b.last != "" {
		lines = append(lines, "Last-Event-ID: "+b.last)
	}
	get(b.t, b.nc, b.target, lines...)
	got, _ := come(b.t, b.nc)
	return got
}

// events returns what has come since, without ids.
func (b *browser) events() string {
	b.t.Helper()
	got, _ := come(b.t, b.nc)
	return b.take(unchunk(b.t, got))
}

func (b *browser) take(text string) string {
	if ids := idLine.FindAllStringSubmatch(text, -1); ids != nil {
		b.last = ids[len(ids)-1][1]
	}
	var all []string
	for e := range strings.SplitSeq(idLine.ReplaceAllString(text, ""), "\n\n") {
		if e != "" && e != "\n" {
			e = strings.ReplaceAll(strings.TrimPrefix(e, "\n"), "\n", " ")
			all = append(all, strings.NewReplacer("event: ", "", "room: ", "", "data: ", "", `"`, "").Replace(e))
		}
	}
	return strings.Join(all, "; ")
}

func (b *browser) leave() {
	b.nc.Close()
	synctest.Wait()
}

func (b *browser) wants(got, want string) {
	b.t.Helper()
	if got != want {
		b.t.Errorf("came %q, want %q (at %s)", got, want, b.last)
	}
}

func TestBrowserComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, l := server(t, sse.New(), polywire.WithHistory("h*", polywire.History{Size: 4}))
		say := func(room string, n int) { send(t, srv.Room(room), "k", n) }
		one := &browser{t: t, l: l, target: "/events?room=h1"}
		two := &browser{t: t, l: l, target: "/events?room=h1&room=plain&room=h2"}
		one.wants(one.open(), "")
		two.wants(two.open(), "")
		if strings.Contains(one.last, "~") || strings.Count(two.last, "~") != 3 {
			t.Errorf("they begin at %q and %q", one.last, two.last)
		}
		one.leave()
		two.leave()
		say("h1", 1) // before any event came to them
		say("plain", 2)
		one.wants(one.open(), "k h1 1; $recovered {room:h1,recovered:true}")
		two.wants(two.open(), "k h1 1; $recovered {room:h1,recovered:true}; $recovered {room:h2,recovered:true}")
		say("h2", 3)
		say("h1", 4)
		say("plain", 5)
		one.wants(one.events(), "k h1 4")
		two.wants(two.events(), "k h2 3; k h1 4; k plain 5")
		one.leave()
		two.leave()
		say("h2", 6)
		say("h1", 7)
		say("h1", 8)
		one.wants(one.open(), "k h1 7; k h1 8; $recovered {room:h1,recovered:true}")
		two.wants(two.open(), "k h1 7; k h1 8; $recovered {room:h1,recovered:true}; k h2 6; $recovered {room:h2,recovered:true}")

		// A handler has put the stream into another room: its ids are about its own.
		c := srv.Room("h1").Conns()[0]
		if err := c.Join("h3"); err != nil {
			t.Fatal(err)
		}
		say("h3", 9)
		if got := one.events() + two.events(); got != "k h3 9" {
			t.Errorf("came %q", got)
		}
		one.leave()
		two.leave()
		for n := range 5 {
			say("h1", 10+n)
		}
		one.wants(one.open(), "$recovered {room:h1,recovered:false}")
		two.wants(two.open(), "$recovered {room:h1,recovered:false}; $recovered {room:h2,recovered:true}")
		say("h1", 20)
		one.wants(one.events(), "k h1 20")
		two.wants(two.events(), "k h1 20")
		for _, garbage := range []string{"x", "~~~", "abc~1~2~3", "17"} {
			one.leave()
			two.leave()
			one.last, two.last = garbage, garbage
			one.wants(one.open(), "$recovered {room:h1,recovered:false}")
			two.wants(two.open(), "$recovered {room:h1,recovered:false}; $recovered {room:h2,recovered:false}")
		}
		plain := &browser{t: t, l: l, target: "/events?room=p1&room=p2", last: "17"}
		plain.wants(plain.open(), "")
		send(t, srv.Room("p2"), "k", 1)
		plain.wants(plain.events(), "k p2 1")
	})
}

// More than is kept back before the response: the stream begins with it, and
// whoever is refused later is sent away.
func TestMuchWasMissed(t *testing.T) {
	for name, refused := range map[string]time.Duration{"good": 0, "refused": 1, "refused later": time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				refuse := false
				srv, l := server(t, sse.New(), polywire.WithHistory("h*", polywire.History{}), polywire.WithOutboxBytes(1<<20),
					polywire.WithSubscribePolicy(func(_ context.Context, _ *polywire.Conn, room string) error {
						if refuse && room == "h3" {
							<-time.After(refused)
							return polywire.Errorf(polywire.CodeForbidden, "not you")
						}
						return nil
					}))
				b := &browser{t: t, l: l, target: "/events?room=h1&room=h2&room=h3"}
				b.wants(b.open(), "")
				b.leave()
				text := strings.Repeat("x", 9000)
				for range 80 {
					send(t, srv.Room("h1"), "k", text)
				}
				send(t, srv.Room("h2"), "k", 2)
				send(t, srv.Room("h3"), "k", 3)
				refuse = refused > 0
				start := time.Now()
				if refused > 0 {
					got := b.ask()
					<-time.After(2 * refused)
					more, _ := come(t, b.nc)
					got += more
					begun := strings.HasPrefix(got, "HTTP/1.1 200 ") && strings.Contains(got, "event: $close\ndata: {\"code\":3507,\"reason\":\"not you\"}\n\n\r\n0\r\n\r\n")
					inTime := strings.HasPrefix(got, "HTTP/1.1 403 ") && strings.HasSuffix(got, `"room":"h3"}`+"\n")
					if !begun && (!inTime || refused == time.Second) { // a nanosecond is either
						t.Errorf("came %.300q", got)
					}
					b.leave()
					if n := srv.Stats().Connections; n != 0 {
						t.Errorf("%d connections are left", n)
					}
					return
				}
				got := strings.ReplaceAll(b.open(), text, "x")
				want := strings.Repeat("k h1 x; ", 80) + "$recovered {room:h1,recovered:true}; k h2 2; $recovered {room:h2,recovered:true}; k h3 3; $recovered {room:h3,recovered:true}"
				if got != want || time.Since(start) > time.Second {
					t.Errorf("after %v came %q, want %q", time.Since(start), got, want)
				}
				send(t, srv.Room("h2"), "k", 4)
				b.wants(b.events(), "k h2 4")
				b.leave()
				if n := srv.Stats().Connections; n != 0 {
					t.Errorf("%d connections are left", n)
				}
			})
		})
	}
}

// One event for many streams is still encoded once; those that say it in their
// own way get the same but for the id.
func TestIDsOfManyStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, l := server(t, sse.New(), polywire.WithHistory("h*", polywire.History{}))
		var all []*browser
		for i := range 12 {
			b := &browser{t: t, l: l, target: "/events?room=h1"}
			if i%3 == 0 {
				b.target += fmt.Sprint("&room=h", 2+i)
			}
			b.wants(b.open(), "")
			all = append(all, b)
		}
		for n := range 20 {
			send(t, srv.Room("h1"), "k", n)
			want := fmt.Sprint("k h1 ", n)
			for i, b := range all {
				b.wants(b.events(), want)
				if (i+n)%5 == 0 {
					b.leave()
					if got := b.open(); !strings.HasPrefix(got, "$recovered {room:h1,recovered:true}") {
						t.Errorf("came %q", got)
					}
				}
			}
		}
	})
}
