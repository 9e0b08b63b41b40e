package websocket

import (
	"testing"

	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/transport/transporttest"
)

func TestConformance(t *testing.T) {
	rows := []struct {
		name               string
		secure, compressed bool
		limit              int
	}{
		{name: "plain"},
		{name: "plain, low limit", limit: 3000},
		{name: "tls", secure: true},
		{name: "deflate", compressed: true},
		{name: "tls, deflate, low limit", secure: true, compressed: true, limit: 3000},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			ao := AcceptOptions{MaxMessageBytes: row.limit}
			do := DialOptions{MaxMessageBytes: row.limit}
			if row.compressed {
				ao.Compression, do.Compression = &Compression{MinBytes: 20}, &Compression{MinBytes: -1}
			}
			open := func(t *testing.T) (a, b transport.Conn) { return link(t, row.secure, ao, do) }
			transporttest.Run(t, transporttest.Features{MaxMessageBytes: row.limit, SharedFormat: true}, open)
		})
	}
}
