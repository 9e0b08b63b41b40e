package engineio

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net/http/httptest"
	"net/url"
	"testing"
	"unsafe"

	"github.com/polywire/polywire/transport"
)

// FuzzPost sends a body to a session that nobody else uses, in all of its
// forms. It ends, and the frames are no more than the body.
func FuzzPost(f *testing.F) {
	for _, seed := range []string{
		"4hello", "4a\x1ebAQIDBA==", "d=4a%5Cnb", "6:4hello2:4a", "\x00\x06\xff4hello\x01\x05\xff\x04\x01\x02\x03\x04", "1", "", "\\\\n", "%",
	} {
		f.Add([]byte(seed), uint8(0))
		f.Add([]byte(seed), uint8(7))
	}
	f.Fuzz(func(t *testing.T, body []byte, form uint8) {
		v := v4
		if form&1 != 0 {
			v = v3
		}
		size := len(body)
		if form&2 != 0 {
			var ok bool
			if body, ok = jsonpData(body); !ok {
				return
			}
		}
		if len(body) > size {
			t.Fatalf("a form of %d bytes became %d", size, len(body))
		}
		c := &Conn{srv: &Server{sessions: map[sessionID]*Conn{}}, version: v}
		p := newPolling(c)
		c.poll.Store(p)
		read := make(chan int)
		go func() {
			n := 0
			for {
				fr, ok, err := c.Next()
				if err == nil && !ok {
					err = c.Wait()
				}
				if err != nil {
					read <- n
					return
				}
				n += len(fr.Data)
			}
		}()
		err := p.handle(t.Context(), form&4 != 0 && v == v3, bytes.Clone(body))
		c.Close()
		if n := <-read; n > len(body) {
			t.Errorf("%d bytes of frames in a body of %d", n, len(body))
		}
		if err != nil {
			var end *transport.CloseError
			if !errors.As(packetEnd(err), &end) || end.Reason == "" {
				t.Errorf("%v has no reason", err)
			}
		}
	})
}

// TestSize: ten thousand quiet sessions are ten thousand of these.
func TestSize(t *testing.T) {
	if n := unsafe.Sizeof(Conn{}); n > 80 {
		t.Errorf("a session takes %d bytes beside its WebSocket", n)
	}
}

// TestTLSState: it is that of the connection, or of the first request.
func TestTLSState(t *testing.T) {
	conns := make(chan *Conn, 1)
	s, err := NewServer(Options{Accept: unserved(conns)})
	if err != nil {
		t.Fatal(err)
	}
	h := httptest.NewUnstartedServer(s)
	h.Config.ErrorLog = log.New(io.Discard, "", 0)
	h.StartTLS()
	defer h.Close()
	u, err := url.Parse(h.URL)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(h.Certificate())
	for _, o := range []DialOptions{{NoPolling: true}, {NoUpgrade: true}} {
		o.TLS = &tls.Config{RootCAs: roots}
		client, err := Dial(t.Context(), u, o)
		if err != nil {
			t.Fatal(err)
		}
		c := <-conns
		if state := c.ConnectionState(); state == nil || !state.HandshakeComplete {
			t.Errorf("TLS state %+v", state)
		}
		client.Close()
		c.Close()
	}
}
