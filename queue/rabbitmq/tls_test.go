package rabbitmq

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/polywire/polywire/internal/conntest"
	"github.com/polywire/polywire/internal/rabbittest"
	"github.com/polywire/polywire/queue"
)

// listenTLS has the broker listen for TLS with a certificate as well, until the
// test's end, and returns the port.
func listenTLS(t testing.TB, broker *rabbittest.Broker, cert *tls.Certificate) int {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, block := range map[string]*pem.Block{
		"cert.pem": {Type: "CERTIFICATE", Bytes: cert.Certificate[0]},
		"key.pem":  {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// The port is the broker's choice: one that is chosen here may be taken meanwhile.
	port := broker.Eval(t, fmt.Sprintf(`begin {ok, _} = application:ensure_all_started(ssl), ok = rabbit_networking:start_ssl_listener({"127.0.0.1", 0}, [{certfile, %q}, {keyfile, %q}], 1), ranch:get_port({acceptor, {127, 0, 0, 1}, 0}) end`,
		filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")))
	t.Cleanup(func() { broker.Eval(t, `rabbit_networking:stop_tcp_listener({"127.0.0.1", 0})`) })
	n, err := strconv.Atoi(strings.TrimSpace(port))
	if err != nil {
		t.Fatalf("the port is %q", port)
	}
	return n
}

// TestTLS talks to a broker that has a certificate, and not to one whose
// certificate is not trusted or is somebody else's.
func TestTLS(t *testing.T) {
	working(t)
	broker := shared.Broker(t)
	cert, roots := conntest.Certificate(t, "localhost")
	port := listenTLS(t, broker, &cert)
	with := func(host string, config *tls.Config) Options {
		o := options("amqps://guest:guest@" + net.JoinHostPort(host, strconv.Itoa(port)) + "/")
		o.TLS = config
		return o
	}
	d, l, q := open(t, with("localhost", &tls.Config{RootCAs: roots})), newLedger(), fresh("tls")
	b := handling(t, d, q, l, queue.HandleOptions{})
	l.send(t, b, q, "secret-", 100)
	l.settled(t)

	for what, o := range map[string]Options{
		"not trusted":     with("localhost", nil),
		"somebody else's": with("127.0.0.1", &tls.Config{RootCAs: roots}),
	} {
		other, err := New(deadline(t), o)
		if err == nil {
			_ = other.Shutdown(context.Background())
		}
		if !errors.Is(err, queue.ErrUnavailable) || !strings.Contains(err.Error(), "x509: ") {
			t.Errorf("a certificate that is %s: %v", what, err)
		}
	}
}
