package p

import (
	"context"
	"net/http"

	"github.com/polywire/polywire/webhook"
)

var (
	r       *http.Request
	body    []byte
	payment any
	secret  webhook.Secret
)

func store(context.Context, webhook.Received) error { return nil }

func show(string) {}
