package natsembed_test

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net/url"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/polywire/polywire/internal/conntest"
	"github.com/polywire/polywire/natsembed"
)

func TestClientsShowWhatTheyMust(t *testing.T) {
	tests := map[string]struct {
		auth  natsembed.Auth
		right nats.Option
		wrong []nats.Option
	}{
		"token": {
			natsembed.Auth{Token: "t0ken"}, nats.Token("t0ken"),
			[]nats.Option{nats.Token("t0ke"), nats.Token(""), nats.UserInfo("t0ken", "t0ken")},
		},
		"user": {
			natsembed.Auth{User: "u", Password: "p"}, nats.UserInfo("u", "p"),
			[]nats.Option{nats.UserInfo("u", ""), nats.UserInfo("u", "q"), nats.UserInfo("v", "p"), nats.Token("p"), nats.Name("none")},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := start(t, natsembed.Options{TemporaryDir: true, Listen: "127.0.0.1:0", Auth: tt.auth})
			echo(t, connect(t, s)) // of this process: nothing
			nc, err := nats.Connect(s.ClientURL(), tt.right)
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			echo(t, nc)
			for i, wrong := range tt.wrong {
				if _, err := nats.Connect(s.ClientURL(), wrong); !errors.Is(err, nats.ErrAuthorization) {
					t.Errorf("wrong %d: %v", i, err)
				}
			}
		})
	}
}

func TestNoAuthOnTheLoopback(t *testing.T) {
	s := start(t, natsembed.Options{TemporaryDir: true, Listen: "localhost:0"})
	nc, err := nats.Connect(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	echo(t, nc)
}

func TestTLSForClients(t *testing.T) {
	cert, pool := conntest.Certificate(t, "127.0.0.1")
	// Certificates of clients are as good as a password on a public address.
	s := start(t, natsembed.Options{TemporaryDir: true, Listen: "0.0.0.0:0", TLS: &tls.Config{
		Certificates: []tls.Certificate{cert}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
	}})
	echo(t, connect(t, s)) // of this process: no TLS
	url, err := url.Parse(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	address := "nats://127.0.0.1:" + url.Port()
	nc, err := nats.Connect(address, nats.Secure(&tls.Config{RootCAs: pool, Certificates: []tls.Certificate{cert}}))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	echo(t, nc)
	if _, err := nats.Connect(address, nats.Secure(&tls.Config{RootCAs: pool})); err == nil {
		t.Error("a client without a certificate came in")
	}
	if _, err := nats.Connect(address); err == nil {
		t.Error("a client without TLS came in")
	}
}

func TestTLSForNodes(t *testing.T) {
	t.Parallel()
	cert, pool := conntest.Certificate(t, "127.0.0.1")
	secured := func(c tls.Certificate, peers ...string) natsembed.Options {
		o := node(t, peers...)
		o.Cluster.NoWait = true
		o.Cluster.TLS = &tls.Config{
			Certificates: []tls.Certificate{c}, RootCAs: pool, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
		}
		return o
	}
	first := start(t, secured(cert))
	seed := first.ClusterAddr().String()
	second := start(t, secured(cert, seed))
	if err := errors.Join(first.WaitReady(within(t)), second.WaitReady(within(t))); err != nil {
		t.Fatal(err)
	}
	var l lines
	another, _ := conntest.Certificate(t, "127.0.0.1")
	o := secured(another, seed)
	o.Logger = l.logger(slog.LevelError)
	stranger := start(t, o)
	succeeds(t, func() error {
		if !strings.Contains(l.String(), "TLS") {
			return errors.New("nobody was refused")
		}
		return nil
	})
	if stranger.Ready() == nil {
		t.Error("a node with another certificate came in")
	}
	whole(t, first, 2)
}
