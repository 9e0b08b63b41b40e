// Package p is what the snippets of the documents take from the programs of
// those who read them; TestSnippets compiles them with it.
package p

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/polywire/polywire"
)

var (
	ctx    context.Context
	srv    *polywire.Server
	logger *slog.Logger
	mux    *http.ServeMux
	url    string
	dir    string
	id     string
	token  string
)

type Add struct{ A, B int }

type Sum struct{ Total int }

type Message struct{ Word string }
