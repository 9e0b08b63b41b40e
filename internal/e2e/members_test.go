package e2e_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"reflect"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/codec/protobuf"
	"github.com/polywire/polywire/internal/testenv"
	js "github.com/polywire/polywire/sdk/js"
	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/transport/websocket"
	"github.com/polywire/polywire/wire/native"
	"github.com/polywire/polywire/wire/socketio"
)

// kindText is a protobuf message that every program has linked in, so that it
// can be said in protobuf and in JSON.
const kindText = "google.protobuf.Struct"

// member is somebody in the hall, on some wire.
type member struct {
	name string
	// say sends JSON, which may have {"bytes": [...]} for bytes.
	say func(kind, payload string)
	// heard returns the next message, in the member's own form.
	heard func() string
}

// hall starts a server on which all that is said is told to the others.
func hall(t *testing.T) string {
	t.Helper()
	srv, err := polywire.New(
		polywire.WithWires(native.New(), socketio.New()),
		polywire.WithCodecs(protobuf.Codec{}),
		polywire.WithHooks(polywire.Hooks{
			Connect: func(c *polywire.Conn) { _ = c.Join("hall") }, // or it has gone
			Dropped: func(c *polywire.Conn, kind string, reason polywire.DropReason) {
				t.Errorf("a message %s to %s was dropped: %s", kind, c.Wire(), reason)
			},
			Error: func(_ *polywire.Conn, err error) { t.Error(err) },
		}),
	)
	if err != nil {
		t.Fatal(err)
	}
	srv.Handle("ready", func(ctx context.Context, m *polywire.Message) (any, error) {
		return nil, m.Conn().Send(ctx, "ready", nil) // its Connect hook has run: it is in the hall
	})
	srv.Handle("*", func(ctx context.Context, m *polywire.Message) (any, error) {
		return nil, m.Conn().Others("hall").Send(ctx, m.Kind(), m.Payload())
	})
	return serveFiles(t, srv)
}

// serveFiles serves until the end of the test, with the JavaScript client and
// the pages of these tests, and returns the address.
func serveFiles(t *testing.T, srv *polywire.Server) string {
	t.Helper()
	srv.HandleHTTP("GET /sdk/", http.StripPrefix("/sdk/", http.FileServerFS(js.Files())))
	srv.HandleHTTP("GET /browser/", http.FileServerFS(os.DirFS(".")))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l, "http") }()
	t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// socketIOMember is the official client, in Node.
func socketIOMember(ctx context.Context, t *testing.T, address string) member {
	t.Helper()
	cmd := exec.CommandContext(ctx, "node", "node/member.js", "http://"+address)
	cmd.Stderr = t.Output()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	t.Cleanup(func() {
		if err := in.Close(); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("node: %v", err)
		}
	})
	m := member{
		name: "Socket.IO",
		say: func(kind, payload string) {
			if _, err := fmt.Fprintf(in, "[%q,%s]\n", kind, payload); err != nil {
				t.Error(err)
			}
		},
		heard: func() string {
			if !lines.Scan() {
				t.Fatalf("node: no more events: %v", lines.Err())
			}
			return lines.Text()
		},
	}
	if first := m.heard(); first != `["connected"]` {
		t.Fatalf("node: %s", first)
	}
	return m
}

// protobufMember is a Go client of the binary native form.
func protobufMember(ctx context.Context, t *testing.T, address string) member {
	t.Helper()
	c, err := client.New("ws://"+address, client.WithWires(native.New(native.WithForm(native.Proto))),
		client.WithPeer(polywire.WithCodecs(protobuf.Codec{})))
	if err != nil {
		t.Fatal(err)
	}
	heard := make(chan string, 16)
	c.Handle(kindText, func(_ context.Context, m *polywire.Message) (any, error) {
		var s structpb.Struct
		if err := m.Bind(&s); err != nil {
			t.Error(err)
		}
		heard <- fmt.Sprintf("Struct %v: %v", s.GetFields()["from"].GetStringValue(), s.GetFields()["text"].GetStringValue())
		return nil, nil
	})
	c.Handle("ready", func(context.Context, *polywire.Message) (any, error) {
		heard <- "ready"
		return nil, nil
	})
	c.Handle("picture", func(_ context.Context, m *polywire.Message) (any, error) {
		heard <- fmt.Sprintf("%s %v", m.Payload().Type, m.Payload().Data)
		return nil, nil
	})
	if err := c.Connect(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return member{
		name: "protobuf",
		say: func(kind, payload string) {
			v := parsed(t, payload)
			if kind == kindText {
				s, err := structpb.NewStruct(v.(map[string]any))
				if err != nil {
					t.Fatal(err)
				}
				v = s
			} else {
				v = bytesOf(v)
			}
			if err := c.Send(ctx, kind, v); err != nil {
				t.Error(err)
			}
		},
		heard: func() string { return next(ctx, t, heard) },
	}
}

// browserMember is the client of sdk/js in Chromium.
func browserMember(t *testing.T, address string) member {
	t.Helper()
	ctx := browser(t)
	visit(ctx, t, "http://"+address+"/browser/member.html")
	return member{
		name:  "browser",
		say:   func(kind, payload string) { evaluate[any](ctx, t, "say(%q, %s) ?? null", kind, payload) },
		heard: func() string { return evaluate[string](ctx, t, "heard()") },
	}
}

// rawMember writes and reads the text form of the native wire by hand.
func rawMember(ctx context.Context, t *testing.T, address string) member {
	t.Helper()
	o := websocket.DialOptions{Subprotocols: []string{"polywire.v1.json"}}
	c, _, err := websocket.Dial(ctx, "ws://"+address+"/polywire", o) //nolint:bodyclose // it needs none
	if err != nil {
		t.Fatal(err)
	}
	heard := make(chan string, 16)
	var reading sync.WaitGroup
	reading.Go(func() {
		for {
			f, ok, err := c.Next()
			switch {
			case err != nil:
				return
			case ok && f.Type == transport.Text:
				heard <- string(f.Data)
			case !ok:
				if c.Wait() != nil {
					return
				}
			}
		}
	})
	t.Cleanup(func() {
		_ = c.Close() // there is no more to say
		reading.Wait()
	})
	return member{
		name: "raw",
		say: func(kind, payload string) {
			envelope := fmt.Sprintf(`{"type":"message","kind":%q,"payload":%s}`, kind, payload)
			if data, ok := bytesOf(parsed(t, payload)).([]byte); ok {
				encoded, _ := json.Marshal(data) // bytes have an encoding
				envelope = fmt.Sprintf(`{"type":"message","kind":%q,"data":%s}`, kind, encoded)
			}
			framer := c.Framer()
			frame, err := framer.End(append(framer.Begin(nil), envelope...), 0, transport.Text)
			if err == nil {
				err = c.Write(frame)
			}
			if err != nil {
				t.Error(err)
			}
		},
		heard: func() string { return next(ctx, t, heard) },
	}
}

func next(ctx context.Context, t *testing.T, heard <-chan string) string {
	t.Helper()
	select {
	case s := <-heard:
		return s
	case <-ctx.Done():
		t.Fatal("heard nothing")
		return ""
	}
}

func parsed(t *testing.T, text string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v
}

// bytesOf returns the bytes that {"bytes": [...]} stands for, other values as they are.
func bytesOf(v any) any {
	object, _ := v.(map[string]any)
	list, ok := object["bytes"].([]any)
	if !ok {
		return v
	}
	var data []byte
	for _, b := range list {
		data = append(data, byte(b.(float64)))
	}
	return data
}

// One room, four members: a message from each reaches the other three in their
// own form.
func TestOneRoomFourMembers(t *testing.T) {
	needNode(t)
	testenv.Need(t, "chromium")
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	t.Cleanup(cancel) // after the members have left
	address := hall(t)
	members := []member{
		socketIOMember(ctx, t, address), protobufMember(ctx, t, address), browserMember(t, address), rawMember(ctx, t, address),
	}
	for _, m := range members {
		m.say("ready", "null")
		m.heard()
	}
	for _, speaker := range members {
		text := fmt.Sprintf(`{"from":%q,"text":"hello 😀 <all>","n":[1,null,true]}`, speaker.name)
		speaker.say(kindText, text)
		speaker.say("picture", `{"bytes":[0,1,254,255]}`)
		want := map[string][2]string{
			"Socket.IO": {fmt.Sprintf("[%q,%s]", kindText, text), `["picture",{"bytes":[0,1,254,255]}]`},
			"protobuf":  {"Struct " + speaker.name + ": hello 😀 <all>", "application/octet-stream [0 1 254 255]"},
			"browser": {
				fmt.Sprintf(`{"kind":%q,"payload":%s}`, kindText, text), `{"kind":"picture","payload":{"bytes":[0,1,254,255]}}`,
			},
			"raw": {
				fmt.Sprintf(`{"type":"message","kind":%q,"payload":%s,"room":"hall"}`, kindText, text),
				`{"type":"message","kind":"picture","data":"AAH+/w==","room":"hall"}`,
			},
		}
		for _, listener := range members {
			if listener.name == speaker.name {
				continue
			}
			for i := range 2 {
				if got, want := listener.heard(), want[listener.name][i]; !sameJSON(got, want) {
					t.Errorf("%s said to %s:\n got %s\nwant %s", speaker.name, listener.name, got, want)
				}
			}
		}
	}
}

// sameJSON compares JSON as values, and other text as it is.
func sameJSON(a, b string) bool {
	var x, y any
	if json.Unmarshal([]byte(a), &x) != nil || json.Unmarshal([]byte(b), &y) != nil {
		return a == b
	}
	return reflect.DeepEqual(x, y)
}
