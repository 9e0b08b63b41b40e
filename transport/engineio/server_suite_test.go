package engineio

import (
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/transport/transporttest"
)

// careful is a client that sends nothing over the limit: what the server does
// about that depends on the transport, and closes no session that polls.
type careful struct {
	*ClientConn
	limit int
	url   string
	http  *http.Client
}

func (c careful) Framer() transport.Framer { return limited{c.ClientConn.Framer(), c.limit} }

type limited struct {
	transport.Framer
	limit int
}

func (l limited) End(dst []byte, start int, t transport.FrameType) ([]byte, error) {
	if len(dst)-start-roomBytes > l.limit {
		return nil, errors.New("over the limit")
	}
	return l.Framer.End(dst, start, t)
}

// Close says so to a server that is not being polled, and cannot see it.
func (c careful) Close() error {
	err := c.ClientConn.Close()
	one := "1"
	if c.Version() == 3 {
		one = "1:1"
	}
	query := "?EIO=4&transport=polling&sid=" + c.ID()
	resp, postErr := c.http.Post(c.url+query, "text/plain", strings.NewReader(one))
	if postErr == nil {
		resp.Body.Close()
	}
	return err
}

// pairs serves sessions; the function opens one and returns both ends. They
// have gone over to a WebSocket if they do at all.
func pairs(t *testing.T, o Options, do DialOptions, limit int) func(t *testing.T) (a, b transport.Conn) {
	t.Helper()
	conns := make(chan *Conn, 16)
	o.Accept = unserved(conns)
	s, err := NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.noops = time.Millisecond
	h := httptest.NewUnstartedServer(s)
	h.Config.ErrorLog = log.New(io.Discard, "", 0)
	h.Start()
	t.Cleanup(h.Close)
	u, err := url.Parse(h.URL)
	if err != nil {
		t.Fatal(err)
	}
	return func(t *testing.T) (a, b transport.Conn) {
		t.Helper()
		client, err := Dial(t.Context(), u, do)
		if err != nil {
			t.Fatal(err)
		}
		server := <-conns
		t.Cleanup(func() {
			client.Close()
			server.Close()
		})
		for !do.NoUpgrade && (client.in == nil || server.poll.Load() != nil) {
			var c transport.Conn = server
			if client.in == nil {
				c = client
			}
			if err := c.Wait(); err != nil {
				t.Fatal(err)
			}
		}
		return careful{client, limit, h.URL, h.Client()}, server
	}
}

func TestServerConformance(t *testing.T) {
	rows := []struct {
		name  string
		dial  DialOptions
		limit int
	}{
		{"polling", DialOptions{NoUpgrade: true}, 1 << 20},
		{"polling, version 3", DialOptions{NoUpgrade: true, Version: 3}, 1 << 20},
		{"websocket", DialOptions{NoPolling: true}, 1 << 20},
		{"websocket, version 3", DialOptions{NoPolling: true, Version: 3}, 1 << 20},
		{"going over", DialOptions{}, 1 << 20},
		{"websocket, low limit", DialOptions{NoPolling: true}, 3000},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			row.dial.MaxMessageBytes = row.limit
			open := pairs(t, Options{MaxPayloadBytes: 2*row.limit + 100}, row.dial, row.limit)
			transporttest.Run(t, transporttest.Features{
				MaxMessageBytes: row.limit, SharedFormat: true,
				NoControl: true, NoCloseFrame: true, WholeFrames: true,
			}, open)
		})
	}
}
