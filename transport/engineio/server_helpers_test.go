package engineio

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/transport/transporttest"
	"github.com/polywire/polywire/transport/websocket"
)

// rig is a server in memory, and a client that speaks HTTP to it by hand.
type rig struct {
	testing.TB
	s    *Server
	l    *transporttest.Listener
	ends chan error // of those that are served
	http *http.Transport
}

// inRig runs f in a bubble of virtual time. Sessions echo what they are sent,
// unless o.Accept is set.
func inRig(t *testing.T, o Options, f func(r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{TB: t, l: transporttest.NewListener(), ends: make(chan error, 100)}
		if o.Accept == nil {
			o.Accept = func(c *Conn, _ *http.Request) error {
				go func() { r.ends <- echo(c) }()
				return nil
			}
		}
		var err error
		if r.s, err = NewServer(o); err != nil {
			t.Fatal(err)
		}
		h := &http.Server{Handler: r.s, ErrorLog: log.New(io.Discard, "", 0)}
		go h.Serve(r.l) // until it is closed below
		r.http = &http.Transport{DialContext: r.l.NetDial, DisableCompression: true}
		defer func() {
			for _, c := range r.sessions() {
				c.Close()
			}
			synctest.Wait()
			r.http.CloseIdleConnections()
			h.Close()
			time.Sleep(time.Second) // virtual: net/http lingers with those it has cut off
		}()
		f(r)
	})
}

// unserved makes sessions that the test reads itself.
func unserved(conns chan *Conn) func(*Conn, *http.Request) error {
	return func(c *Conn, _ *http.Request) error {
		conns <- c
		return nil
	}
}

func (r *rig) sessions() (all []*Conn) {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	for _, c := range r.s.sessions {
		all = append(all, c)
	}
	return all
}

// echo is how the core treats a connection: it answers a batch with one write,
// and waits then. Text that begins with "close" closes.
func echo(c *Conn) error {
	defer c.Close()
	for {
		w := transport.NewWriter(c.Framer(), nil)
		var err error
		for err == nil {
			var f transport.Frame
			var ok bool
			if f, ok, err = c.Next(); !ok {
				break
			}
			switch {
			case f.Type == transport.Ping:
				err = w.Frame(transport.Pong, f.Data)
			case f.Type == transport.Pong:
			case bytes.HasPrefix(f.Data, []byte("close")):
				err = w.Frame(transport.Close, nil)
			default:
				err = w.Frame(f.Type, f.Data)
			}
		}
		if len(w.Bytes()) > 0 {
			if err := c.Write(w.Bytes()); err != nil {
				return err
			}
		}
		if err == nil {
			err = c.Wait()
		}
		if err != nil {
			return err
		}
	}
}

// response is an answer of the server.
type response struct {
	status int
	header http.Header
	body   string
}

// do sends a request; query is what stands behind the path, header pairs of
// names and values.
func (r *rig) do(method, query, body string, header ...string) response {
	r.Helper()
	got, err := r.try(context.Background(), method, query, strings.NewReader(body), header...)
	if err != nil {
		r.Fatalf("%s %s: %v", method, query, err)
	}
	return got
}

func (r *rig) try(ctx context.Context, method, query string, body io.Reader, header ...string) (response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://server.test/engine.io/?"+query, body)
	if err != nil {
		return response{}, err
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	resp, err := r.http.RoundTrip(req)
	if err != nil {
		return response{}, err
	}
	defer resp.Body.Close()
	all, err := io.ReadAll(resp.Body)
	return response{resp.StatusCode, resp.Header, string(all)}, err
}

func (r *rig) get(query string) response { r.Helper(); return r.do(http.MethodGet, query, "") }

func (r *rig) post(query, body string) response {
	r.Helper()
	return r.do(http.MethodPost, query, body)
}

// later sends a request and returns what waits for its answer.
func (r *rig) later(method, query, body string) (wait func() response) {
	done := make(chan response, 1)
	go func() {
		got, err := r.try(context.Background(), method, query, strings.NewReader(body))
		if err != nil {
			got.body = err.Error()
		}
		done <- got
	}()
	synctest.Wait()
	return func() response { return <-done }
}

// is checks an answer's status and body.
func (r *rig) is(got response, status int, body string) {
	r.Helper()
	if got.status != status || got.body != body {
		r.Fatalf("answer %d %q, want %d %q", got.status, got.body, status, body)
	}
}

// refusedAs checks an answer for one of the protocol's errors.
func (r *rig) refusedAs(got response, code int) {
	r.Helper()
	var said struct{ Code *int }
	if json.Unmarshal([]byte(got.body), &said) != nil || said.Code == nil || *said.Code != code || got.status/100 != 4 {
		r.Fatalf("answer %d %q, want code %d", got.status, got.body, code)
	}
}

// open opens a session and returns its query.
func (r *rig) open(query string) (session string) {
	r.Helper()
	got := r.get(query)
	_, data, ok := strings.Cut(got.body, "0{")
	var open openPacket
	if !ok || got.status != 200 || json.Unmarshal([]byte("{"+data), &open) != nil {
		r.Fatalf("handshake: %d %q", got.status, got.body)
	}
	return query + "&sid=" + open.SID
}

const (
	poll4 = "EIO=4&transport=polling"
	poll3 = "EIO=3&transport=polling"
	sock4 = "EIO=4&transport=websocket"
	sock3 = "EIO=3&transport=websocket"
)

// sidOf returns the end of a session's query.
func sidOf(session string) string {
	_, sid, _ := strings.Cut(session, "&sid=")
	return "&sid=" + sid
}

// ended checks the reason that a session's reader is told.
func (r *rig) ended(reason string, local bool) {
	r.Helper()
	synctest.Wait()
	select {
	case err := <-r.ends:
		var closed *transport.CloseError
		if !errors.As(err, &closed) || closed.Reason != reason || closed.Local != local {
			r.Fatalf("the session ended with %v, want %s (local: %v)", err, reason, local)
		}
	default:
		r.Fatal("the session lives")
	}
}

// alive checks that no session has ended.
func (r *rig) alive() {
	r.Helper()
	synctest.Wait()
	select {
	case err := <-r.ends:
		r.Fatalf("the session ended: %v", err)
	default:
	}
}

// web is a client's WebSocket.
type web struct {
	*rig
	ws *websocket.Conn
}

func (r *rig) dial(query string, o websocket.DialOptions) (*web, error) {
	o.NetDial = r.l.NetDial
	ws, _, err := websocket.Dial(context.Background(), "ws://server.test/engine.io/?"+query, o) //nolint:bodyclose // see Dial
	if err != nil {
		return nil, err
	}
	r.Cleanup(func() { ws.Close() })
	return &web{r, ws}, nil
}

func (r *rig) socket(query string) *web {
	r.Helper()
	w, err := r.dial(query, websocket.DialOptions{})
	if err != nil {
		r.Fatal(err)
	}
	return w
}

func (w *web) send(t transport.FrameType, payload string) {
	w.Helper()
	out := transport.NewWriter(w.ws.Framer(), nil)
	if err := out.Frame(t, []byte(payload)); err != nil {
		w.Fatal(err)
	}
	if err := w.ws.Write(out.Bytes()); err != nil {
		w.Fatal(err)
	}
}

func (w *web) say(packets ...string) {
	w.Helper()
	for _, p := range packets {
		w.send(transport.Text, p)
	}
}

// receive returns the next frame or the end, in words.
func (w *web) receive() string {
	for {
		f, ok, err := w.ws.Next()
		switch {
		case err != nil:
			return err.Error()
		case ok && f.Type == transport.Text:
			return string(f.Data)
		case ok:
			return f.Type.String() + " " + string(f.Data)
		}
		if err := w.ws.Wait(); err != nil {
			return err.Error()
		}
	}
}

func (w *web) hears(packets ...string) {
	w.Helper()
	for _, p := range packets {
		if got := w.receive(); got != p {
			w.Fatalf("received %q, want %q", got, p)
		}
	}
}

// opened takes the open packet and returns the session's id.
func (w *web) opened() string {
	w.Helper()
	got := w.receive()
	var open openPacket
	if !strings.HasPrefix(got, "0") || json.Unmarshal([]byte(got[1:]), &open) != nil {
		w.Fatalf("received %q, want an open packet", got)
	}
	return open.SID
}

const (
	bareClose = "transport: peer closed (1005)"
	eof       = "EOF"
)

func gunzip(t *testing.T, s string) string {
	t.Helper()
	z, err := gzip.NewReader(strings.NewReader(s))
	if err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return string(all)
}
