package transport_test

import (
	"strings"
	"testing"

	"github.com/polywire/polywire/transport"
)

func TestParseClosePayload(t *testing.T) {
	tests := []struct {
		name, payload string
		want          transport.CloseError
	}{
		{"empty", "", transport.CloseError{Code: 1005}},
		{"code only", "\x03\xe8", transport.CloseError{Code: 1000}},
		{"code and reason", "\x0f\xa0späť", transport.CloseError{Code: 4000, Reason: "späť"}},
		{"one byte", "\x03", transport.CloseError{Code: 1002, Local: true}},
		{"reason is not UTF-8", "\x03\xe8\xff", transport.CloseError{Code: 1007, Local: true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := *transport.ParseClosePayload([]byte(tt.payload))
			if got.Local {
				got.Reason = ""
			}
			if got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestCloseCodes(t *testing.T) {
	valid := func(code int) bool {
		for _, r := range [][2]int{{1000, 1003}, {1007, 1014}, {3000, 4999}} {
			if code >= r[0] && code <= r[1] {
				return true
			}
		}
		return false
	}
	for code := range 1 << 16 {
		got := transport.ParseClosePayload([]byte{byte(code >> 8), byte(code)})
		if got.Local == valid(code) || !got.Local && got.Code != uint16(code) {
			t.Errorf("code %d: %+v", code, got)
		}
	}
}

func TestAppendClosePayload(t *testing.T) {
	tests := []struct {
		name   string
		code   uint16
		reason string
		want   string
	}{
		{"no code", 0, "ignored", "x"},
		{"no status", 1005, "ignored", "x"},
		{"code only", 1000, "", "x\x03\xe8"},
		{"code and reason", 4001, "bye", "x\x0f\xa1bye"},
		{"the longest reason", 1000, strings.Repeat("a", 123), "x\x03\xe8" + strings.Repeat("a", 123)},
		{"a longer reason is cut", 1000, strings.Repeat("a", 200), "x\x03\xe8" + strings.Repeat("a", 123)},
		{"cut between characters", 1000, strings.Repeat("a", 122) + "é", "x\x03\xe8" + strings.Repeat("a", 122)},
		{"cut before what is not UTF-8", 1000, "ab\xffcd", "x\x03\xe8ab"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := transport.AppendClosePayload([]byte("x"), tt.code, tt.reason); string(got) != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
