package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// certificate writes a certificate for localhost and its key into files.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("cert.pem", "CERTIFICATE", der), write("key.pem", "PRIVATE KEY", secret)
}

func TestServeWrongPlaces(t *testing.T) {
	cert, key := certificate(t)
	for _, c := range []struct {
		args, want string
	}{
		{"--listen 127.0.0.1:0 --port 1", "use one or the other"},
		{"--listen 127.0.0.1:0 --secure", "use one or the other"},
		{"--port 65536", "want a number from 0 to 65535"},
		{"--port -1", "want a number from 0 to 65535"},
		{"--port http", `--port "http": want a number`},
		{"--host http://127.0.0.1", "without scheme and port"},
		{"--host 127.0.0.1:80", "without scheme and port"},
		{"--host 256.0.0.1 --port 0", "listen on"},
		{"--port 0 --secure", "--secure needs --tls-cert and --tls-key"},
		{"--port 0 --secure --ssl-cert " + cert, "go together"},
		{"--port 0 --secure --ssl-key " + key, "go together"},
		{"--port 0 --secure --ssl-cert " + key + " --ssl-key " + cert, "--tls-cert and --tls-key:"},
		{"--port 0 --tls-cert " + cert + " --tls-key " + key, "no address is wss or tls"},
		{"--port 0 --reject-invalid-hostnames", "or --hostname"},
		{"--port 0 --hostname https://example.com", "neither a name nor an IP address"},
		{"--port 0 --cors example.com", "https://host"},
		{"--port 0 --path socket", "begins with a slash"},
		{"--port 0 --path /a?b", "begins with a slash"},
	} {
		_, _, err := run(t, "", append([]string{"serve"}, strings.Fields(c.args)...)...)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("polywire serve %s: %v, want %q", c.args, err, c.want)
		}
	}
}

// page speaks HTTP to a server, as a page of an origin does.
type page struct {
	t      *testing.T
	base   string
	origin string
	http   *http.Client
}

func newPage(t *testing.T, url, origin string) *page {
	t.Helper()
	b := &page{t, strings.Replace(url, "ws", "http", 1), origin, &http.Client{Transport: &http.Transport{}, Timeout: patience}}
	t.Cleanup(b.http.CloseIdleConnections)
	return b
}

func (b *page) do(method, path, body string) (code int, text string, h http.Header) {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), method, b.base+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	if b.origin != "" {
		r.Header.Set("Origin", b.origin)
	}
	resp, err := b.http.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	all, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return resp.StatusCode, string(all), resp.Header
}

// handshake asks for a session of Engine.IO.
func (b *page) handshake(path string) (code int, text string, h http.Header) {
	b.t.Helper()
	return b.do(http.MethodGet, path+"?EIO=4&transport=polling", "")
}

// session returns the path of the requests of a session that was opened.
func (b *page) session(path, text string) string {
	b.t.Helper()
	var open struct {
		SID      string
		Upgrades []string
	}
	if !strings.HasPrefix(text, "0") || json.Unmarshal([]byte(text[1:]), &open) != nil || open.SID == "" || len(open.Upgrades) != 1 {
		b.t.Fatalf("handshake: %s", text)
	}
	return path + "?EIO=4&transport=polling&sid=" + open.SID
}

// end closes a session.
func (b *page) end(session string) {
	b.t.Helper()
	if code, text, _ := b.do(http.MethodPost, session, "1"); code != http.StatusOK || text != "ok" {
		b.t.Errorf("close: %d %s", code, text)
	}
}

// say sends a packet and returns what the next poll brings.
func (b *page) say(session, packet string) string {
	b.t.Helper()
	if code, text, _ := b.do(http.MethodPost, session, packet); code != http.StatusOK || text != "ok" {
		b.t.Fatalf("%s: %d %s", packet, code, text)
	}
	code, text, _ := b.do(http.MethodGet, session, "")
	if code != http.StatusOK {
		b.t.Fatalf("after %s: %d %s", packet, code, text)
	}
	return text
}

func TestServeSocketIO(t *testing.T) {
	for _, c := range []struct{ flags, path string }{{"", "/socket.io/"}, {"--path /chat", "/chat/"}, {"--path /", "/socket.io/"}} {
		args := append([]string{"serve", "--port", "0", "--allow", "publish"}, strings.Fields(c.flags)...)
		url := last(start(t, 1, args...)[0])
		b := newPage(t, url, "")
		_, text, _ := b.handshake(c.path)
		session := b.session(c.path, text)
		if got := b.say(session, "40"); !strings.HasPrefix(got, `40{"sid":"`) {
			t.Errorf("%s: connect: %s", c.path, got)
		}
		for packet, want := range map[string]string{
			`420["echo",{"a":1}]`:                        `430[{"a":1}]`,
			`421["$subscribe","news"]`:                   `431[`,
			`422["$publish","nobody","headline","text"]`: `432[`,
			`423["$broadcast","headline"]`:               `433[{"error":{"code":"forbidden"`,
			`424["nothing"]`:                             `434[{"error":{"code":"not_found"`,
		} {
			if got := b.say(session, packet); !strings.HasPrefix(got, want) {
				t.Errorf("%s: %s: %s, want %s", c.path, packet, got, want)
			}
		}
		// What a client of another wire publishes reaches the room.
		if _, _, err := run(t, "", "pub", "news", "headline", `{"text":"hello"}`, "--url", url); err != nil {
			t.Fatal(err)
		}
		if _, text, _ := b.do(http.MethodGet, session, ""); text != `42["headline",{"text":"hello"}]` {
			t.Errorf("%s: in the room: %s", c.path, text)
		}
		b.end(session)
	}
}

// The other origins of --cors may poll, and browsers are told so.
func TestServeCORS(t *testing.T) {
	const path = "/socket.io/"
	url := last(start(t, 1, "serve", "--host", "127.0.0.1", "--port", "0", "--cors", "https://a.example,https://b.example")[0])
	for origin, want := range map[string]int{"https://a.example": http.StatusOK, "https://b.example": http.StatusOK, "https://c.example": http.StatusForbidden} {
		b := newPage(t, url, origin)
		code, text, h := b.handshake(path)
		if code != want {
			t.Errorf("%s: %d %s", origin, code, text)
		}
		if code == http.StatusOK {
			b.end(b.session(path, text))
		}
		if allowed := h.Get("Access-Control-Allow-Origin"); (allowed == origin) != (want == http.StatusOK) {
			t.Errorf("%s: allowed is %q", origin, allowed)
		}
	}
	all := last(start(t, 1, "serve", "--port", "0", "--enableCORS", "*")[0])
	b := newPage(t, all, "https://any.example")
	code, text, _ := b.handshake(path)
	if code != http.StatusOK {
		t.Fatalf("with *: %d %s", code, text)
	}
	b.end(b.session(path, text))
}

func TestServeSecure(t *testing.T) {
	cert, key := certificate(t)
	url := last(start(t, 1, "serve", "--port", "0", "--secure", "--ssl-cert", cert, "--ssl-key", key, "--rejectInvalidHostnames", "--hostname", "extra.example")[0])
	if !strings.HasPrefix(url, "wss://127.0.0.1:") {
		t.Fatalf("listening on %s", url)
	}
	address := strings.TrimPrefix(url, "wss://")
	for _, c := range []struct {
		sni, host string
		want      int
	}{
		{"localhost", "localhost", http.StatusOK},
		{"extra.example", "localhost", http.StatusOK},
		{"localhost", "other.example", http.StatusMisdirectedRequest},
	} {
		b := securePage(t, address, c.sni, c.host)
		code, text, _ := b.handshake("/socket.io/")
		if code != c.want {
			t.Errorf("server name %q, host %q: %d %s", c.sni, c.host, code, text)
		}
		if code == http.StatusOK {
			b.end(b.session("/socket.io/", text))
		}
	}
	for _, sni := range []string{"other.example", ""} {
		if resp, err := securePage(t, address, sni, "localhost").http.Get("https://localhost/"); err == nil {
			resp.Body.Close()
			t.Errorf("server name %q: %s", sni, resp.Status)
		}
	}
	plain := last(start(t, 1, "serve", "--port", "0", "--hostname", "only.example")[0])
	if code, _, _ := newPage(t, plain, "").handshake("/socket.io/"); code != http.StatusMisdirectedRequest {
		t.Errorf("without TLS: %d", code)
	}
}

// securePage is one that dials with a server name, and asks for a host.
func securePage(t *testing.T, address, sni, host string) *page {
	t.Helper()
	b := newPage(t, "wss://"+host, "")
	b.http.Transport.(*http.Transport).DialTLSContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		d := tls.Dialer{Config: &tls.Config{ServerName: sni, InsecureSkipVerify: true}} // names are looked at by the server here
		return d.DialContext(ctx, "tcp", address)
	}
	return b
}

// The tools speak Socket.IO, too, and publish to those of other wires.
func TestToolsSpeakSocketIO(t *testing.T) {
	ws := last(start(t, 1, "serve", "--port", "0", "--allow", "publish,broadcast")[0])
	address := strings.TrimPrefix(ws, "ws://")
	for _, scheme := range []string{"socketio+http://", "socketio+ws://"} {
		out, _, err := run(t, "", "call", "echo", `{"a": [1, 2]}`, "--url", scheme+address)
		if err != nil || out != `{"a": [1, 2]}`+"\n" {
			t.Errorf("call echo on %s: %q, %v", scheme, out, err)
		}
	}
	meetInRoom(t, ws, ws, "socketio+ws://"+address)
}
