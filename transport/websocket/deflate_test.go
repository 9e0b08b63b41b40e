package websocket

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/polywire/polywire/transport"
)

func deflateRules(t testing.TB) []rule {
	hello := "\xf2\x48\xcd\xc9\xc9\x07\x00"
	exact := strings.Repeat("z", limit)
	return []rule{
		{name: "RFC 7692 7.2.3.1 one block", parts: []part{{first: 0xc1, payload: hello}}, want: []transport.Frame{text("Hello")}},
		{name: "RFC 7692 7.2.3.1 two fragments", parts: []part{{first: 0x41, payload: hello[:3]}, {first: 0x80, payload: hello[3:]}}, want: []transport.Frame{text("Hello")}},
		{name: "RFC 7692 7.2.3.3 block without compression", parts: []part{{first: 0xc1, payload: "\x00\x05\x00\xfa\xffHello\x00"}}, want: []transport.Frame{text("Hello")}},
		{name: "RFC 7692 7.2.3.4 block with BFINAL", parts: []part{{first: 0xc1, payload: "\xf3\x48\xcd\xc9\xc9\x07\x00\x00"}}, want: []transport.Frame{text("Hello")}},
		{name: "RFC 7692 7.2.3.4 BFINAL and nothing behind", parts: []part{{first: 0xc1, payload: "\xf3\x48\xcd\xc9\xc9\x07\x00"}}, want: []transport.Frame{text("Hello")}},
		{name: "RFC 7692 7.2.3.5 two blocks", parts: []part{{first: 0xc1, payload: "\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00"}}, want: []transport.Frame{text("Hello")}},
		{name: "RFC 7692 7.2.3.6 empty message", parts: []part{{first: 0xc1, payload: "\x00"}}, want: []transport.Frame{text("")}},
		{name: "RFC 7692 7.2.3.6 not even a block", parts: []part{{first: 0xc2}}, want: []transport.Frame{binaryFrame("")}},
		{name: "RFC 7692 6 with and without", parts: []part{{first: 0xc2, payload: hello}, {first: 0x81, payload: "plain"}, {first: 0xc1, payload: hello}},
			want: []transport.Frame{binaryFrame("Hello"), text("plain"), text("Hello")}},
		{name: "RFC 7692 6 ping between fragments", parts: []part{{first: 0x41, payload: hello[:2]}, {first: 0x89, payload: "p"}, {first: 0x00}, {first: 0x80, payload: hello[2:]}},
			want: []transport.Frame{ping("p"), text("Hello")}},
		{name: "RFC 7692 6 RSV1 of a later fragment", parts: []part{{first: 0x41, payload: hello[:3]}, {first: 0xc0, payload: hello[3:]}}, code: 1002},
		{name: "RFC 7692 6 RSV1 of a continuation only", parts: []part{{first: 0x01, payload: "a"}, {first: 0xc0, payload: hello}}, code: 1002},
		{name: "RFC 7692 6 RSV1 of a ping", parts: []part{{first: 0xc9, payload: hello}}, code: 1002},
		{name: "RFC 7692 6 RSV1 of a close", parts: []part{{first: 0xc8}}, code: 1002},
		{name: "RFC 7692 7.2.2 not DEFLATE", parts: []part{{first: 0xc2, payload: "\xff\xff\xff"}}, code: 1007},
		{name: "RFC 7692 7.2.2 cut", parts: []part{{first: 0xc2, payload: "\x00\x05\x00\xfa\xffHel"}}, code: 1007},
		{name: "RFC 7692 7.2.2 reference before the beginning", parts: []part{{first: 0xc2, payload: hello}, {first: 0xc2, payload: "\xf2\x00\x11\x00\x00"}}, want: []transport.Frame{binaryFrame("Hello")}, code: 1007},
		{name: "8.1 inflated text", parts: []part{{first: 0xc1, payload: deflated(t, "κόσμε")}}, want: []transport.Frame{text("κόσμε")}},
		{name: "8.1 inflated text is not UTF-8", parts: []part{{first: 0xc1, payload: deflated(t, "a\xff")}}, code: 1007},
		{name: "8.1 inflated fragments are not UTF-8", parts: []part{{first: 0x41, payload: deflated(t, "a\xff")[:2]}, {first: 0x80, payload: deflated(t, "a\xff")[2:]}}, code: 1007},
		{name: "7.4.1 exactly the limit", parts: []part{{first: 0xc2, payload: deflated(t, exact)}}, want: []transport.Frame{binaryFrame(exact)}},
		{name: "7.4.1 inflates to one more", parts: []part{{first: 0xc2, payload: deflated(t, exact+"z")}}, code: 1009},
		{name: "7.4.1 a bomb", parts: []part{{first: 0x42, payload: deflated(t, strings.Repeat("\x00", 16<<20))}, {first: 0x80}}, code: 1009},
		{name: "7.4.1 claims too much", parts: []part{{first: 0xc2, claims: true, rawSize: limit * 2}}, code: 1009},
		{name: "RFC 7692 7.2.3.4 streams without end", parts: []part{{first: 0xc2, payload: strings.Repeat("\x03\x00", 1000)}}, code: 1007},
	}
}

// Framers that compress can be told not to, in the same format.
func TestUncompressed(t *testing.T) {
	for name, f := range map[string]transport.Framer{
		"server": deflateFramer{&Compression{}}, "client": clientFramer{&Compression{}},
	} {
		plain := f.(transport.Compressor).Uncompressed()
		w := transport.NewWriter(plain, nil)
		if err := w.Frame(transport.Text, bytes.Repeat([]byte("a"), 2000)); err != nil {
			t.Fatal(err)
		}
		if w.Bytes()[0] != 0x81 || plain.Format() != f.Format() {
			t.Errorf("%s: first byte %#x, format %q", name, w.Bytes()[0], plain.Format())
		}
	}
}

// Compressed frames have RSV1 where that is smaller, and never below MinBytes.
func TestDeflateFramer(t *testing.T) {
	long := strings.Repeat("compress me, ", 100)
	rows := []struct {
		name       string
		options    *Compression
		typ        transport.FrameType
		payload    string
		compressed bool
	}{
		{"long text", &Compression{}, transport.Text, long, true},
		{"long binary, best level", &Compression{Level: 9}, transport.Binary, long, true},
		{"wrong level", &Compression{Level: 77}, transport.Binary, long, true},
		{"shorter than the default", &Compression{}, transport.Text, long[:511], false},
		{"as long as the default", &Compression{}, transport.Text, long[:512], true},
		{"as long as asked for", &Compression{MinBytes: 100}, transport.Text, long[:100], true},
		{"shorter than asked for", &Compression{MinBytes: 100}, transport.Text, long[:99], false},
		{"all", &Compression{MinBytes: -1}, transport.Text, strings.Repeat("a", 20), true},
		{"all, but nothing", &Compression{MinBytes: -1}, transport.Text, "", false},
		{"gets no smaller", &Compression{MinBytes: -1}, transport.Text, "abc", false},
		{"ping", &Compression{MinBytes: -1}, transport.Ping, strings.Repeat("a", 100), false},
		{"to more than 16 bits", &Compression{}, transport.Text, strings.Repeat(long, 200), true},
	}
	for _, row := range rows {
		for side, f := range map[string]transport.Framer{"server": deflateFramer{row.options}, "client": clientFramer{row.options}} {
			t.Run(side+"/"+row.name, func(t *testing.T) {
				w := transport.NewWriter(f, []byte("before"))
				for range 3 { // also with a compressor that has been used
					if err := w.Frame(row.typ, []byte(row.payload)); err != nil {
						t.Fatal(err)
					}
				}
				b, before := bytes.CutPrefix(w.Bytes(), []byte("before"))
				if got := b[0]&bitRSV1 != 0; !before || got != row.compressed {
					t.Fatalf("compressed: %v", got)
				}
				frame := transport.Frame{Type: row.typ, Data: []byte(row.payload)}
				got := receive(settings{server: side == "client", compression: row.options}, b)
				if !got.same(outcome{[]transport.Frame{frame, frame, frame}, io.EOF}) {
					t.Fatalf("got %v", got)
				}
			})
		}
	}
}

// An inflated frame stays where it is until the next call, or its release.
func TestDetachInflated(t *testing.T) {
	all := encode([]part{{first: 0xc1, payload: deflated(t, "one")}, {first: 0xc1, payload: deflated(t, "two")}, {first: 0xc1, payload: deflated(t, "six")}}, false)
	c := newConn(&feed{chunks: [][]byte{all}}, nil, settings{compression: new(Compression)})
	if err := c.Wait(); err != nil {
		t.Fatal(err)
	}
	var frames []transport.Frame
	var releases []func()
	for range 3 {
		f, ok, err := c.Next()
		if !ok || err != nil {
			t.Fatal(ok, err)
		}
		frames, releases = append(frames, f), append(releases, c.Detach())
	}
	for i, want := range []string{"one", "two", "six"} {
		if got := string(frames[i].Data); got != want {
			t.Fatalf("frame %d is %q now", i, got)
		}
		releases[i]()
	}
	if err := c.Wait(); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	if c.inflated != nil {
		t.Fatal("an inflater is held while nothing comes")
	}
}
