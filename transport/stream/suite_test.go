package stream_test

import (
	"testing"

	"github.com/polywire/polywire/internal/conntest"
	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/transport/stream"
	"github.com/polywire/polywire/transport/transporttest"
)

func TestConformance(t *testing.T) {
	for _, network := range []string{"tcp", "unix", "tls"} {
		for _, max := range []int{0, 200} {
			t.Run(network, func(t *testing.T) {
				open := func(t *testing.T) (a, b transport.Conn) {
					client, server := conntest.Dial(t, network)
					o := stream.Options{MaxMessageBytes: max}
					return stream.New(client, o), stream.New(server, o)
				}
				transporttest.Run(t, transporttest.Features{MaxMessageBytes: max, SharedFormat: true}, open)
			})
		}
	}
}
