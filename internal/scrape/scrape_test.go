package scrape

import (
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

const page = `# HELP up Whether it is.
# TYPE up gauge
up 1
requests_total{code="200",path="/a b"} 3
requests_total{path="/}",code="500"} 4 1395066363000
requests_total_more 100

huge +Inf
small 1.5e-05
`

func TestParse(t *testing.T) {
	p, err := Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		metric string
		labels []string
		want   float64
	}{
		{"up", nil, 1},
		{"requests_total", nil, 7},
		{"requests_total", []string{`code="200"`}, 3},
		{"requests_total", []string{`code="500"`, `path="/}"`}, 4},
		{"requests_total", []string{`code="20"`}, 0},
		{"requests", nil, 0},
		{"huge", nil, math.Inf(1)},
		{"small", nil, 1.5e-05},
	} {
		if got := p.Sum(tt.metric, tt.labels...); got != tt.want {
			t.Errorf("%s %q: %v, want %v", tt.metric, tt.labels, got, tt.want)
		}
	}
}

func malformed() []string {
	return []string{"up", "up one", "up 1 2 3", `up{a="b"}`, `up{a="b" 1`, "}", "{} x", strings.Repeat("x", 2<<20)}
}

func TestMalformed(t *testing.T) {
	for _, text := range malformed() {
		if p, err := Parse(strings.NewReader(text)); err == nil {
			t.Errorf("%.40q was taken for %v", text, p)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(page)
	for _, text := range malformed() {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Parse(strings.NewReader(text))
		if err == nil && len(p) > strings.Count(text, "\n")+1 {
			t.Errorf("%d series of %q", len(p), text)
		}
		for series := range p {
			if !strings.Contains(text, series) {
				t.Errorf("%q is not in %q", series, text)
			}
		}
	})
}

func TestFetch(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/metrics" {
			http.NotFound(w, r)
			return
		}
		_, _ = io.WriteString(w, page)
	}))
	defer s.Close()
	defer http.DefaultClient.CloseIdleConnections()
	if p, err := Fetch(t.Context(), s.URL+"/metrics"); err != nil || p.Sum("up") != 1 {
		t.Errorf("%v, %v", p, err)
	}
	for _, url := range []string{s.URL + "/x", "http://127.0.0.1:0/", "::"} {
		if _, err := Fetch(t.Context(), url); err == nil {
			t.Errorf("%s has metrics", url)
		}
	}
}
