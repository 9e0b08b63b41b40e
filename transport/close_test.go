package transport_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/polywire/polywire/transport"
)

func TestClosePayload(t *testing.T) {
	long := strings.Repeat("é", 62) // 124 bytes: the last character is cut
	rows := []struct {
		name    string
		code    uint16
		reason  string
		payload string
	}{
		{"no status has no payload", 1005, "ignored", ""},
		{"code alone", 1000, "", "\x03\xe8"},
		{"code and reason", 4001, "bye", "\x0f\xa1bye"},
		{"a reason of 123 bytes stays", 1000, strings.Repeat("a", 123), "\x03\xe8" + strings.Repeat("a", 123)},
		{"a long reason is cut at a character", 1000, long, "\x03\xe8" + long[:122]},
		{"a reason that is not UTF-8 is repaired", 1000, "a\xffb", "\x03\xe8a\uFFFDb"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			got := transport.AppendClosePayload([]byte("x"), row.code, row.reason)
			if string(got) != "x"+row.payload {
				t.Fatalf("got %q, want x%q", got, row.payload)
			}
			back := transport.ParseClosePayload(got[1:])
			if back.Local || back.Code != row.code || row.payload != "" && back.Reason != row.payload[2:] {
				t.Fatalf("parsed: %+v", back)
			}
		})
	}
}

func TestParseClosePayloadRefuses(t *testing.T) {
	rows := []struct {
		name    string
		payload string
		code    uint16
	}{
		{"5.5.1: one byte", "\x03", 1002},
		{"5.5: more than a control frame has", "\x03\xe8" + strings.Repeat("a", 124), 1002},
		{"7.4.2: 0", "\x00\x00", 1002},
		{"7.4.2: 999", "\x03\xe7", 1002},
		{"7.4.1: 1004 is reserved", "\x03\xec", 1002},
		{"7.4.1: 1005 is never sent", "\x03\xed", 1002},
		{"7.4.1: 1006 is never sent", "\x03\xee", 1002},
		{"7.4.1: 1015 is never sent", "\x03\xf7", 1002},
		{"7.4.2: 1016 is not registered", "\x03\xf8", 1002},
		{"7.4.2: 2999 is not registered", "\x0b\xb7", 1002},
		{"7.4.2: 5000", "\x13\x88", 1002},
		{"7.4.2: 65535", "\xff\xff", 1002},
		{"8.1: the reason is not UTF-8", "\x03\xe8a\xc0", 1007},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			if got := transport.ParseClosePayload([]byte(row.payload)); !got.Local || got.Code != row.code {
				t.Fatalf("got %+v", got)
			}
		})
	}
	for _, code := range []uint16{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999} {
		if got := transport.ParseClosePayload([]byte{byte(code >> 8), byte(code)}); got.Local || got.Code != code {
			t.Errorf("%d: %+v", code, got)
		}
	}
}

func FuzzClosePayload(f *testing.F) {
	f.Add([]byte("\x03\xe8bye"))
	f.Add([]byte("\x03\xed"))
	f.Fuzz(func(t *testing.T, p []byte) {
		got := transport.ParseClosePayload(p)
		if !utf8.ValidString(got.Reason) {
			t.Fatalf("reason %q", got.Reason)
		}
		if !got.Local && string(transport.AppendClosePayload(nil, got.Code, got.Reason)) != string(p) {
			t.Fatalf("%x does not come back", p)
		}
	})
}
