package natsembed_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

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

// certificate makes one that is its own authority and fits a server and a client.
func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
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

func TestTLSForClients(t *testing.T) {
	cert, pool := certificate(t)
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
	cert, pool := certificate(t)
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
	another, _ := certificate(t)
	o := secured(another, seed)
	o.Logger = l.logger(slog.LevelError)
	stranger := start(t, o)
	eventually(t, func() error {
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
