package engineio

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/transport/websocket"
)

// TestTrafficAcrossUpgrade: whatever is under way in both directions while the
// session goes over arrives once, in order.
func TestTrafficAcrossUpgrade(t *testing.T) {
	const messages = 400
	for _, row := range []struct {
		version int
		pace    time.Duration // of the messages: the upgrade takes a tenth of a second
	}{{4, time.Millisecond}, {3, time.Millisecond}, {4, 0}, {4, 3 * time.Millisecond}} {
		conns := make(chan *Conn, 1)
		inRig(t, Options{Accept: unserved(conns), PollBytes: 100}, func(r *rig) {
			u := &url.URL{Scheme: "http", Host: "server.test"}
			client, err := Dial(context.Background(), u, DialOptions{Version: row.version, NetDial: r.l.NetDial})
			if err != nil {
				r.Fatal(err)
			}
			defer client.Close()
			server := <-conns
			results := make(chan error, 4)
			for _, end := range []transport.Conn{client, server} {
				go func() { results <- writeNumbers(end, messages, row.pace) }()
				go func() { results <- readNumbers(end, messages) }()
			}
			for range 4 {
				if err := <-results; err != nil {
					r.Error(err)
				}
			}
			time.Sleep(time.Second) // virtual
			if server.Transport() != transportWebSocket {
				r.Error("the session has not gone over")
			}
		})
	}
}

func writeNumbers(c transport.Conn, n int, pace time.Duration) error {
	for i := range n {
		w := transport.NewWriter(c.Framer(), nil)
		typ := transport.Text
		if i%3 == 0 {
			typ = transport.Binary
		}
		if err := w.Frame(typ, []byte(fmt.Sprint(i))); err != nil {
			return err
		}
		if err := c.Write(w.Bytes()); err != nil {
			return fmt.Errorf("writing %d: %w", i, err)
		}
		time.Sleep(pace) // virtual
	}
	return nil
}

// readNumbers reads until all have come, and once more, as the core does.
func readNumbers(c transport.Conn, n int) error {
	for i := 0; i < n; {
		f, ok, err := c.Next()
		switch {
		case err != nil:
			return fmt.Errorf("reading %d: %w", i, err)
		case !ok:
			if err := c.Wait(); err != nil {
				return fmt.Errorf("waiting for %d: %w", i, err)
			}
		case string(f.Data) != fmt.Sprint(i):
			return fmt.Errorf("%s in place of %d", f.Data, i)
		default:
			i++
		}
	}
	go c.Wait() // until it is closed
	return nil
}

// TestSleeping: a session on a WebSocket can be watched without a goroutine,
// begun with it or gone over.
func TestSleeping(t *testing.T) {
	conns := make(chan *Conn, 1)
	s, err := NewServer(Options{Accept: unserved(conns)})
	if err != nil {
		t.Fatal(err)
	}
	h := httptest.NewServer(s)
	defer h.Close()
	u, err := url.Parse(h.URL)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []DialOptions{{NoPolling: true}, {}} {
		client, err := Dial(t.Context(), u, o)
		if err != nil {
			t.Fatal(err)
		}
		c := <-conns
		for c.poll.Load() != nil {
			if err := c.Wait(); err != nil {
				t.Fatal(err)
			}
		}
		c.Interrupt()
		if err := c.Wait(); !errors.Is(err, transport.ErrInterrupted) {
			t.Errorf("Wait: %v", err)
		}
		if raw, ok := c.Idle(); !ok || raw == nil {
			t.Error("it cannot be watched")
		}
		c.Close()
		client.Close()
	}
}

// TestAdvisories has a row for each published weakness of other servers that
// is about Engine.IO. After each, the server serves the next client.
func TestAdvisories(t *testing.T) {
	socket := func(query string, raw ...byte) func(r *rig) {
		return func(r *rig) {
			w := r.socket(query)
			_, _ = w.ws.NetConn().Write(raw)
			w.receive()
		}
	}
	request := func(method, query, body string) func(r *rig) {
		return func(r *rig) { r.do(method, query, body) }
	}
	rows := []struct {
		name string
		do   func(r *rig)
	}{
		{"CVE-2020-36048: a huge body", func(r *rig) {
			r.is(r.post(r.open(poll4), strings.Repeat("4", 2<<20)), 413, "")
		}},
		{"CVE-2020-36048: many packets in little", func(r *rig) {
			r.is(r.post(r.open(poll3), strings.Repeat("1:6", 300000)), 200, "ok")
		}},
		{"CVE-2022-21676: reserved bits at once", socket(sock4, 0xf2, 0x80, 0, 0, 0, 0)},
		{"CVE-2022-21676: in a probe", func(r *rig) {
			socket(sock4+sidOf(r.open(poll4)), 0xf2, 0x80, 0, 0, 0, 0)(r)
		}},
		{"CVE-2022-41940: gone while refused", func(r *rig) {
			nc, err := r.l.Dial(context.Background())
			if err != nil {
				r.Fatal(err)
			}
			_, _ = nc.Write([]byte("GET /engine.io/?" + sock4 + "&sid=x HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"))
			nc.Close()
		}},
		{"CVE-2023-31125: __proto__", request("GET", "EIO=4&transport=__proto__", "")},
		{"CVE-2023-31125: on a WebSocket", func(r *rig) {
			if _, err := r.dial("EIO=4&transport=__proto__", websocket.DialOptions{}); err == nil {
				r.Error("accepted")
			}
		}},
		{"CVE-2023-31125: an upgrade to it", func(r *rig) {
			if _, err := r.dial("EIO=4&transport=constructor"+sidOf(r.open(poll4)), websocket.DialOptions{}); err == nil {
				r.Error("accepted")
			}
		}},
		{"many fragments", socket(sock4, append([]byte{0x01, 0x80, 0, 0, 0, 0}, []byte(strings.Repeat("\x00\x80\x00\x00\x00\x00", 500))...)...)},
		{"a message that never comes", socket(sock4, 0x81, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0)},
		{"CVE-2020-28481: any origin", func(r *rig) {
			got := r.do("GET", poll4, "", "Origin", "https://evil.test")
			if got.status != http.StatusForbidden || got.header.Get("Access-Control-Allow-Origin") != "" {
				r.Errorf("a foreign origin is answered %d %v", got.status, got.header)
			}
		}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			inRig(t, Options{MaxFragments: 100}, func(r *rig) {
				row.do(r)
				synctest.Wait()
				session := r.open(poll4)
				r.is(r.post(session, "4a"), 200, "ok")
				r.is(r.get(session), 200, "4a")
			})
		})
	}
}
