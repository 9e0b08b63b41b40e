// Package codectest is the suite that every codec passes.
package codectest

import (
	"bytes"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/internal/jsonscan"
)

// Values are what a codec is tested with. Only Good must be given.
type Values struct {
	// Good are values that survive a round trip.
	Good []any
	// Kind is the kind under which Good[0] is translated, where it matters.
	Kind string
	// Unsupported are values that the codec refuses to encode.
	Unsupported []any
	// Malformed are encodings that are refused.
	Malformed [][]byte
	// Equal compares a decoded value with the original; nil: reflect.DeepEqual.
	Equal func(got, want any) bool
}

// Run tests a codec.
func Run(t *testing.T, c codec.Codec, v Values) {
	if v.Equal == nil {
		v.Equal = reflect.DeepEqual
	}
	if len(v.Good) == 0 {
		t.Fatal("codectest: no values")
	}
	s := suite{c, v}
	t.Run("ContentType", s.contentType)
	t.Run("RoundTrip", s.roundTrip)
	t.Run("Unsupported", s.unsupported)
	t.Run("Malformed", s.malformed)
	t.Run("Concurrent", s.concurrent)
	if tr, ok := c.(codec.Translator); ok {
		t.Run("Translate", func(t *testing.T) { s.translate(t, tr) })
	}
	if vj, ok := c.(codec.ValueJSON); ok {
		t.Run("ValueJSON", func(t *testing.T) { s.valueJSON(t, vj) })
	}
}

type suite struct {
	c codec.Codec
	v Values
}

func (s suite) contentType(t *testing.T) {
	ct := s.c.ContentType()
	if ct == "" || ct != strings.ToLower(ct) || strings.ContainsAny(ct, "; \t") || !strings.Contains(ct, "/") {
		t.Errorf("content type %q is not a media type in lower case without parameters", ct)
	}
}

// check encodes and decodes a value.
func (s suite) check(want any) error {
	prefix := []byte("prefix")
	data, err := s.c.Append(bytes.Clone(prefix), want)
	if err != nil {
		return fmt.Errorf("Append of %T: %w", want, err)
	}
	if !bytes.HasPrefix(data, prefix) {
		return fmt.Errorf("append of %T changed what was there: %q", want, data)
	}
	return s.decodes(data[len(prefix):], want)
}

func (s suite) decodes(data []byte, want any) error {
	got := reflect.New(reflect.TypeOf(want))
	data = bytes.Clone(data)
	if err := s.c.Unmarshal(data, got.Interface()); err != nil {
		return fmt.Errorf("Unmarshal of %q into %T: %w", data, want, err)
	}
	for i := range data {
		data[i] = 0xff
	}
	if !s.v.Equal(got.Elem().Interface(), want) {
		return fmt.Errorf("%v came back as %v (or its data was kept)", want, got.Elem().Interface())
	}
	return nil
}

func (s suite) roundTrip(t *testing.T) {
	for _, want := range s.v.Good {
		if err := s.check(want); err != nil {
			t.Error(err)
		}
	}
}

func (s suite) unsupported(t *testing.T) {
	for _, v := range s.v.Unsupported {
		dst, err := s.c.Append([]byte("prefix"), v)
		if err == nil {
			t.Errorf("%T was encoded", v)
		}
		if string(dst) != "prefix" {
			t.Errorf("%T: the error left %q", v, dst)
		}
	}
}

func (s suite) malformed(t *testing.T) {
	for _, data := range s.v.Malformed {
		got := reflect.New(reflect.TypeOf(s.v.Good[0])).Interface()
		if used := allocated(func() {
			if s.c.Unmarshal(data, got) == nil {
				t.Errorf("%q was decoded", data)
			}
		}); used > 64<<10+64*len(data) {
			t.Errorf("%q took %d bytes of memory", data, used)
		}
	}
	for _, v := range s.v.Good {
		data, err := s.c.Append(nil, v)
		if err != nil {
			t.Fatal(err)
		}
		for i := range data {
			// What part of an encoding says is up to the codec; it must not panic.
			_ = s.c.Unmarshal(data[:i:i], reflect.New(reflect.TypeOf(v)).Interface())
		}
	}
}

// allocated returns the least that three runs of f allocated: others may
// allocate at the same time.
func allocated(f func()) int {
	least := ^uint64(0)
	for range 3 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		least = min(least, after.TotalAlloc-before.TotalAlloc)
	}
	return int(least)
}

func (s suite) concurrent(t *testing.T) {
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for _, v := range s.v.Good {
				if err := s.check(v); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func (s suite) translate(t *testing.T, tr codec.Translator) {
	want := s.v.Good[0]
	data, err := s.c.Append(nil, want)
	if err != nil {
		t.Fatal(err)
	}
	text, err := tr.AppendJSON([]byte("prefix"), s.v.Kind, data)
	if err != nil {
		t.Fatalf("AppendJSON: %v", err)
	}
	text, ok := bytes.CutPrefix(text, []byte("prefix"))
	if !ok {
		t.Fatalf("AppendJSON changed what was there: %q", text)
	}
	if err := jsonscan.Valid(text); err != nil {
		t.Fatalf("AppendJSON made %q: %v", text, err)
	}
	back, err := tr.AppendFromJSON([]byte("prefix"), s.v.Kind, text)
	if err != nil {
		t.Fatalf("AppendFromJSON of %s: %v", text, err)
	}
	back, ok = bytes.CutPrefix(back, []byte("prefix"))
	if !ok {
		t.Fatalf("AppendFromJSON changed what was there: %q", back)
	}
	if err := s.decodes(back, want); err != nil {
		t.Errorf("by way of %s: %v", text, err)
	}
	for _, bad := range []string{"", "{", `{"a":}`, "nul", `{} {}`, `"\x"`} {
		if dst, err := tr.AppendFromJSON([]byte("prefix"), s.v.Kind, []byte(bad)); err == nil || string(dst) != "prefix" {
			t.Errorf("AppendFromJSON of %q: %q, %v", bad, dst, err)
		}
	}
	for _, bad := range s.v.Malformed {
		if dst, err := tr.AppendJSON([]byte("prefix"), s.v.Kind, bad); err == nil || string(dst) != "prefix" {
			t.Errorf("AppendJSON of %q: %q, %v", bad, dst, err)
		}
	}
}

func (s suite) valueJSON(t *testing.T, vj codec.ValueJSON) {
	for _, want := range s.v.Good {
		if !vj.Claims(want) {
			continue
		}
		text, err := vj.AppendValueJSON([]byte("prefix"), want)
		if err != nil || !bytes.HasPrefix(text, []byte("prefix")) {
			t.Errorf("AppendValueJSON of %T: %q, %v", want, text, err)
			continue
		}
		got := reflect.New(reflect.TypeOf(want))
		if !vj.Claims(got.Interface()) {
			t.Errorf("%T is claimed, a pointer to it is not", want)
		}
		if err := vj.UnmarshalValueJSON(text[len("prefix"):], got.Interface()); err != nil {
			t.Errorf("UnmarshalValueJSON: %v", err)
		} else if !s.v.Equal(got.Elem().Interface(), want) {
			t.Errorf("%v came back as %v", want, got.Elem().Interface())
		}
	}
}
