package transporttest_test

import (
	"testing"

	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/transport/transporttest"
)

func TestPipe(t *testing.T) {
	tests := []struct {
		name    string
		options transporttest.PipeOptions
	}{
		{"default", transporttest.PipeOptions{}},
		{"a small buffer", transporttest.PipeOptions{BufferBytes: 1000, MaxMessageBytes: 70000}},
		{"small messages only", transporttest.PipeOptions{MaxMessageBytes: 200}},
	}
	for _, tt := range tests {
		for _, bubble := range []bool{true, false} {
			t.Run(tt.name, func(t *testing.T) {
				features := transporttest.Features{
					MaxMessageBytes: tt.options.MaxMessageBytes,
					SharedFormat:    true,
					Synctest:        bubble,
				}
				transporttest.Run(t, features, func(*testing.T) (a, b transport.Conn) {
					return transporttest.Pipe(tt.options)
				})
			})
		}
	}
}
