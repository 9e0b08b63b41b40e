package natscluster

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"
	"unicode"
)

func TestMalformedFrames(t *testing.T) {
	for name, b := range map[string]string{
		"nothing":              "",
		"one byte":             "\x10",
		"another version":      "\x20\x01a",
		"an unknown flag":      "\x12\x01a",
		"no sender":            "\x10\x00",
		"a sender cut short":   "\x10\x05abcd",
		"a sender too long":    "\x10\x41" + strings.Repeat("x", 0x41),
		"no number":            "\x11\x01a",
		"number zero":          "\x11\x01a\x00",
		"a number cut short":   "\x11\x01a\x80\x80",
		"a number of 65 bits":  "\x11\x01a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02",
		"a number without end": "\x11\x01a" + strings.Repeat("\x80", 20),
	} {
		if _, _, _, err := parseFrame([]byte(b)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func FuzzFrame(f *testing.F) {
	f.Add([]byte("\x10\x01a"))
	f.Add([]byte("\x11\x03abc\x81\x01data"))
	f.Add(appendFrame(nil, strings.Repeat("x", maxNodeID), 1<<63))
	f.Fuzz(func(t *testing.T, b []byte) {
		from, seq, data, err := parseFrame(b)
		if err != nil {
			return
		}
		if len(from)+len(data) > len(b) {
			t.Fatal("more than was there")
		}
		again := append(appendFrame(nil, string(from), seq), data...)
		if len(again) > len(data)+frameMax {
			t.Fatalf("a frame of %d bytes", len(again)-len(data))
		}
		from2, seq2, data2, err := parseFrame(again)
		if err != nil || !bytes.Equal(from, from2) || seq != seq2 || !bytes.Equal(data, data2) {
			t.Fatalf("%q is %q, %d, %q and then %q, %d, %q, %v", b, from, seq, data, from2, seq2, data2, err)
		}
	})
}

// untoken is the way back, which shows that different texts have different tokens.
func untoken(t *testing.T, s string) string {
	if rest, ok := strings.CutPrefix(s, "~"); ok {
		b, err := base64.RawURLEncoding.DecodeString(rest)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	var text strings.Builder
	for s != "" {
		plain, rest, escaped := strings.Cut(s, "=")
		text.WriteString(plain)
		if !escaped {
			break
		}
		b, err := hex.DecodeString(rest[:2])
		if err != nil {
			t.Fatal(err)
		}
		text.Write(b)
		s = rest[2:]
	}
	return text.String()
}

func TestTokens(t *testing.T) {
	for text, want := range map[string]string{
		"room/chat:general": "room/chat:general",
		"a.b-c_d e":         "a=2eb-c_d=20e",
		"a.b-c_d e.":        "~YS5iLWNfZCBlLg",
		"general.chat":      "general=2echat",
		"世界":                "~5LiW55WM",
		">":                 "~Pg",
		"=2e-and-so-on":     "=3d2e-and-so-on",
	} {
		if got := token(text); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
	if got := streamName("a.b", "rooms:/and-more"); got != "a=2eb~rooms=3a=2fand-more" {
		t.Errorf("stream %q", got)
	}
}

func FuzzToken(f *testing.F) {
	for _, s := range []string{"a", "a.b", "~", "=2e", "\x00\xff", "世界", "*", ">", strings.Repeat(".", 512)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if s == "" {
			return
		}
		got := token(s)
		if untoken(t, got) != s {
			t.Fatalf("%q is %q, which is %q", s, got, untoken(t, got))
		}
		if len(got) > len(s)*4/3+4 {
			t.Fatalf("%d bytes are %d", len(s), len(got))
		}
		if got == "" || strings.ContainsAny(got, ".*>") || strings.ContainsFunc(got, func(r rune) bool {
			return unicode.IsSpace(r) || r < ' ' || r > '~'
		}) {
			t.Fatalf("%q is not a token", got)
		}
	})
}
