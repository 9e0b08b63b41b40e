package client_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/codec/msgpack"
)

func TestFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		got := make(chan string, 1)
		n.serve("tcp", func(s *polywire.Server) { s.Handle("k", into(got)) })
		c := n.client("tcp")
		if err := c.Flush(t.Context()); !errors.Is(err, polywire.ErrNotRunning) {
			t.Errorf("before Connect: %v", err)
		}
		connect(t, c)
		if err := c.Send(t.Context(), "k", "text"); err != nil {
			t.Fatal(err)
		}
		if err := c.Flush(t.Context()); err != nil {
			t.Error(err)
		}
		if sent, _ := n.last().carried("text"); !sent {
			t.Error("it has not been written")
		}
		receive(t, got)
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if err := c.Flush(t.Context()); !errors.Is(err, polywire.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}

func TestEncoding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		packed := polywire.WithCodecs(codec.JSON{}, msgpack.Codec{})
		n.serve("tcp", func(s *polywire.Server) {
			s.Handle("*", func(_ context.Context, m *polywire.Message) (any, error) { return m.Payload().Type, nil })
		}, packed)
		c := n.client("tcp", client.WithPeer(packed))
		c.Encoding("packed", codec.TypeMsgpack)
		for range 2 { // in its second life, too
			connect(t, c)
			for kind, want := range map[string]string{"packed": codec.TypeMsgpack, "plain": codec.TypeJSON} {
				if got := call(t, c, kind, "text"); got != want {
					t.Errorf("%s is sent in %s", kind, got)
				}
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

// failingPlugin cannot be deactivated.
type failingPlugin struct{ err error }

func (failingPlugin) Activate(*polywire.Server) error    { return nil }
func (p failingPlugin) Deactivate(context.Context) error { return p.err }

func TestCloseSaysWhatFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		n.serve("tcp", nil)
		failed := errors.New("failed")
		c := n.connected("tcp", client.WithPeer(polywire.WithPlugins(failingPlugin{failed})))
		if err := c.Close(); !errors.Is(err, failed) {
			t.Errorf("%v", err)
		}
		if err := c.Close(); !errors.Is(err, failed) {
			t.Errorf("a second time: %v", err)
		}
	})
}

// A handler that does not end holds Close up for so long and no longer.
func TestCloseCutsOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		srv := n.serve("tcp", nil)
		c := n.client("tcp", client.WithDialTimeout(3*time.Second))
		hold := make(chan struct{})
		c.Handle("hold", func(context.Context, *polywire.Message) (any, error) { <-hold; return nil, nil })
		connect(t, c)
		if err := srv.All().Send(t.Context(), "hold", nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		start := time.Now()
		if err := c.Close(); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 3*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		close(hold)
	})
}
