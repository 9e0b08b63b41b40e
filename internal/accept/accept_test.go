package accept

import (
	"slices"
	"strings"
	"testing"

	"github.com/polywire/polywire/internal/testenv"
)

func TestMain(m *testing.M) { testenv.VerifyNoLeaks(m) }

const (
	json = "application/json"
	pb   = "application/protobuf"
	msg  = "application/msgpack"
)

func TestPrefer(t *testing.T) {
	own := []string{json, pb, msg}
	for _, row := range []struct {
		header []string
		want   []string
		any    bool
	}{
		{nil, own, true},
		{[]string{""}, own, true},
		{[]string{" , ,"}, own, true},
		{[]string{"*/*"}, own, true},
		{[]string{"*/*;q=0.1"}, own, true},
		{[]string{"*/*;q=0"}, nil, false},
		{[]string{json}, []string{json}, false},
		{[]string{"Application/JSON ; charset=utf-8"}, []string{json}, false},
		{[]string{msg + ", " + json}, []string{msg, json}, false},
		{[]string{msg, json}, []string{msg, json}, false},
		{[]string{msg + ";q=0.2, " + json + ";q=0.8"}, []string{json, msg}, false},
		{[]string{msg + ";q=0.200 ,\t" + json + ";Q=0.3;x=y"}, []string{json, msg}, false},
		{[]string{"application/*, " + json + ";q=0"}, []string{pb, msg}, false},
		{[]string{json + ";q=0,application/*"}, []string{pb, msg}, false},
		{[]string{"*/*, " + pb + ";q=0.5"}, []string{json, msg, pb}, false},
		{[]string{"*/*;q=0.5, " + pb}, []string{pb, json, msg}, false},
		{[]string{"text/html, text/*;q=0.9"}, nil, false},
		{[]string{`application/json;v="a,b;q=0\"";q=1.000`}, []string{json}, false},
		{[]string{json + ";;q=0.5; "}, []string{json}, false},
		{[]string{strings.Repeat("text/html,", MaxRanges-1) + json}, []string{json}, false},
	} {
		r, err := Parse(row.header)
		if err != nil {
			t.Errorf("%q: %v", row.header, err)
			continue
		}
		if got := r.Prefer(own); !slices.Equal(got, row.want) || r.Any() != row.any {
			t.Errorf("%q: %q (any: %t), want %q", row.header, got, r.Any(), row.want)
		}
	}
}

func TestMalformed(t *testing.T) {
	for _, line := range []string{
		"json", "/", "a/", "/b", "*/json", "a/b c", "a/b;q", "a/b;q=", "a/b;q=2", "a/b;q=1.001", "a/b;q=0.1234",
		"a/b;q=.5", "a/b;q=-1", "a/b;q=0.x", `a/b;q="1"`, `a/b;x="`, `a/b;x="\`, "a/b;x=\"\x01\"", "a/b;x = y", "a b/c",
		"a/b;=c", "a/b/c", "\xff/a", "a/b, (", "a/b;q=1 x", "a/b;q=1 .", "a/b;q=00",
		strings.Repeat("a/b,", MaxRanges+1),
	} {
		if r, err := Parse([]string{line}); err == nil {
			t.Errorf("%q was read as %v", line, r)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{json, "*/*;q=0.5, " + pb, `a/b;v="x,\"";q=0.1`, ",, ,", "a/b;q=1.000;", "*/a"} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		r, err := Parse([]string{a, b})
		if err != nil {
			return
		}
		if len(r) > MaxRanges || len(r) > (len(a)+len(b)+2)/3 { // a range has three bytes and a comma
			t.Fatalf("%q and %q have %d ranges", a, b, len(r))
		}
		for _, m := range r {
			if m.q < 0 || m.q > fullQ || m.kind == "" || m.sub == "" {
				t.Fatalf("%q and %q: %+v", a, b, m)
			}
		}
		own := []string{json, pb, msg}
		got := r.Prefer(own)
		for i, name := range got {
			if !slices.Contains(own, name) || slices.Contains(got[:i], name) {
				t.Fatalf("%q and %q: %q", a, b, got)
			}
		}
		joined, err := Parse([]string{a + "," + b}) // RFC 9110 section 5.2
		if err != nil || !slices.Equal(joined, r) {
			t.Fatalf("%q and %q: %v in one line (%v), %v in two", a, b, joined, err, r)
		}
	})
}
