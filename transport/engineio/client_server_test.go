package engineio

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/transport/transporttest"
)

// withServer runs f with a server of this package, in memory and virtual time,
// and options for clients of it.
func withServer(t *testing.T, o Options, f func(t *testing.T, dial func(DialOptions) *ClientConn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		served := make(chan *Conn, 10)
		o.Accept = func(c *Conn, _ *http.Request) error {
			served <- c
			go sayBack(c)
			return nil
		}
		s, err := NewServer(o)
		if err != nil {
			t.Fatal(err)
		}
		l := transporttest.NewListener()
		h := &http.Server{Handler: s, ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: time.Hour}
		go func() { _ = h.Serve(l) }()
		defer func() {
			_ = h.Close() // which does not wait for what it serves
			synctest.Wait()
			for len(served) > 0 {
				(<-served).Close()
			}
			synctest.Wait()
		}()
		f(t, func(do DialOptions) *ClientConn {
			t.Helper()
			do.NetDial = l.NetDial
			c, err := Dial(t.Context(), &url.URL{Scheme: "http", Host: "example.org"}, do)
			if err != nil {
				t.Fatal(err)
			}
			return c
		})
	})
}

// sayBack returns everything, and closes when it is told so.
func sayBack(c *Conn) {
	defer c.Close()
	for {
		f, ok, err := c.Next()
		switch {
		case err != nil:
			return
		case !ok:
			if c.Wait() != nil {
				return
			}
			continue
		}
		typ, data := f.Type, f.Data
		switch {
		case string(data) == "close":
			typ, data = transport.Close, nil
		case typ == transport.Ping:
			typ = transport.Pong
		}
		w := transport.NewWriter(c.Framer(), nil)
		if w.Frame(typ, data) != nil || c.Write(w.Bytes()) != nil {
			return
		}
	}
}

func eachWay(t *testing.T, f func(t *testing.T, o DialOptions)) {
	for _, v := range []int{3, 4} {
		for name, o := range map[string]DialOptions{
			"polling": {NoUpgrade: true}, "going over": {}, "websocket": {NoPolling: true},
		} {
			t.Run(fmt.Sprintf("%s, version %d", name, v), func(t *testing.T) {
				o.Version = v
				f(t, o)
			})
		}
	}
}

// Nothing is lost, doubled or out of order while the transport changes under
// messages in both directions.
func TestClientTraffic(t *testing.T) {
	eachWay(t, func(t *testing.T, o DialOptions) {
		withServer(t, Options{}, func(t *testing.T, dial func(DialOptions) *ClientConn) {
			c := dial(o)
			const count = 300
			done := make(chan error, 1)
			go func() {
				for i := range count {
					typ := "text"
					if i%3 == 0 {
						typ = "binary"
					}
					if err := tryWrite(c, fmt.Sprintf("%s %d %s", typ, i, strings.Repeat("é", i*7%500))); err != nil {
						done <- err
						return
					}
					time.Sleep(time.Millisecond) // virtual
				}
				done <- nil
			}()
			for i := range count {
				typ := "text"
				if i%3 == 0 {
					typ = "binary"
				}
				receives(t, c, fmt.Sprintf("%s %d %s", typ, i, strings.Repeat("é", i*7%500)))
			}
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			want := "websocket"
			if o.NoUpgrade {
				want = "polling"
			}
			time.Sleep(time.Second) // virtual
			if c.Transport() != want {
				t.Fatal(c.Transport())
			}
			write(t, c, "text last")
			receives(t, c, "text last")
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
		})
	})
}

// What is closed by either side is seen as such by the other.
func TestClientCloseFromServer(t *testing.T) {
	eachWay(t, func(t *testing.T, o DialOptions) {
		withServer(t, Options{}, func(t *testing.T, dial func(DialOptions) *ClientConn) {
			c := dial(o)
			defer c.Close()
			write(t, c, "text a", "text close")
			receives(t, c, "text a")
			if got := next(t, c); !strings.Contains(got, "peer closed (1005): transport close") {
				t.Fatal(got)
			}
		})
	})
}

// Answers are compressed, and bounded by what they inflate to.
func TestClientInflatesAnswers(t *testing.T) {
	withServer(t, Options{CompressMinBytes: 100}, func(t *testing.T, dial func(DialOptions) *ClientConn) {
		big := strings.Repeat("x", 5000)
		c := dial(DialOptions{NoUpgrade: true})
		write(t, c, "text "+big)
		receives(t, c, "text "+big)
		c.Close()

		c = dial(DialOptions{NoUpgrade: true, MaxMessageBytes: 200})
		defer c.Close()
		write(t, c, "text "+big)
		checkEnd(t, c, transport.CloseError{Code: 1009, Reason: reasonError, Local: true}, false, "")
	})
}

// A server that refuses is heard.
func TestClientRefusedByServer(t *testing.T) {
	for _, noPolling := range []bool{true, false} {
		withServer(t, Options{NoV3: true}, func(t *testing.T, dial func(DialOptions) *ClientConn) {
			l := dial(DialOptions{NoPolling: noPolling})
			l.r.o.Version = 3
			_, err := Dial(context.Background(), &l.r.url, l.r.o)
			l.Close()
			if err == nil || !strings.Contains(err.Error(), "Unsupported protocol version") {
				t.Fatal(err)
			}
		})
	}
}

// The connections that polling needs are closed when there is a WebSocket, and
// when the session is over.
func TestClientKeepsNoConnections(t *testing.T) {
	eachWay(t, func(t *testing.T, o DialOptions) {
		withServer(t, Options{}, func(t *testing.T, dial func(DialOptions) *ClientConn) {
			c := dial(o)
			write(t, c, "text a")
			receives(t, c, "text a")
			time.Sleep(time.Second) // virtual
			synctest.Wait()
			if n := c.requesting(); n != 0 && c.Transport() == "websocket" {
				t.Fatalf("%d goroutines", n)
			}
			c.Close()
			synctest.Wait()
			if n := c.requesting(); n != 0 {
				t.Fatalf("%d goroutines", n)
			}
		})
	})
}

func (c *ClientConn) requesting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.requests
}
