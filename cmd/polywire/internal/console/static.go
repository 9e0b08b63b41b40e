package console

import (
	"embed"
	"fmt"
	"io/fs"
	"net/http"
)

// The pages hold no secret: whoever reaches the listener may have them.
//
//go:embed web
var web embed.FS

// policy lets a page load what it brings along, and nothing else.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"form-action 'none'; frame-ancestors 'none'; base-uri 'none'"

// pages serves the files. Folders have no listings.
func pages() (http.Handler, error) {
	root, err := fs.Sub(web, "web")
	if err != nil {
		return nil, fmt.Errorf("console: %w", err)
	}
	files := http.StripPrefix("/console/", http.FileServerFS(root))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			problem{http.StatusMethodNotAllowed, codeMethod, "pages are read by GET", 0}.write(w)
			return
		}
		name := r.URL.Path[len("/console/"):]
		if name != "" && !isFile(root, name) {
			problem{http.StatusNotFound, codeNotFound, "no such page", 0}.write(w)
			return
		}
		w.Header().Set("Content-Security-Policy", policy)
		w.Header().Set("Cache-Control", "no-cache")
		files.ServeHTTP(w, r)
	}), nil
}

func isFile(root fs.FS, name string) bool {
	if !fs.ValidPath(name) {
		return false
	}
	info, err := fs.Stat(root, name)
	return err == nil && !info.IsDir()
}
