package p

import (
	"context"
	"time"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/queue"
)

var (
	order                struct{ ID, Customer string }
	text                 []byte
	q                    *queue.Broker
	yesterday, lastMonth time.Time
	errNoSuchAddress     error
)

func ship(context.Context, codec.Payload) error { return nil }
