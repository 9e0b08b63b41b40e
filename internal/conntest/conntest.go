// Package conntest has connections for the tests of what runs over them.
package conntest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire/transport"
)

// Certificate returns a certificate for names and addresses, valid from an hour
// ago for two, and the pool that trusts it.
func Certificate(t testing.TB, names ...string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, n)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, pool
}

// Dial returns both ends of a connection over "tcp", "unix" or "tls", which are
// closed with the test.
func Dial(t testing.TB, network string) (client, server net.Conn) {
	t.Helper()
	base, address := network, "127.0.0.1:0"
	switch network {
	case "unix":
		address = filepath.Join(t.TempDir(), "s")
	case "tls":
		base = "tcp"
	}
	l, err := net.Listen(base, address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if client, err = net.Dial(base, l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	if network == "tls" {
		return secure(t, client, server)
	}
	return client, server
}

// secure puts TLS over both ends and shakes hands.
func secure(t testing.TB, client, server net.Conn) (net.Conn, net.Conn) {
	t.Helper()
	cert, roots := Certificate(t, "polywire.test")
	s := tls.Server(server, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12})
	c := tls.Client(client, &tls.Config{RootCAs: roots, ServerName: "polywire.test", MinVersion: tls.VersionTLS12})
	done := make(chan error, 1)
	go func() { done <- s.Handshake() }()
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return c, s
}

// Script is a connection that reads what it was given, at most Step bytes at a
// time, and then its end.
type Script struct {
	net.Conn
	In   []byte
	Step int
}

// Read implements net.Conn.
func (s *Script) Read(p []byte) (int, error) {
	if len(s.In) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.In[:min(s.Step, len(s.In))])
	s.In = s.In[n:]
	return n, nil
}

// Close implements net.Conn.
func (*Script) Close() error { return nil }

// SetReadDeadline implements net.Conn.
func (*Script) SetReadDeadline(time.Time) error { return nil }

// Endless is a connection from which the same bytes come again and again, and
// to which everything can be written.
type Endless struct {
	net.Conn
	In  []byte
	pos int
}

// Read implements net.Conn.
func (e *Endless) Read(p []byte) (int, error) {
	n := copy(p, e.In[e.pos:])
	e.pos = (e.pos + n) % len(e.In)
	return n, nil
}

// Write implements net.Conn.
func (*Endless) Write(p []byte) (int, error) { return len(p), nil }

// Receive returns when a frame has come.
func Receive(c transport.Conn) (transport.Frame, error) {
	for {
		f, ok, err := c.Next()
		if ok || err != nil {
			return f, err
		}
		if err := c.Wait(); err != nil {
			return f, err
		}
	}
}

// Rest returns what has come when everybody in the bubble has come to rest, and
// whether that was all there will ever be.
func Rest(t testing.TB, nc net.Conn) (text string, end bool) {
	t.Helper()
	synctest.Wait()
	if err := nc.SetReadDeadline(time.Now().Add(time.Nanosecond)); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(nc)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	if err := nc.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	return string(got), err == nil
}
