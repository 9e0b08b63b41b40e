package engineio

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func TestDecodeText(t *testing.T) {
	rows := []struct {
		name   string
		v      version
		text   string
		kind   kind // 0: malformed
		data   string
		binary bool
	}{
		{"open", v4, `0{"sid":"a"}`, kindOpen, `{"sid":"a"}`, false},
		{"close", v4, "1", kindClose, "", false},
		{"ping", v4, "2", kindPing, "", false},
		{"probe", v4, "2probe", kindPing, "probe", false},
		{"pong", v3, "3probe", kindPong, "probe", false},
		{"message", v4, "4hello", kindMessage, "hello", false},
		{"empty message", v4, "4", kindMessage, "", false},
		{"upgrade", v3, "5", kindUpgrade, "", false},
		{"noop", v4, "6", kindNoop, "", false},
		{"6.3 b is base64 as first char only", v4, "4bAQIDBA==", kindMessage, "bAQIDBA==", false},

		{"1.4 base64", v4, "bAQIDBA==", kindMessage, "\x01\x02\x03\x04", true},
		{"base64 of nothing", v4, "b", kindMessage, "", true},
		{"1.4 without padding", v4, "bAQIDBA", kindMessage, "\x01\x02\x03\x04", true},
		{"half the padding", v4, "bAQIDBA=", kindMessage, "\x01\x02\x03\x04", true},
		{"1.4 URL alphabet", v4, "b-_-_", kindMessage, "\xfb\xff\xbf", true},
		{"standard alphabet", v4, "b+/+/", kindMessage, "\xfb\xff\xbf", true},
		{"2.2 base64", v3, "b4AQIDBA==", kindMessage, "\x01\x02\x03\x04", true},
		{"2.2 base64 of nothing", v3, "b4", kindMessage, "", true},

		{"nothing", v4, "", 0, "", false},
		{"unknown digit", v4, "7", 0, "", false},
		{"unknown letter", v4, "abc", 0, "", false},
		{"binary type in text", v3, "\x04a", 0, "", false},
		{"base64 of one char", v4, "bA", 0, "", false},
		{"base64 with junk", v4, "bAQ!DBA==", 0, "", false},
		{"base64 with a line", v4, "bAQID\nBA==", 0, "", false},
		{"base64 with padding inside", v4, "bAQ==BA==", 0, "", false},
		{"base64 with too much padding", v4, "bAQIDBA===", 0, "", false},
		{"2.2 without type", v3, "b", 0, "", false},
		{"2.2 wrong type", v3, "bAQIDBA==", 0, "", false},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			p, err := decodeText(row.v, []byte(row.text))
			checkPacket(t, p, err, row.kind, row.data, row.binary)
		})
	}
}

func TestDecodeBinary(t *testing.T) {
	rows := []struct {
		name string
		v    version
		in   string
		kind kind // 0: malformed
		data string
	}{
		{"1.4 raw", v4, "\x01\x02\x03\x04", kindMessage, "\x01\x02\x03\x04"},
		{"empty", v4, "", kindMessage, ""},
		{"2.2 with type", v3, "\x04\x01\x02\x03\x04", kindMessage, "\x01\x02\x03\x04"},
		{"2.2 empty message", v3, "\x04", kindMessage, ""},
		{"2.2 ping", v3, "\x02", kindPing, ""},
		{"2.2 nothing", v3, "", 0, ""},
		{"2.2 the type is a number", v3, "4a", 0, ""},
		{"2.2 unknown type", v3, "\x07", 0, ""},
		{"2.2 type that overflows", v3, "\xd4a", 0, ""},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			p, err := decodeBinary(row.v, []byte(row.in))
			checkPacket(t, p, err, row.kind, row.data, true)
		})
	}
}

// checkPacket wants a packet, or errParse where the kind is 0.
func checkPacket(t *testing.T, p packet, err error, k kind, data string, binary bool) {
	t.Helper()
	if k == 0 {
		if !errors.Is(err, errParse) {
			t.Fatalf("decoded as %v, %v", p, err)
		}
		return
	}
	if err != nil || p.kind != k || string(p.data) != data || p.binary != binary {
		t.Fatalf("%c %q binary %v, %v", p.kind, p.data, p.binary, err)
	}
}

// Decoding where it stands gives what decoding elsewhere gives, at any length.
func TestBase64InPlace(t *testing.T) {
	for n := range 300 {
		data := bytes.Repeat([]byte{0xfb, 0xef, 0xbe, 0, byte(n)}, n)[:n]
		for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
			got, err := decodeBase64([]byte(enc.EncodeToString(data)))
			if err != nil || !bytes.Equal(got, data) {
				t.Fatalf("%d bytes: %v, %v", n, got, err)
			}
		}
	}
}

// Facts 1.3: exactly these keys, in this order.
func TestOpenPacket(t *testing.T) {
	const want = `{"sid":"lv_VI97HAXpY6yYWAAAC","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}`
	got, err := json.Marshal(openPacket{"lv_VI97HAXpY6yYWAAAC", []string{"websocket"}, 25000, 20000, 1e6})
	if err != nil || string(got) != want {
		t.Fatalf("%s, %v", got, err)
	}
}

// FuzzPacket: whatever comes is a packet of its own bytes, or malformed.
func FuzzPacket(f *testing.F) {
	for _, s := range []string{"", "2probe", "4hello", "bAQIDBA==", "b4AQIDBA==", "b-_-_", "\x04\x01\x02", "b!", strings.Repeat("b", 50)} {
		f.Add([]byte(s), true)
		f.Add([]byte(s), false)
	}
	f.Fuzz(func(t *testing.T, in []byte, old bool) {
		v := v4
		if old {
			v = v3
		}
		for name, decode := range map[string]func(version, []byte) (packet, error){"text": decodeText, "binary": decodeBinary} {
			p, err := decode(v, bytes.Clone(in))
			switch {
			case err != nil && !errors.Is(err, errParse):
				t.Fatalf("%s: %v", name, err)
			case err == nil && (!isKind(byte(p.kind)) || len(p.data) > len(in)):
				t.Fatalf("%s: %c with %d bytes of %d", name, p.kind, len(p.data), len(in))
			}
		}
	})
}
