// Package js holds the browser client of the native wire, so that Go programs
// can serve it without any other file.
package js

import (
	"embed"
	"io/fs"
)

//go:embed *.js
var files embed.FS

// Files returns the client's ES modules; polywire.js is the one to import.
func Files() fs.FS { return files }
