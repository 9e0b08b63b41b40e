package websocket

import (
	"errors"
	"io"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/polywire/polywire/transport"
)

// FuzzNext: whatever comes, decoding ends, in the same way however it is cut,
// delivers no more than came, and takes memory for what came only.
func FuzzNext(f *testing.F) {
	for _, r := range slices.Concat(frameRules(), fragmentRules(), deflateRules(f)) {
		if all := encode(r.parts, true); len(all) < 500 {
			f.Add(all, true, true, uint16(len(all)/2))
			f.Add(encode(r.parts, false), false, false, uint16(1))
		}
	}
	f.Fuzz(func(t *testing.T, all []byte, server, compressed bool, at uint16) {
		const most = 4096
		s := settings{server: server, maxBytes: most}
		if compressed {
			s.compression = new(Compression)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		got := receive(s, all)
		runtime.ReadMemStats(&after)
		allocated := int(after.TotalAlloc - before.TotalAlloc)
		if bound := 256<<10 + 200*len(all); !compressed && allocated > bound { // a Frame that receive keeps has 32 bytes
			t.Fatalf("%d bytes allocated for %d", allocated, len(all))
		}
		total := 0
		for _, f := range got.frames {
			if len(f.Data) > most {
				t.Fatalf("a %v of %d bytes", f.Type, len(f.Data))
			}
			total += len(f.Data)
		}
		if !compressed && total > len(all) {
			t.Fatalf("%d bytes delivered of %d", total, len(all))
		}
		var ce *transport.CloseError
		if errors.As(got.err, &ce) == errors.Is(got.err, io.EOF) {
			t.Fatalf("ended with %v", got.err)
		}
		split := min(int(at), len(all))
		if cut := receive(s, all[:split], all[split:]); !cut.same(got) {
			t.Fatalf("cut at %d:\n%v\nwhole:\n%v", split, cut, got)
		}
		if len(all) <= 2000 {
			if single := receive(s, slices.Collect(slices.Chunk(all, 1))...); !single.same(got) {
				t.Fatalf("byte by byte:\n%v\nwhole:\n%v", single, got)
			}
		}
	})
}

// FuzzHandshake: no header breaks a negotiation, and what the server answers
// is something that a client takes.
func FuzzHandshake(f *testing.F) {
	f.Add("permessage-deflate; client_max_window_bits", "chat", "dGhlIHNhbXBsZSBub25jZQ==", "http://host")
	f.Add(`x; a="b\c", permessage-deflate; server_max_window_bits=15`, "a, b", "", "")
	f.Add(`permessage-deflate; server_max_window_bits="15"; x`, ",,", "=", "null")
	f.Add("permessage-deflate; server_no_context_takeover; client_no_context_takeover, , a;b;c=d", "", "dGhlIHNhbXBsZSBub25jZQ==", ":")
	f.Fuzz(func(t *testing.T, extensions, subprotocols, key, origin string) {
		h := http.Header{
			"Connection": {"upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {key},
			"Sec-Websocket-Extensions": {extensions}, "Sec-Websocket-Protocol": {subprotocols}, "Origin": {origin},
		}
		r := &http.Request{Method: http.MethodGet, ProtoMajor: 1, ProtoMinor: 1, Header: h, Host: "host"}
		answer, s, refused := negotiate(r, AcceptOptions{Subprotocols: []string{"chat", "b"}, Compression: new(Compression)})
		if refused != nil {
			if refused.StatusCode < 400 || refused.Reason == "" {
				t.Fatalf("%+v", refused)
			}
			return
		}
		lines := strings.Split(strings.TrimSuffix(answer.String(), "\r\n"), "\r\n")
		got := http.Header{}
		for _, line := range lines[1:] {
			name, value, ok := strings.Cut(line, ": ")
			if !ok || len(got.Values(name)) > 0 {
				t.Fatalf("answer %q", answer)
			}
			got.Set(name, value)
		}
		chosen, err := parseExtensions(got)
		if err != nil {
			t.Fatal(err)
		}
		if (len(chosen) > 0) != (s.compression != nil) {
			t.Fatalf("answer %q, compression %v", answer, s.compression)
		}
		if err := checkAnswer(chosen, true); err != nil {
			t.Fatalf("%v: %q", err, got)
		}
		if s.subprotocol != got.Get("Sec-WebSocket-Protocol") || s.subprotocol != "" && !strings.Contains(subprotocols, s.subprotocol) {
			t.Fatalf("subprotocol %q of %q", s.subprotocol, subprotocols)
		}
	})
}

// loop is a connection on which the same bytes come for ever.
type loop struct {
	feed
	data []byte
}

func (l *loop) Read(p []byte) (int, error) { return copy(p, l.data), nil }

func BenchmarkNext(b *testing.B) {
	payload := strings.Repeat("p", 100)
	long := strings.Repeat("compress me, ", 77)
	rows := map[string]struct {
		settings
		parts []part
	}{
		"server/16x100":      {settings{server: true}, slices.Repeat([]part{{first: 0x82, payload: payload}}, 16)},
		"server/16x100/text": {settings{server: true}, slices.Repeat([]part{{first: 0x81, payload: payload}}, 16)},
		"client/16x100":      {settings{}, slices.Repeat([]part{{first: 0x82, payload: payload}}, 16)},
		"server/1x3000":      {settings{server: true}, []part{{first: 0x82, payload: strings.Repeat(payload, 30)}}},
		"deflate/1x1000":     {settings{server: true, compression: new(Compression)}, []part{{first: 0xc1, payload: deflated(b, long)}}},
	}
	for name, row := range rows {
		b.Run(name, func(b *testing.B) {
			all := encode(row.parts, row.server)
			c := newConn(&loop{data: all}, nil, row.settings)
			b.ReportAllocs()
			b.SetBytes(int64(len(all)))
			for b.Loop() {
				if err := c.Wait(); err != nil {
					b.Fatal(err)
				}
				n := 0
				for {
					_, ok, err := c.Next()
					if err != nil {
						b.Fatal(err)
					}
					if !ok {
						break
					}
					n++
				}
				if n != len(row.parts) {
					b.Fatal(n)
				}
			}
		})
	}
}
