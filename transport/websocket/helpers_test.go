package websocket

import (
	"bytes"
	"compress/flate"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/polywire/polywire/transport"
)

func discardLog() *log.Logger { return log.New(io.Discard, "", 0) }

// part is a frame as a peer writes it, right or wrong.
type part struct {
	first   byte
	payload string
	form    byte // of the length: 0 the shortest, or 126, or 127
	rawSize uint64
	claims  bool // the length is rawSize, whatever the payload has
	unlike  bool // masked where it must not be, and the other way round
}

// testKey is the masking key of RFC 6455 section 5.7.
var testKey = []byte{0x37, 0xfa, 0x21, 0x3d}

// append writes the part, masked as a client does.
func (p part) append(b []byte, masked bool) []byte {
	size := uint64(len(p.payload))
	if p.claims {
		size = p.rawSize
	}
	form := p.form
	switch {
	case form != 0:
	case size >= 1<<16:
		form = 127
	case size >= 126:
		form = 126
	default:
		form = byte(size)
	}
	second := form
	if p.unlike {
		masked = !masked
	}
	if masked {
		second |= 0x80
	}
	b = append(b, p.first, second)
	switch form {
	case 126:
		b = binary.BigEndian.AppendUint16(b, uint16(size))
	case 127:
		b = binary.BigEndian.AppendUint64(b, size)
	}
	if !masked {
		return append(b, p.payload...)
	}
	b = append(b, testKey...)
	for i := range len(p.payload) {
		b = append(b, p.payload[i]^testKey[i%4])
	}
	return b
}

func encode(parts []part, masked bool) []byte {
	var b []byte
	for _, p := range parts {
		b = p.append(b, masked)
	}
	return b
}

// feed is a connection that has received chunks and then the end.
type feed struct {
	net.Conn
	chunks [][]byte
}

func (f *feed) Read(p []byte) (int, error) {
	if len(f.chunks) == 0 {
		return 0, io.EOF
	}
	n := copy(p, f.chunks[0])
	if f.chunks[0] = f.chunks[0][n:]; len(f.chunks[0]) == 0 {
		f.chunks = f.chunks[1:]
	}
	return n, nil
}

func (f *feed) SetDeadline(time.Time) error { return nil }

// outcome is all that a connection delivers.
type outcome struct {
	frames []transport.Frame
	err    error
}

func (o outcome) String() string {
	var b strings.Builder
	for _, f := range o.frames {
		b.WriteString(f.Type.String())
		b.WriteString(" ")
		if len(f.Data) > 40 {
			b.WriteString(string(f.Data[:40]) + "...")
		} else {
			b.Write(f.Data)
		}
		b.WriteString("; ")
	}
	return b.String() + o.err.Error()
}

// same reports whether two outcomes are equal; errors by what they mean.
func (o outcome) same(other outcome) bool {
	if len(o.frames) != len(other.frames) {
		return false
	}
	for i, f := range o.frames {
		if f.Type != other.frames[i].Type || !bytes.Equal(f.Data, other.frames[i].Data) {
			return false
		}
	}
	var a, b *transport.CloseError
	if errors.As(o.err, &a) && errors.As(other.err, &b) {
		return *a == *b
	}
	return errors.Is(o.err, other.err)
}

// receive reads chunks to their end.
func receive(s settings, chunks ...[]byte) outcome {
	for i := range chunks { // they are unmasked in place
		chunks[i] = bytes.Clone(chunks[i])
	}
	c := newConn(&feed{chunks: chunks}, nil, s)
	var o outcome
	for {
		f, ok, err := c.Next()
		if ok {
			o.frames = append(o.frames, transport.Frame{Type: f.Type, Data: bytes.Clone(f.Data)})
			continue
		}
		if err == nil {
			err = c.Wait()
		}
		if err != nil {
			o.err = err
			return o
		}
	}
}

// deflated compresses a message as RFC 7692 section 7.2.1 says.
func deflated(t testing.TB, s string) string {
	t.Helper()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, s); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(b.String(), "\x00\x00\xff\xff")
}

// accepting serves WebSockets; what it accepts comes out of the channel.
func accepting(t testing.TB, secure bool, o AcceptOptions) (url string, roots *x509.CertPool, accepted <-chan *Conn) {
	t.Helper()
	conns := make(chan *Conn, 16)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := Accept(w, r, o)
		if err != nil {
			return // the client is told
		}
		conns <- c
	}))
	s.Config.ErrorLog = discardLog()
	if secure {
		s.StartTLS()
		roots = x509.NewCertPool()
		roots.AddCert(s.Certificate())
	} else {
		s.Start()
	}
	t.Cleanup(func() {
		s.Close()
		for len(conns) > 0 {
			(<-conns).Close()
		}
	})
	return "ws" + strings.TrimPrefix(s.URL, "http"), roots, conns
}

// link opens a connection through real sockets and returns both ends.
func link(t testing.TB, secure bool, ao AcceptOptions, do DialOptions) (client, server *Conn) {
	t.Helper()
	url, roots, accepted := accepting(t, secure, ao)
	if secure {
		do.TLS = &tls.Config{RootCAs: roots}
	}
	client, _, err := Dial(context.Background(), url, do) //nolint:bodyclose // see Dial
	if err != nil {
		t.Fatal(err)
	}
	server = <-accepted
	t.Cleanup(func() {
		client.Close()
		server.Close()
	})
	return client, server
}
