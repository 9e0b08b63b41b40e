package drs

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/polywire/polywire/internal/jsonscan"
)

func usualSeeds() []string {
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	return []string{
		`{"key":"1","action":"echo","body":{"a":[1,"\u00e9"]}}`, `{"key":"1","action":"echo","body":"é"}`,
		`{"action":"echo"}{"action":"more"}`, `{"action":"a","action":"b","key":"1","key":"2","body":1,"body":2}`,
		`{"key":"1","action":""}`, `{"key":"1"}`, `{}`, `{"key":"1","action":"e\n"}`, `{"key":"é","action":"echo"}`,
		`{"key":null,"action":"echo"}`, `{"key":"1", "action":"echo"}`, `{"key":"1","action":"echo","body": 1 }`,
		`{"key":"1","action":"echo","body":nul}`, `{"key":"1","action":"echo",}`, `{"key":"1","action":"echo"`,
		`{"action":"echo","body":` + deep(127) + `}`, `{"action":"echo","body":` + deep(128) + `}`,
		`{"action":"echo","body":` + deep(129) + `}`, "{\"action\":\"echo\",\"body\":\"\xff\"}", "{\"action\":\"echo\",\"body\":\"\x01\"}",
		"{\"key\":\"\x00\",\"action\":\"echo\"}", "{\"key\":\"1234567\x7f9\",\"action\":\"echo\"}", `[1]`, ``, ` `, `{"body":`,
	}
}

// FuzzUsual checks that what is read on the way is what is read otherwise, of
// the same length, and that a scanner finds what one that only looks for the
// end does, however the bytes come.
func FuzzUsual(f *testing.F) {
	for _, text := range usualSeeds() {
		f.Add([]byte(text), 3)
	}
	f.Fuzz(func(t *testing.T, data []byte, step int) {
		var usual, plain command
		n := readUsual(data, &usual)
		end, endErr := new(jsonscan.Extent).Scan(data)
		if n > 0 {
			if err := readJSON(data[:n], &plain); err != nil || end != n || endErr != nil || !utf8.Valid(data[:n]) {
				t.Fatalf("%d bytes read of %q: %v; the end is %d, %v", n, data, err, end, endErr)
			}
			if !bytes.Equal(usual.key, plain.key) || !bytes.Equal(usual.action, plain.action) || !bytes.Equal(usual.body, plain.body) {
				t.Fatalf("%q: %q and %q", data, usual, plain)
			}
		}
		var s scanner
		got, err := 0, error(nil)
		for at := 0; at < len(data) && got == 0 && err == nil; {
			at = min(len(data), at+max(1, step&0xff))
			got, err = s.Scan(data[:at])
		}
		if endErr == nil && end > 0 && !utf8.Valid(data[:end]) {
			end, endErr = 0, errTextUTF8
		}
		if got != end || (err == nil) != (endErr == nil) {
			t.Fatalf("%q in steps: %d, %v; want %d, %v", data, got, err, end, endErr)
		}
	})
}

// What was found is given once, for its own bytes only.
func TestScannerGivesWhatItFound(t *testing.T) {
	const text = `{"key":"1","action":"echo","body":[1]}`
	data := []byte(text + text)
	var s scanner
	var c command
	n, err := s.Scan(data)
	if n != len(text) || err != nil {
		t.Fatal(n, err)
	}
	s.Reset()
	if s.take([]byte(text), &c) || s.take(data, &c) || s.take(nil, &c) {
		t.Error("taken for other bytes")
	}
	if !s.take(data[:n:n], &c) || string(c.key) != "1" || string(c.action) != "echo" || string(c.body) != "[1]" {
		t.Errorf("%q", c)
	}
	if s.take(data[:n:n], &c) || s.command.body != nil {
		t.Error("it is still there")
	}
	if n, _ = s.Scan(data); n != len(text) {
		t.Fatal(n)
	}
	s.Reset()
	if n, err = s.Scan([]byte(`{ "action":"echo" }`)); n == 0 || err != nil || s.take(data[:len(text)], &c) {
		t.Errorf("what was found before is there after another value: %d, %v", n, err)
	}
}

// A stream's usual command is read once, without memory.
func TestScannerDoesNotAllocate(t *testing.T) {
	data := []byte(`{"key":"1","action":"echo","body":[1]}` + "\n" + `{"key":`)
	var s scanner
	if n := testing.AllocsPerRun(100, func() {
		n, err := s.Scan(data)
		var c command
		if err != nil || !s.take(data[:n:n], &c) {
			t.Error(n, err)
		}
		s.Reset()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
