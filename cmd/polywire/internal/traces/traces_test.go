package traces_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/polywire/polywire/cmd/polywire/internal/traces"
)

func TestCheckURL(t *testing.T) {
	for _, c := range []struct{ url, want string }{
		{"http://127.0.0.1:4318", ""},
		{"https://collector.example.com/v1/traces", ""},
		{"", "want the collector's URL"},
		{"127.0.0.1:4318", "want the collector's URL"},
		{"http://", "want the collector's URL"},
		{"grpc://127.0.0.1:4317", "want the collector's URL"},
		{"http://%zz", "want the collector's URL"},
		{"http://ann:secret@127.0.0.1", "credentials are headers"},
		{"http://127.0.0.1?key=secret", "credentials are headers"},
		{"http://127.0.0.1#secret", "credentials are headers"},
	} {
		err := traces.CheckURL(c.url)
		if (err == nil) != (c.want == "") || err != nil && (!strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret")) {
			t.Errorf("%q: %v, want %q", c.url, err, c.want)
		}
	}
}

// Spans go to the URL's path, or to that of OTLP; and only the share that is asked for.
func TestPaths(t *testing.T) {
	for _, c := range []struct {
		path   string
		sample float64
		want   string
	}{
		{"", 1, "/v1/traces"},
		{"/", 1, "/v1/traces"},
		{"/tenant/traces", 1, "/tenant/traces"},
		{"", 0, ""},
	} {
		asked := make(chan string, 10)
		s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked <- r.URL.Path + r.Header.Get("X-Key") }))
		tr, err := traces.New(t.Context(), traces.Options{
			URL: s.URL + c.path, Sample: c.sample, Headers: map[string]string{"X-Key": "!"}, Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		tr.Handler("asked", http.NotFoundHandler()).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", http.NoBody))
		if err := tr.Close(t.Context()); err != nil {
			t.Error(err)
		}
		s.Close()
		close(asked)
		var got []string
		for path := range asked {
			got = append(got, path)
		}
		if want := c.want; want == "" && len(got) != 0 || want != "" && (len(got) != 1 || got[0] != want+"!") {
			t.Errorf("%q: %q, want %q", c.path, got, c.want)
		}
	}
}

func TestResource(t *testing.T) {
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "no attribute")
	if _, err := traces.New(t.Context(), traces.Options{URL: "http://127.0.0.1:4318", Sample: 1, Logger: slog.New(slog.DiscardHandler)}); err == nil || !strings.Contains(err.Error(), "OTEL_RESOURCE_ATTRIBUTES") {
		t.Errorf("%v", err)
	}
}
