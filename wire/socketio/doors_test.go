package socketio_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/transport/engineio"
	"github.com/polywire/polywire/wire"
	"github.com/polywire/polywire/wire/socketio"
	"github.com/polywire/polywire/wire/wiretest"
)

// served is a server that has the wire's door only.
type served struct {
	host *wiretest.Host
	door wire.Door
	url  string // without the scheme
}

func serve(t *testing.T, o ...socketio.Option) *served {
	t.Helper()
	s := &served{host: wiretest.NewHost("k")}
	s.door = socketio.New(o...).Doors()[0]
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.door.HTTP(s.host, w, r) }))
	t.Cleanup(srv.Close)
	s.url = strings.TrimPrefix(srv.URL, "http")
	return s
}

// dial opens a link and returns both of its ends.
func (s *served) dial(t *testing.T, rawURL string, o ...socketio.Option) (client, server wire.Link) {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	header := http.Header{"X-Test": {"yes"}}
	client, err = socketio.New(o...).Dial(t.Context(), wiretest.NewHost("k"), u, wire.DialOptions{Header: header})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Transport.Close() })
	server, err = s.host.Link(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Transport.Close() })
	return client, server
}

// send says a packet on a link.
func send(t *testing.T, l wire.Link, p wire.Packet) {
	t.Helper()
	w := transport.NewWriter(l.Transport.Framer(), nil)
	if err := l.Session.Encode(&w, &p); err != nil {
		t.Fatal(err)
	}
	if err := l.Transport.Write(w.Bytes()); err != nil {
		t.Fatal(err)
	}
}

// receive waits for the next packet of a link.
func receive(t *testing.T, l wire.Link) wire.Packet {
	t.Helper()
	p, err := read(l)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func read(l wire.Link) (p wire.Packet, err error) {
	for {
		f, ok, err := l.Transport.Next()
		switch {
		case err != nil:
			return p, err
		case !ok:
			if err := l.Transport.Wait(); err != nil {
				return p, err
			}
		case !f.Type.Control():
			p = wire.Packet{}
			if ok, err := l.Session.Decode(f, &p); ok || err != nil {
				return p, err
			}
		}
	}
}

func expect(t *testing.T, l wire.Link, want wire.Packet) {
	t.Helper()
	if diff := wiretest.Diff(receive(t, l), want); diff != "" {
		t.Error(diff)
	}
}

// Links of both versions, over all transports, in both directions.
func TestDoorAndDial(t *testing.T) {
	for _, version := range []int{5, 4} {
		for _, parser := range []socketio.Parser{socketio.JSON, socketio.Msgpack} {
			for _, transports := range []socketio.Transports{socketio.PollingFirst, socketio.WebSocketOnly, socketio.PollingOnly} {
				f := flavour{version, parser, "/admin"}
				t.Run(f.String()+"/"+[]string{"", "polling first", "websocket", "polling"}[transports], func(t *testing.T) {
					o := []socketio.Option{
						socketio.WithParser(parser), socketio.WithTransports(transports), socketio.WithDialVersion(version), socketio.WithPath("rt"),
					}
					s := serve(t, o...)
					client, server := s.dial(t, "socketio+http"+s.url+"/admin?room=1", o...)
					converse(t, client, server, f)
				})
			}
		}
	}
}

func converse(t *testing.T, client, server wire.Link, f flavour) {
	t.Helper()
	if q := server.Request.URL.Query(); q.Get("room") != "1" || server.Request.Header.Get("X-Test") != "yes" {
		t.Errorf("query %v, header %v", q, server.Request.Header)
	}
	if !server.Namespaces || !server.Arguments || !client.Greets || !client.Namespaces || !client.Arguments ||
		client.Hello == nil || client.Hello.Namespace != "/admin" {
		t.Errorf("server %+v, client %+v", server, client)
	}
	key := "connection"
	if f.version == 4 {
		id := server.Transport.(*engineio.Conn).ID()
		key = "/admin#" + id
		if diff := wiretest.Diff(*server.Hello, wire.Packet{Type: wire.Hello, Namespace: "/", Key: id}); diff != "" {
			t.Error(diff)
		}
		send(t, server, wire.Packet{Type: wire.Welcome, Namespace: "/", Key: id}) // which the client drops
	} else if server.Hello != nil {
		t.Errorf("%+v without a hello", server.Hello)
	}
	send(t, client, *client.Hello)
	want := wire.Packet{Type: wire.Hello, Namespace: "/admin"}
	if f.version == 4 {
		want.Key = key
	}
	expect(t, server, want)
	send(t, server, wire.Packet{Type: wire.Welcome, Namespace: "/admin", Key: key})
	expect(t, client, wire.Packet{Type: wire.Welcome, Namespace: "/admin", Key: key})

	call := wire.Packet{Type: wire.Call, Namespace: "/admin", ID: 1, Kind: "k", Payload: raw("\x00\x1e\xff"), Args: append(client.Hello.Args, f.nothing(), raw(""))}
	send(t, client, call)
	expect(t, server, call)
	// As a server does, it goes on reading while it answers: what was posted is taken
	// then, without which a client does not go over to its WebSocket.
	type came struct {
		p   wire.Packet
		err error
	}
	last := make(chan came, 1)
	go func() {
		p, err := read(server)
		last <- came{p, err}
	}()
	answer := wire.Packet{Type: wire.Reply, Namespace: "/admin", ID: 1, Payload: raw("\x01"), Args: append(client.Hello.Args, f.nothing())}
	send(t, server, answer)
	expect(t, client, answer)
	failed := wire.Packet{Type: wire.Error, Namespace: "/admin", ID: 2, Err: &wire.ErrorBody{Code: "not_found", Message: "é"}}
	send(t, server, failed)
	expect(t, client, failed)
	send(t, client, wire.Packet{Type: wire.Goodbye, Namespace: "/admin"})
	got := <-last
	if diff := wiretest.Diff(got.p, wire.Packet{Type: wire.Goodbye, Namespace: "/admin"}); diff != "" || got.err != nil {
		t.Error(diff, got.err)
	}
}

func TestWebSocketSchemes(t *testing.T) {
	s := serve(t, socketio.WithEngine(engineio.Options{NoPolling: true}))
	client, server := s.dial(t, "socketio+ws"+s.url, socketio.WithTransports(socketio.PollingOnly))
	if client.Hello.Namespace != "/" {
		t.Errorf("namespace %q", client.Hello.Namespace)
	}
	send(t, client, wire.Packet{Type: wire.Hello})
	expect(t, server, wire.Packet{Type: wire.Hello, Namespace: "/"})
	if got := server.Transport.(*engineio.Conn).Transport(); got != "websocket" {
		t.Errorf("transport %q", got)
	}
}

// A link whose attachments stay away is closed, in real time: the door has
// given the session the link to close.
func TestLinkClosedWithoutAttachments(t *testing.T) {
	s := serve(t, socketio.WithAttachmentTimeout(time.Millisecond))
	client, server := s.dial(t, "socketio+ws"+s.url)
	w := transport.NewWriter(client.Transport.Framer(), nil)
	if err := w.Frame(transport.Text, []byte(`51-["k"]`)); err != nil {
		t.Fatal(err)
	}
	if err := client.Transport.Write(w.Bytes()); err != nil {
		t.Fatal(err)
	}
	for {
		f, ok, err := server.Transport.Next()
		if err == nil && !ok {
			err = server.Transport.Wait()
		}
		if err != nil {
			return
		}
		if ok {
			var p wire.Packet
			if ok, err := server.Session.Decode(f, &p); ok || err != nil {
				t.Fatal(ok, err)
			}
		}
	}
}

func TestDialErrors(t *testing.T) {
	s := serve(t, socketio.WithoutV3())
	for _, row := range []struct {
		url     string
		options []socketio.Option
	}{
		{"http" + s.url, nil},
		{"socketio+http" + s.url + "/a,b", nil},
		{"socketio+http" + s.url + "/%ff", nil},
		{"socketio+http" + s.url + "/" + strings.Repeat("a", 512), nil},
		{"socketio+http" + s.url, []socketio.Option{socketio.WithDialVersion(3)}},
		{"socketio+http" + s.url, []socketio.Option{socketio.WithDialVersion(4)}},
		{"socketio+ws" + s.url, []socketio.Option{socketio.WithDialVersion(4)}},
	} {
		u, err := url.Parse(row.url)
		if err != nil {
			t.Fatal(err)
		}
		if l, err := socketio.New(row.options...).Dial(t.Context(), wiretest.NewHost(), u, wire.DialOptions{}); err == nil {
			_ = l.Transport.Close()
			t.Errorf("%s was dialled", row.url)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	u, err := url.Parse("socketio+http" + s.url)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := socketio.New().Dial(ctx, wiretest.NewHost(), u, wire.DialOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// Requests of a session are told from those that open one as Engine.IO tells
// them, or limits on connections could be passed by.
func TestContinues(t *testing.T) {
	s := serve(t)
	request := func(query string) *http.Request {
		return httptest.NewRequest(http.MethodGet, socketio.DefaultPath+"?"+query, nil)
	}
	if s.door.Continues(request("sid=abc")) {
		t.Error("a session before the first request")
	}
	_, server := s.dial(t, "socketio+http"+s.url)
	sid := "sid=" + server.Transport.(*engineio.Conn).ID()
	for query, want := range map[string]bool{
		"": false, "EIO=4&transport=polling": false, "EIO=4&sid=": false, sid + "&sid=": false, sid + "&EIO=4": true, "sid=&" + sid: true,
	} {
		if got := s.door.Continues(request(query)); got != want {
			t.Errorf("%s: %v", query, got)
		}
	}
}

func TestPaths(t *testing.T) {
	for path, want := range map[string]string{"": "/", "/": "/", "rt": "/rt/", "/rt": "/rt/", "/a/b/": "/a/b/"} {
		if got := socketio.New(socketio.WithPath(path)).Doors()[0].Path; got != want {
			t.Errorf("%q: %q", path, got)
		}
	}
	if got := socketio.New().Doors()[0].Path; got != socketio.DefaultPath {
		t.Errorf("%q", got)
	}
}

func TestCheck(t *testing.T) {
	for name, o := range map[string]socketio.Option{
		"parser":     socketio.WithParser(7),
		"transport":  socketio.WithEngine(engineio.Options{NoPolling: true, NoWebSocket: true}),
		"cookie":     socketio.WithEngine(engineio.Options{Cookie: &http.Cookie{Name: "a b"}}),
		"transports": socketio.WithTransports(9),
		"version":    socketio.WithDialVersion(3),
	} {
		if socketio.New(o).Check() == nil {
			t.Errorf("%s: fine", name)
		}
	}
	p := socketio.New(socketio.WithEngine(engineio.Options{Cookie: engineio.SessionCookie()}))
	if err := p.Check(); err != nil {
		t.Error(err)
	}
	// A server that does not ask tells its clients.
	s := serve(t, socketio.WithEngine(engineio.Options{NoPolling: true, NoWebSocket: true}))
	resp, err := http.Get("http" + s.url + "/socket.io/?EIO=4&transport=polling")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusInternalServerError {
		t.Error(resp.Status)
	}
}
