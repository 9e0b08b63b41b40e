package reply_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/reply"
	"github.com/polywire/polywire/wire/socketio"
)

// gosf serves the endpoints of GOSF's documents as GOSF would.
func gosf(t *testing.T) (address string) {
	t.Helper()
	srv, err := polywire.New(polywire.WithWires(socketio.New()), polywire.WithEndpointReplies())
	if err != nil {
		t.Fatal(err)
	}
	polywire.HandleFunc(srv, "echo", func(_ context.Context, in *reply.Message) (*reply.Message, error) {
		return reply.Success(in.Text), nil
	})
	srv.Handle("quiet", func(context.Context, *polywire.Message) (any, error) {
		var none *reply.Message
		return none, nil
	})
	l, scheme, err := srv.Listen("http://127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l, scheme) }()
	t.Cleanup(func() {
		if err := errors.Join(srv.Close(), <-served); err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// A client of GOSF's time gets the answer as an acknowledgement, if it asked
// for one, and as an event of the endpoint's name, byte for byte.
func TestEndpointReplies(t *testing.T) {
	b := &poller{t: t, url: "http://" + gosf(t) + "/socket.io/?EIO=3&transport=polling&b64=1", http: &http.Client{Transport: &http.Transport{}}}
	defer b.http.CloseIdleConnections()
	_, sid, ok := strings.Cut(b.request(http.MethodGet, ""), `"sid":"`)
	if !ok {
		t.Fatal("no session")
	}
	sid, _, _ = strings.Cut(sid, `"`)
	b.url += "&sid=" + sid
	const answer = `{"id":7,"guid":"g","uuid":"u","success":true,"text":"Hello"}`
	if got := b.packets(1); got[0] != "40" {
		t.Fatalf("connected by %q", got)
	}
	b.post(`420["echo",{"id":7,"guid":"g","uuid":"u","text":"Hello","body":{"age":32}}]`)
	if got := b.packets(2); got[0] != `430[`+answer+`]` || got[1] != `42["echo",`+answer+`]` {
		t.Errorf("with an acknowledgement: %q", got)
	}
	b.post(`421["quiet",{"id":8}]`)
	b.post(`42["echo",{"id":7,"guid":"g","uuid":"u","text":"Hello"}]`)
	if got := b.packets(1); got[0] != `42["echo",`+answer+`]` {
		t.Errorf("without: %q", got)
	}
	b.post("1")
}

// poller is a client that polls, of version 3.
type poller struct {
	t     *testing.T
	url   string
	http  *http.Client
	ahead string // of a poll's answer
}

func (b *poller) request(method, body string) string {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), method, b.url, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	resp, err := b.http.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		b.t.Fatalf("%s %s: %d %s, %v", method, body, resp.StatusCode, text, err)
	}
	return string(text)
}

func (b *poller) post(packet string) {
	b.t.Helper()
	if text := b.request(http.MethodPost, fmt.Sprintf("%d:%s", len(utf16.Encode([]rune(packet))), packet)); text != "ok" {
		b.t.Fatalf("%s: %s", packet, text)
	}
}

// packets polls until n packets have come.
func (b *poller) packets(n int) []string {
	b.t.Helper()
	var got []string
	for len(got) < n {
		if b.ahead == "" {
			b.ahead = b.request(http.MethodGet, "")
		}
		var size int
		head, rest, ok := strings.Cut(b.ahead, ":")
		if _, err := fmt.Sscan(head, &size); !ok || err != nil || size > len(rest) { // the texts here are ASCII
			b.t.Fatalf("poll: %q", b.ahead)
		}
		got, b.ahead = append(got, rest[:size]), rest[size:]
	}
	return got
}

// A service calls another as it would call GOSF's.
func TestMicroservice(t *testing.T) {
	c, err := client.Dial(t.Context(), "socketio+ws://"+gosf(t), client.WithWires(socketio.New(socketio.WithDialVersion(4))))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	heard := make(chan string, 1)
	polywire.HandleFunc(c, "echo", func(_ context.Context, m *reply.Message) (*reply.Message, error) {
		heard <- m.Text
		return nil, nil
	})
	var answer reply.Message
	if err := c.Call(t.Context(), "echo", &reply.Message{ID: 3, Text: "Echo this..."}, &answer); err != nil {
		t.Fatal(err)
	}
	if answer.ID != 3 || !answer.Success || answer.Text != "Echo this..." {
		t.Errorf("%+v", answer)
	}
	if got := <-heard; got != "Echo this..." {
		t.Errorf("heard %q", got)
	}
}
