package engineio

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/polywire/polywire/transport"
)

// payloadRow is a payload and the neutral bytes that say the same.
type payloadRow struct {
	name     string
	v        version
	noBinary bool
	body     string
	octets   bool
	neutral  string
	packets  string // as list prints them
}

func payloadRows() []payloadRow {
	const open = `0{"sid":"lv_VI97HAXpY6yYWAAAC","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}`
	text := func(packets ...string) string {
		var b []byte
		for _, p := range packets {
			b = appendControl(b, v4, kind(p[0]), p[1:])
		}
		return string(b)
	}
	const four = "\x01\x02\x03\x04"
	return []payloadRow{
		{"1.4 three packets", v4, false, "4hello\x1e2\x1e4world", false, text("4hello", "2", "4world"), "4hello 2 4world"},
		{"1.4 text and binary", v4, false, "4hello\x1ebAQIDBA==", false, text("4hello") + "\x82\x04" + four, "4hello B401020304"},
		{"1.4 of the parser", v4, false, "0\x1e1\x1e2probe\x1e3probe\x1e4test", false, text("0", "1", "2probe", "3probe", "4test"), "0 1 2probe 3probe 4test"},
		{"1.3 open", v4, false, open, false, text(open), open},
		{"1.10 closing", v4, false, "6\x1e1", false, text("6") + "\x88\x00", "6 1"},
		{"close with a code", v4, false, "1", false, "\x88\x02\x03\xf1", "1"},
		{"characters", v4, false, "4€\x1e4😀", false, text("4€", "4😀"), "4€ 4😀"},

		{"2.3 euro", v3, false, "6:4hello2:4€", false, text("4hello", "4€"), "4hello 4€"},
		{"2.3 emoji", v3, false, "3:4😀", false, text("4😀"), "4😀"},
		{"2.3 three packets", v3, false, "6:4test16:4test26:4test3", false, text("4test1", "4test2", "4test3"), "4test1 4test2 4test3"},
		{"2.3 base64", v3, true, "6:4hello10:b4AQIDBA==", false, text("4hello") + "\x82\x05\x04" + four, "4hello B401020304"},
		{"2.3 control", v3, false, "1:21:31:61:1", false, text("2", "3", "6", "1"), "2 3 6 1"},
		{"2.3 close frame", v3, false, "1:1", false, "\x88\x00", "1"},
		{"2.3 event", v3, false, `16:42["hey","Jude"]`, false, text(`42["hey","Jude"]`), `42["hey","Jude"]`},
		{"2.3 open", v3, false, "118:" + open, false, text(open), open},
		{"2.3 nothing", v3, false, "0:", false, "", ""},

		{"2.4 text and binary", v3, false, "\x00\x06\xff4hello\x01\x05\xff\x04" + four, true, text("4hello") + "\x82\x05\x04" + four, "4hello B401020304"},
		{"2.4 euro", v3, false, "\x00\x04\xff4€\x01\x05\xff\x04" + four, true, text("4€") + "\x82\x05\x04" + four, "4€ B401020304"},
		{"2.4 two digits", v3, false, "\x01\x01\x02\xff\x04elevenbytes", true, "\x82\x0c\x04elevenbytes", "B4656c6576656e6279746573"},
		{"2.4 close", v3, false, "\x01\x01\xff\x04\x00\x01\xff1", true, "\x82\x01\x04\x88\x00", "B4 1"},
	}
}

// list prints packets, binary ones as B, their type and hexadecimal.
func list(packets []packet) string {
	var out []string
	for _, p := range packets {
		if p.binary {
			out = append(out, fmt.Sprintf("B%c%x", p.kind, p.data))
		} else {
			out = append(out, fmt.Sprintf("%c%s", p.kind, p.data))
		}
	}
	return strings.Join(out, " ")
}

func decodeAll(v version, octets bool, body []byte) ([]packet, error) {
	var packets []packet
	err := decodePayload(v, octets, body, func(p packet) error {
		packets = append(packets, p)
		return nil
	})
	return packets, err
}

func TestDecodePayload(t *testing.T) {
	rows := append(payloadRows(),
		payloadRow{"base64 in a binary payload", v3, false, "\x00\x01\x00\xffb4AQIDBA==", true, "", "B401020304"},
		payloadRow{"nothing between", v3, false, "0:2:4a0:", false, "", "4a"},
		payloadRow{"leading zero", v3, false, "02:4a", false, "", "4a"},
		payloadRow{"a message that looks like an entry", v3, false, "6:42:4ab", false, "", "42:4ab"},
	)
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			packets, err := decodeAll(row.v, row.octets, []byte(row.body))
			if err != nil || list(packets) != row.packets {
				t.Fatalf("%s, %v", list(packets), err)
			}
		})
	}
}

func TestEncodePayload(t *testing.T) {
	for _, row := range payloadRows() {
		t.Run(row.name, func(t *testing.T) {
			body, octets, err := encodePayload([]byte("before"), row.v, row.noBinary, []byte(row.neutral))
			want := row.body
			if row.neutral == "" {
				want = "" // an empty list is for the decoder only
			}
			if err != nil || octets != row.octets || string(body) != "before"+want {
				t.Fatalf("%q, octets %v, %v", body, octets, err)
			}
		})
	}
}

func TestEncodePayloadMalformed(t *testing.T) {
	for _, v := range []version{v3, v4} {
		if _, _, err := encodePayload(nil, v, false, []byte("\x81\x054")); !errors.Is(err, errParse) {
			t.Error(v, err)
		}
	}
}

func TestDecodePayloadMalformed(t *testing.T) {
	rows := []struct {
		name   string
		v      version
		octets bool
		body   string
		before string // delivered before it was found
	}{
		{"empty", v4, false, "", ""},
		{"separator alone", v4, false, "\x1e", ""},
		{"separator first", v4, false, "\x1e4a", ""},
		{"separator last", v4, false, "4a\x1e", "4a"},
		{"nothing between", v4, false, "4a\x1e\x1e4b", "4a"},
		{"unknown type", v4, false, "4a\x1eabc\x1e4b", "4a"},
		{"base64 junk", v4, false, "4a\x1eb???", "4a"},
		{"not UTF-8", v4, false, "4a\x1e4\xff", "4a"},
		{"binary in 4", v4, true, "4a", ""},

		{"2.3 empty", v3, false, "", ""},
		{"2.3 no length", v3, false, ":4a", ""},
		{"2.3 no number", v3, false, "a:4a", ""},
		{"2.3 negative", v3, false, "-1:4a", ""},
		{"2.3 number alone", v3, false, "2:4a2", "4a"},
		{"2.3 no packet", v3, false, "2:4a2:", "4a"},
		{"2.3 too short", v3, false, "3:4a", ""},
		{"2.3 bytes in place of units", v3, false, "4:4€", ""},
		{"2.3 half a pair", v3, false, "2:4😀", ""},
		{"2.3 not UTF-8", v3, false, "2:4a2:4\xff", "4a"},
		{"2.3 cut character", v3, false, "2:4a2:4\xe2\x82", "4a"},
		{"2.3 enormous", v3, false, "9999999999:4a", ""},
		{"2.3 too many digits", v3, false, "00000000002:4a", ""},
		{"2.3 digits without end", v3, false, strings.Repeat("9", 400), ""},
		{"2.3 unknown type", v3, false, "2:4a2:7b", "4a"},
		{"2.3 base64 without type", v3, false, "1:b", ""},

		{"2.4 empty", v3, true, "", ""},
		{"2.4 unknown mark", v3, true, "\x02\x01\xff4", ""},
		{"2.4 text payload", v3, true, "2:4a", ""},
		{"2.4 mark alone", v3, true, "\x00", ""},
		{"2.4 no length", v3, true, "\x00\xff4", ""},
		{"2.4 length without end", v3, true, "\x00\x01", ""},
		{"2.4 length in text", v3, true, "\x001\xff4", ""},
		{"2.4 too short", v3, true, "\x00\x01\xff4\x01\x05\xff\x04abc", "4"},
		{"2.4 enormous", v3, true, "\x01\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\xff\x04", ""},
		{"2.4 too many digits", v3, true, "\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\xff\x04", ""},
		{"2.4 empty text", v3, true, "\x00\x00\xff", ""},
		{"2.4 empty binary", v3, true, "\x01\x00\xff", ""},
		{"2.4 unknown type", v3, true, "\x01\x01\xff\x09", ""},
		{"2.4 length of two digits in one byte", v3, true, "\x00\x0a\xffb4AQIDBA==", ""},
		{"2.4 text that is not UTF-8", v3, true, "\x00\x02\xff4\xff", ""},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			packets, err := decodeAll(row.v, row.octets, []byte(row.body))
			if !errors.Is(err, errParse) || list(packets) != row.before {
				t.Fatalf("%s, %v", list(packets), err)
			}
		})
	}
}

func TestDecodePayloadStops(t *testing.T) {
	stop := errors.New("stop")
	for _, row := range payloadRows() {
		if row.packets == "" {
			continue
		}
		n := 0
		err := decodePayload(row.v, row.octets, []byte(row.body), func(packet) error { n++; return stop })
		if !errors.Is(err, stop) || n != 1 {
			t.Errorf("%s: %d packets, %v", row.name, n, err)
		}
	}
}

// FuzzDecodePayload: decoding ends, delivers no more than came, in memory that
// came; and what was decoded comes out again after it has been encoded.
func FuzzDecodePayload(f *testing.F) {
	for _, row := range payloadRows() {
		f.Add([]byte(row.body), row.v == v3, row.octets)
	}
	f.Add([]byte("9999999999:4a"), true, false)
	f.Add([]byte("\x01\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\xff\x04"), true, true)
	f.Fuzz(func(t *testing.T, in []byte, old, octets bool) {
		v := v4
		if old {
			v = v3
		}
		body := bytes.Clone(in)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		total := 0
		err := decodePayload(v, octets, body, func(p packet) error {
			total += len(p.data)
			return nil
		})
		runtime.ReadMemStats(&after)
		if err != nil && !errors.Is(err, errParse) || total > len(in) {
			t.Fatalf("%d bytes of %d, %v", total, len(in), err)
		}
		if allocated := after.TotalAlloc - before.TotalAlloc; allocated > 64<<10 {
			t.Fatalf("%d bytes allocated for %d", allocated, len(in))
		}
		packets, _ := decodeAll(v, octets, bytes.Clone(in))
		roundTrip(t, v, packets)
	})
}

// roundTrip encodes the messages among packets, and decodes them again.
func roundTrip(t *testing.T, v version, packets []packet) {
	t.Helper()
	w := transport.NewWriter(framer{v}, nil)
	var sent []packet
	for _, p := range packets {
		typ := transport.Text
		if p.binary {
			typ = transport.Binary
		}
		if p.kind != kindMessage {
			continue
		}
		if err := w.Frame(typ, p.data); err != nil {
			if errors.Is(err, errSeparator) {
				continue
			}
			t.Fatal(err)
		}
		sent = append(sent, p)
	}
	if len(sent) == 0 {
		return
	}
	for _, noBinary := range []bool{true, false} {
		body, octets, err := encodePayload(nil, v, noBinary, w.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeAll(v, octets, body)
		if err != nil || list(got) != list(sent) {
			t.Fatalf("%s came as %s, %v", list(sent), list(got), err)
		}
	}
}
