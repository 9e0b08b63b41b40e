package client_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/internal/conntest"
	"github.com/polywire/polywire/wire/native"
)

// listen serves an address of the loopback and returns the URL to dial.
func listen(t *testing.T, srv *polywire.Server, address string) string {
	t.Helper()
	l, scheme, err := srv.Listen(address)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l, scheme) }()
	t.Cleanup(func() {
		srv.Close()
		if err := <-served; err != nil {
			t.Errorf("serve %s: %v", address, err)
		}
	})
	if scheme == "unix" {
		return address
	}
	return scheme + "://" + l.Addr().String()
}

// The same works on real sockets, for both forms and with a broken connection
// in between.
func TestRealSockets(t *testing.T) {
	cert, pool := conntest.Certificate(t, "127.0.0.1")
	for _, address := range []string{
		"ws://127.0.0.1:0", "wss://127.0.0.1:0", "tcp://127.0.0.1:0", "tls://127.0.0.1:0",
		"unix://" + filepath.Join(t.TempDir(), "polywire.sock"),
	} {
		for _, form := range []native.Form{native.Proto, native.JSON} {
			t.Run(address[:4]+" "+form.String(), func(t *testing.T) {
				srv, err := polywire.New(polywire.WithWires(native.New()), polywire.WithPublishPolicy(polywire.AllowPublish),
					polywire.WithTLS(&tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}))
				if err != nil {
					t.Fatal(err)
				}
				srv.Handle("echo", echo)
				e := newEvents()
				c, err := client.New(listen(t, srv, address), e.option(),
					client.WithWires(native.New(native.WithForm(form))), client.WithTLS(&tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}),
					client.WithBackoff(time.Millisecond, 10*time.Millisecond))
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				heard := make(chan string, 1)
				c.Handle("news", into(heard))
				connect(t, c)
				if err := c.Subscribe(t.Context(), "room"); err != nil {
					t.Fatal(err)
				}
				for range 3 {
					conn := receive(t, e.connects)
					if got := call(t, c, "echo", "hi"); got != "hi" {
						t.Errorf("the echo of hi is %q", got)
					}
					// A room joined again is told to nobody, so ask until it is there.
					if err := c.Subscribe(t.Context(), "room"); err != nil {
						t.Fatal(err)
					}
					if err := c.Publish(t.Context(), "room", "news", "published"); err != nil {
						t.Error(err)
					}
					if got := receive(t, heard); got != "published" {
						t.Errorf("heard %q", got)
					}
					srv.Conn(conn.RemoteID()).Close(polywire.CloseForceReconnect, "")
				}
			})
		}
	}
}

// A certificate that nobody vouches for is refused.
func TestTLSIsVerified(t *testing.T) {
	cert, _ := conntest.Certificate(t, "127.0.0.1")
	for _, address := range []string{"wss://127.0.0.1:0", "tls://127.0.0.1:0"} {
		srv, err := polywire.New(polywire.WithWires(native.New()),
			polywire.WithTLS(&tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}))
		if err != nil {
			t.Fatal(err)
		}
		c, err := client.Dial(t.Context(), listen(t, srv, address))
		var unknown x509.UnknownAuthorityError
		if c != nil || !errors.As(err, &unknown) {
			t.Errorf("%s: %v, want an unknown authority", address, err)
		}
	}
}
