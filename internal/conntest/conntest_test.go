package conntest

import (
	"bytes"
	"io"
	"net"
	"testing"
	"testing/synctest"

	"github.com/polywire/polywire/internal/testenv"
	"github.com/polywire/polywire/transport/transporttest"
)

func TestMain(m *testing.M) { testenv.VerifyNoLeaks(m) }

func TestDial(t *testing.T) {
	for _, network := range []string{"tcp", "unix", "tls"} {
		client, server := Dial(t, network)
		for _, ends := range [][2]net.Conn{{client, server}, {server, client}} {
			if _, err := io.WriteString(ends[0], "abc"); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, 3)
			if _, err := io.ReadFull(ends[1], got); err != nil || string(got) != "abc" {
				t.Errorf("%s: %q, %v", network, got, err)
			}
		}
	}
}

// A port that is held is refused, then a server's, and refused again; nobody who
// asks for any port gets it.
func TestHoldPort(t *testing.T) {
	address := HoldPort(t)
	for range 3 {
		if nc, err := net.Dial("tcp", address); err == nil {
			_ = nc.Close()
			t.Error("somebody listens")
		}
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		nc, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		there, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		_ = there.Close() // first: it leaves the port in TIME_WAIT
		_ = nc.Close()
		_ = l.Close()
		other, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if other.Addr().String() == address {
			t.Error("it was given away")
		}
		_ = other.Close()
	}
}

func TestCertificate(t *testing.T) {
	cert, _ := Certificate(t, "*.a.example", "192.0.2.7")
	for host, want := range map[string]bool{"b.a.example": true, "192.0.2.7": true, "127.0.0.1": false, "a.example": false} {
		if err := cert.Leaf.VerifyHostname(host); (err == nil) != want {
			t.Errorf("%s: %v", host, err)
		}
	}
}

func TestReaders(t *testing.T) {
	if got, err := io.ReadAll(&Script{In: []byte("abcdefg"), Step: 3}); err != nil || string(got) != "abcdefg" {
		t.Errorf("%q, %v", got, err)
	}
	got := make([]byte, 7)
	if _, err := io.ReadFull(&Endless{In: []byte("abc")}, got); err != nil || !bytes.Equal(got, []byte("abcabca")) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := transporttest.ConnPair(64)
		defer a.Close()
		go func() {
			_, _ = io.WriteString(b, "one")
			_, _ = io.WriteString(b, "two")
		}()
		if text, end := Rest(t, a); text != "onetwo" || end {
			t.Errorf("%q, %v", text, end)
		}
		go b.Close()
		if text, end := Rest(t, a); text != "" || !end {
			t.Errorf("after its end: %q, %v", text, end)
		}
	})
}
