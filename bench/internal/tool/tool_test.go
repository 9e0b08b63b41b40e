package tool

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMedian(t *testing.T) {
	for _, tt := range []struct {
		values []float64
		want   float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 2, 3}, 2.5}} {
		if got := Median(tt.values); got != tt.want {
			t.Errorf("%v: %v, want %v", tt.values, got, tt.want)
		}
	}
}

func TestWriteBetween(t *testing.T) {
	path := filepath.Join(t.TempDir(), "doc.md")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	begin, end := Marks("bench")
	write("a\n" + begin + "old\n" + end + "\nz\n")
	for range 2 {
		if err := WriteBetween(path, "bench", "new\n"); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if want := "a\n" + begin + "\n\nnew\n\n" + end + "\nz\n"; err != nil || string(b) != want {
		t.Errorf("%v: %q, want %q", err, b, want)
	}
	if text, err := Between(path, "bench"); err != nil || text != "new" {
		t.Errorf("%q, %v", text, err)
	}
	for name, text := range map[string]string{
		"no beginning": "a\n" + end, "no end": begin, "others": strings.ReplaceAll(begin+end, "bench", "x"), "two": begin + end + begin + end,
	} {
		write(text)
		if WriteBetween(path, "bench", "new") == nil {
			t.Errorf("%s: written to where there is no place for it", name)
		}
	}
	if WriteBetween(path+"x", "bench", "new") == nil {
		t.Error("written to a file that is not there")
	}
}

// The documents have the places that commands write to.
func TestDocumentsHaveTheirPlaces(t *testing.T) {
	for name, file := range map[string]string{"bench": "performance.md", "soak": "performance.md", "measured": "scale.md"} {
		if text, err := Between(filepath.Join("..", "..", "..", "docs", file), name); err != nil || text == "" {
			t.Errorf("%q, %v", text, err)
		}
	}
}

func TestSetting(t *testing.T) {
	s := NewSetting(t.Context())
	if s.Machine == "" || s.Date == "" || !strings.Contains(s.String(), s.Machine+"; "+s.Date) {
		t.Errorf("%+v: %s", s, s)
	}
	if got := (Setting{"m", "d", "c"}).String(); got != "m; d; commit c" {
		t.Error(got)
	}
}

func TestCPU(t *testing.T) {
	before := CPU()
	for range 1_000_000 {
		_ = strings.Repeat("x", 10)
	}
	if after := CPU(); after < before {
		t.Errorf("%v after %v", after, before)
	}
}
