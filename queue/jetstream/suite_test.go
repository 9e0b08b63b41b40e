package jetstream_test

import (
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/polywire/polywire/natsembed"
	"github.com/polywire/polywire/queue"
	"github.com/polywire/polywire/queue/jetstream"
	"github.com/polywire/polywire/queue/queuetest"
)

// suite is the driver over connections that a test can cut or kill.
type suite struct {
	b     *broker
	mu    sync.Mutex
	conns map[queue.Driver]*conns
}

// conns are the connections of one driver.
type conns struct {
	mu   sync.Mutex
	open []*nats.Conn
	dead bool
}

func (c *conns) connect(b *broker) func(opts ...nats.Option) (*nats.Conn, error) {
	return func(opts ...nats.Option) (*nats.Conn, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.dead {
			return nil, nats.ErrConnectionClosed
		}
		nc, err := b.connect(opts...)
		if err == nil {
			c.open = append(c.open, nc)
		}
		return nc, err
	}
}

// kill ends the connection as the death of its program would.
func (c *conns) kill() {
	c.mu.Lock()
	c.dead = true
	c.mu.Unlock()
	c.last().Close()
}

func (c *conns) last() *nats.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open[len(c.open)-1]
}

func TestSuite(t *testing.T) {
	t.Parallel()
	s := &suite{conns: make(map[queue.Driver]*conns)}
	s.b = newBroker(t, natsembed.Options{NoSync: true}) // what is synced is natsembed's test
	queuetest.Run(t, queuetest.Harness{
		Parallel: 6,
		Open: func(t *testing.T) queue.Driver {
			c := &conns{}
			d := s.b.driver(jetstream.Options{Connect: c.connect(s.b)})
			s.mu.Lock()
			s.conns[d] = c
			s.mu.Unlock()
			return d
		},
		Lease: 2 * time.Second, // it is to be kept while others have the machine
		Dedup: true,
		Kill: func(t *testing.T, d queue.Driver) {
			s.of(d).kill()
		},
		Cut: func(t *testing.T, d queue.Driver) {
			if err := s.of(d).last().ForceReconnect(); err != nil {
				t.Log(err)
			}
		},
		Restart: func(t *testing.T) {
			s.b.stop()
			s.b.start()
		},
		Delete: func(t *testing.T, name string) {
			if err := s.b.streams().DeleteStream(within(t), "polywire-q-"+name); err != nil {
				t.Fatal(err)
			}
		},
	})
}

func (s *suite) of(d queue.Driver) *conns {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conns[d]
}
