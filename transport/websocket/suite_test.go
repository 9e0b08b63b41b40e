package websocket

import (
	"testing"

	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/transport/transporttest"
)

func TestConformance(t *testing.T) {
	for name, secure := range map[string]bool{"plain": false, "tls": true} {
		for _, compressed := range []bool{false, true} {
			if compressed {
				name += "+deflate"
			}
			for _, limit := range []int{0, 3000} {
				t.Run(name, func(t *testing.T) {
					var ao AcceptOptions
					var do DialOptions
					ao.MaxMessageBytes, do.MaxMessageBytes = limit, limit
					if compressed {
						ao.Compression, do.Compression = &Compression{MinBytes: 20}, &Compression{MinBytes: -1, Level: 9}
					}
					open := func(t *testing.T) (a, b transport.Conn) { return link(t, secure, ao, do) }
					transporttest.Run(t, open, transporttest.Features{MaxMessageBytes: limit, SharedFormat: true})
				})
			}
		}
	}
}
