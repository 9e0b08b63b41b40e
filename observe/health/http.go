package health

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// Livez returns a handler that says whether the program is alive: 200, or 503.
// The body has a line for each check, or is a [Report] as JSON where Accept or
// ?format=json asks for it. It names the parts of the program and their errors:
// it belongs where only those who run it can ask.
func (c *Checks) Livez() http.Handler { return handler(c.Live) }

// Readyz is Livez about being ready.
func (c *Checks) Readyz() http.Handler { return handler(c.Ready) }

func handler(run func(context.Context) Report) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
			return
		}
		report := run(r.Context())
		body, contentType := []byte(report.String()), "text/plain; charset=utf-8"
		if wantsJSON(r) {
			contentType = "application/json"
			body, _ = json.Marshal(report) // strings and numbers only
			body = append(body, '\n')
		}
		h := w.Header()
		h.Set("Content-Type", contentType)
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		w.WriteHeader(report.HTTPStatus())
		_, _ = w.Write(body) // who has gone does not need it
	})
}

func wantsJSON(r *http.Request) bool {
	if f := r.URL.Query().Get("format"); f != "" {
		return f == "json"
	}
	return strings.Contains(r.Header.Get("Accept"), "application/json")
}

// HTTPStatus is 200, or 503 where a check failed.
func (r Report) HTTPStatus() int {
	if r.Status == StatusFailed {
		return http.StatusServiceUnavailable
	}
	return http.StatusOK
}

// String is a line for each check, and one for all.
func (r Report) String() string {
	var b strings.Builder
	for _, c := range r.Checks {
		fmt.Fprintf(&b, "%s %s", c.Name, c.Status)
		if c.Error != "" {
			b.WriteString(": ")
			b.WriteString(strings.Join(strings.Fields(c.Error), " ")) // one line, whatever the error has
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "%s\n", r.Status)
	return b.String()
}
