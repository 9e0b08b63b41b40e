package websocket

import (
	"bytes"
	"strings"
	"testing"

	"github.com/polywire/polywire/transport"
)

func TestServerFramerBytes(t *testing.T) {
	rows := []struct {
		name    string
		typ     transport.FrameType
		payload string
		want    string // the header; empty: refused
	}{
		{"5.7 text", transport.Text, "Hello", "\x81\x05"},
		{"5.7 ping", transport.Ping, "Hello", "\x89\x05"},
		{"empty close", transport.Close, "", "\x88\x00"},
		{"longest of one byte", transport.Binary, strings.Repeat("b", 125), "\x82\x7d"},
		{"shortest of 16 bits", transport.Binary, strings.Repeat("b", 126), "\x82\x7e\x00\x7e"},
		{"5.7 256 bytes", transport.Binary, strings.Repeat("b", 256), "\x82\x7e\x01\x00"},
		{"longest of 16 bits", transport.Binary, strings.Repeat("b", 65535), "\x82\x7e\xff\xff"},
		{"5.7 64 KiB", transport.Binary, strings.Repeat("b", 65536), "\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00"},
		{"longest pong", transport.Pong, strings.Repeat("b", 125), "\x8a\x7d"},
		{"5.5 ping too long", transport.Ping, strings.Repeat("b", 126), ""},
		{"5.5 close too long", transport.Close, strings.Repeat("b", 126), ""},
		{"5.2 no type", 0, "a", ""},
		{"5.2 unknown type", 3, "a", ""},
		{"5.2 type with flags", 0x81, "a", ""},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			w := transport.NewWriter(serverFramer{}, []byte("before"))
			err := w.Frame(row.typ, []byte(row.payload))
			want := "before" + row.want
			if row.want != "" {
				want += row.payload
			}
			if (err != nil) != (row.want == "") || string(w.Bytes()) != want {
				t.Fatalf("%.40q, %v", w.Bytes(), err)
			}
		})
	}
}

// RFC 6455 section 5.3: a mask for each frame, which nobody can foretell.
func TestClientFramerMasks(t *testing.T) {
	keys := map[string]bool{}
	for _, n := range []int{0, 1, 125, 126, 65535, 65536} {
		payload := strings.Repeat("p", n)
		for range 50 {
			w := transport.NewWriter(clientFramer{}, nil)
			if err := w.Frame(transport.Binary, []byte(payload)); err != nil {
				t.Fatal(err)
			}
			head := w.Bytes()[:len(w.Bytes())-n]
			if head[1]&bitMask == 0 {
				t.Fatal("not masked")
			}
			keys[string(head[len(head)-4:])] = true
			got := receive(settings{server: true}, w.Bytes())
			if len(got.frames) != 1 || string(got.frames[0].Data) != payload {
				t.Fatalf("%d bytes: %v", n, got)
			}
		}
	}
	if len(keys) < 299 { // of 300; two equal ones are one in 100,000 runs
		t.Fatalf("%d masks", len(keys))
	}
	if f := (clientFramer{}).Format(); f != "" {
		t.Fatalf("masked frames are shared as %q", f)
	}
}

func BenchmarkFramer(b *testing.B) {
	for name, f := range map[string]transport.Framer{"server": serverFramer{}, "client": clientFramer{}} {
		for size, n := range map[string]int{"100": 100, "1000": 1000} {
			b.Run(name+"/"+size, func(b *testing.B) {
				payload := bytes.Repeat([]byte("p"), n)
				buf := make([]byte, 0, 2000)
				b.ReportAllocs()
				b.SetBytes(int64(n))
				for b.Loop() {
					w := transport.NewWriter(f, buf[:0])
					if err := w.Frame(transport.Text, payload); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
	b.Run("deflate/1000", func(b *testing.B) {
		payload := []byte(strings.Repeat("compress me, ", 77))
		buf := make([]byte, 0, 2000)
		f := deflateFramer{new(Compression)}
		b.ReportAllocs()
		b.SetBytes(int64(len(payload)))
		for b.Loop() {
			w := transport.NewWriter(f, buf[:0])
			if err := w.Frame(transport.Text, payload); err != nil {
				b.Fatal(err)
			}
		}
	})
}
