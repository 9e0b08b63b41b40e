package engineio

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/polywire/polywire/transport"
)

func TestFramerBytes(t *testing.T) {
	long := func(n int) string { return strings.Repeat("x", n) }
	rows := []struct {
		name    string
		v       version
		typ     transport.FrameType
		payload string
		want    string // empty: refused
	}{
		{"text", v4, transport.Text, "hello", "\x81\x064hello"},
		{"empty text", v4, transport.Text, "", "\x81\x014"},
		{"text 3", v3, transport.Text, "hello", "\x81\x064hello"},
		{"text with a separator 3", v3, transport.Text, "a\x1eb", "\x81\x044a\x1eb"},
		{"binary", v4, transport.Binary, "\x01\x02", "\x82\x02\x01\x02"},
		{"empty binary", v4, transport.Binary, "", "\x82\x00"},
		{"binary with a separator", v4, transport.Binary, "\x1e", "\x82\x01\x1e"},
		{"binary 3", v3, transport.Binary, "\x01\x02", "\x82\x03\x04\x01\x02"},
		{"empty binary 3", v3, transport.Binary, "", "\x82\x01\x04"},
		{"ping", v4, transport.Ping, "", "\x81\x012"},
		{"ping with data", v3, transport.Ping, "probe", "\x81\x062probe"},
		{"pong", v3, transport.Pong, "", "\x81\x013"},
		{"longest pong", v4, transport.Pong, long(125), "\x81\x7e\x00\x7e3" + long(125)},
		{"close", v4, transport.Close, "", "\x88\x00"},
		{"close 1000", v4, transport.Close, "\x03\xe8bye", "\x88\x00"},
		{"close 1009", v4, transport.Close, "\x03\xf1too big", "\x88\x02\x03\xf1"},
		{"close 3000", v4, transport.Close, "\x0b\xb8because", "\x88\x09\x0b\xb8because"},
		{"close with a reason too long", v4, transport.Close, long(126), ""},

		{"text of 124", v4, transport.Text, long(124), "\x81\x7d4" + long(124)},
		{"text of 125", v4, transport.Text, long(125), "\x81\x7e\x00\x7e4" + long(125)},
		{"text of 65534", v4, transport.Text, long(65534), "\x81\x7e\xff\xff4" + long(65534)},
		{"text of 65535", v4, transport.Text, long(65535), "\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x004" + long(65535)},
		{"binary of 125", v4, transport.Binary, long(125), "\x82\x7d" + long(125)},
		{"binary of 126", v4, transport.Binary, long(126), "\x82\x7e\x00\x7e" + long(126)},
		{"binary 3 of 125", v3, transport.Binary, long(125), "\x82\x7e\x00\x7e\x04" + long(125)},
		{"binary of 65536", v4, transport.Binary, long(65536), "\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00" + long(65536)},

		{"text with a separator", v4, transport.Text, "a\x1e4b", ""},
		{"ping too long", v4, transport.Ping, long(126), ""},
		{"no type", v4, 0, "a", ""},
		{"unknown type", v4, 3, "a", ""},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			w := transport.NewWriter(framer{row.v}, []byte("before"))
			err := w.Frame(row.typ, []byte(row.payload))
			if (err != nil) != (row.want == "") || string(w.Bytes()) != "before"+row.want {
				t.Fatalf("%.40q, %v", w.Bytes(), err)
			}
		})
	}
}

// A mark says that a message is not to be compressed. It goes wherever neutral
// bytes go as they are, and is nowhere else.
func TestMarks(t *testing.T) {
	w := transport.NewWriter(framer{v4}.Uncompressed(), nil)
	for _, typ := range []transport.FrameType{transport.Text, transport.Binary} {
		if err := w.Frame(typ, []byte("one")); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Frame(transport.Text, []byte("a\x1eb")); err == nil {
		t.Error("a separator in a text")
	}
	if want := "\x8a\x00\x81\x044one\x8a\x00\x82\x03one"; string(w.Bytes()) != want {
		t.Errorf("%q, want %q", w.Bytes(), want)
	}
	body, _, err := encodePayload(nil, v4, true, w.Bytes())
	if err != nil || string(body) != "4one\x1ebb25l" {
		t.Errorf("%q, %v", body, err)
	}
	if f := (framer{v4}).Uncompressed().Format(); f != "engineio/4" {
		t.Error(f)
	}
	plain := appendControl(nil, v4, kindNoop, "")
	for _, row := range []struct {
		neutral string
		want    bool
	}{{"", false}, {string(w.Bytes()), false}, {string(w.Bytes()) + string(plain), true}, {mark, false}} {
		if got := compressible([]byte(row.neutral)); got != row.want {
			t.Errorf("%q: %v", row.neutral, got)
		}
	}
}

func TestFormats(t *testing.T) {
	if a, b := (framer{v3}).Format(), (framer{v4}).Format(); a != "engineio/3" || b != "engineio/4" {
		t.Fatal(a, b)
	}
}

func TestFramerAllocatesNothing(t *testing.T) {
	for _, f := range []transport.Framer{framer{v3}, framer{v4}} {
		buf := make([]byte, 0, 70000)
		for _, n := range []int{0, 100, 1000, 66000} {
			payload := bytes.Repeat([]byte("x"), n)
			w := transport.NewWriter(f, buf)
			for _, typ := range []transport.FrameType{transport.Text, transport.Binary} {
				if got := testing.AllocsPerRun(20, func() {
					w.Reset(f, buf)
					_ = w.Frame(typ, payload)
				}); got != 0 {
					t.Fatalf("%s: %v of %d bytes: %v allocations", f.Format(), typ, n, got)
				}
			}
		}
	}
}

func TestAppendControl(t *testing.T) {
	long := strings.Repeat("x", 200)
	rows := []struct {
		kind       kind
		data, want string
	}{
		{kindNoop, "", "\x81\x016"},
		{kindPong, probe, "\x81\x063probe"},
		{kindOpen, long, "\x81\x7e\x00\xc90" + long},
	}
	for _, row := range rows {
		if got := appendControl([]byte("before"), v4, row.kind, row.data); string(got) != "before"+row.want {
			t.Errorf("%.40q", got)
		}
	}
}

func TestEachFrameMalformed(t *testing.T) {
	rows := map[string]string{
		"one byte":             "\x81",
		"not final":            "\x01\x014",
		"reserved bit":         "\xc1\x014",
		"masked":               "\x81\x81abcd4",
		"continuation":         "\x80\x014",
		"ping":                 "\x89\x00",
		"short payload":        "\x81\x054abc",
		"short 16 bit length":  "\x81\x7e\x00",
		"short 64 bit length":  "\x81\x7f\x00\x00\x00\x00\x00\x00\x00",
		"enormous length":      "\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xffabc",
		"length beyond an int": "\x81\x7f\x80\x00\x00\x00\x00\x00\x00\x00abc",
	}
	for name, in := range rows {
		t.Run(name, func(t *testing.T) {
			n := 0
			err := eachFrame([]byte("\x81\x016"+in), func(transport.FrameType, []byte) error { n++; return nil })
			if !errors.Is(err, errParse) || n != 1 {
				t.Fatalf("%d frames, %v", n, err)
			}
		})
	}
}

func TestEachFrameStops(t *testing.T) {
	stop := errors.New("stop")
	n := 0
	err := eachFrame([]byte("\x81\x016\x81\x016"), func(transport.FrameType, []byte) error { n++; return stop })
	if !errors.Is(err, stop) || n != 1 {
		t.Fatalf("%d frames, %v", n, err)
	}
}

// FuzzEachFrame: whatever comes is cut into parts of itself; what the framer
// made comes out as it went in.
func FuzzEachFrame(f *testing.F) {
	f.Add([]byte("\x81\x064hello\x82\x01\x04\x88\x00"))
	f.Add([]byte("\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xffabc"))
	f.Add(bytes.Repeat([]byte("x"), 70000))
	f.Fuzz(func(t *testing.T, in []byte) {
		total := 0
		err := eachFrame(in, func(_ transport.FrameType, p []byte) error { total += 2 + len(p); return nil })
		if total > len(in) || err != nil && !errors.Is(err, errParse) || err == nil && total > len(in) {
			t.Fatalf("%d bytes of %d, %v", total, len(in), err)
		}
		w := transport.NewWriter(framer{v4}, nil)
		for range 2 {
			if err := w.Frame(transport.Binary, in); err != nil {
				t.Fatal(err)
			}
		}
		n := 0
		err = eachFrame(w.Bytes(), func(typ transport.FrameType, p []byte) error {
			if typ != transport.Binary || !bytes.Equal(p, in) {
				t.Fatalf("%v %q", typ, p)
			}
			n++
			return nil
		})
		if err != nil || n != 2 {
			t.Fatal(n, err)
		}
	})
}

func BenchmarkFramer(b *testing.B) {
	for _, n := range []int{100, 1000} {
		payload := bytes.Repeat([]byte("x"), n)
		for _, typ := range []transport.FrameType{transport.Text, transport.Binary} {
			b.Run(typ.String(), func(b *testing.B) {
				b.ReportAllocs()
				buf := make([]byte, 0, 2*n+20)
				w := transport.NewWriter(framer{v4}, buf)
				for b.Loop() {
					w.Reset(framer{v4}, buf)
					_ = w.Frame(typ, payload)
				}
			})
		}
	}
}
