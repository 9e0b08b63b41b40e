package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/cluster/nats"
	"github.com/polywire/polywire/natsembed"
	"github.com/polywire/polywire/wire/native"
)

const room = "room"

// site is some nodes, and connections to them that are in one room.
type site struct {
	engine *natsembed.Server
	nodes  []*polywire.Server
	urls   []string
	serves sync.WaitGroup

	conns    []net.Conn
	readers  sync.WaitGroup
	received atomic.Int64 // bytes
}

// newSite starts n nodes; without a cluster one that is alone.
func newSite(ctx context.Context, n int, clustered bool, opts ...polywire.Option) (*site, error) {
	s := &site{}
	quiet := slog.New(slog.DiscardHandler)
	opts = append(opts, polywire.WithLogger(quiet), polywire.WithWires(native.New()))
	if clustered {
		var err error
		if s.engine, err = natsembed.Start(ctx, natsembed.Options{TemporaryDir: true, Logger: quiet}); err != nil {
			return nil, err
		}
		opts = append(opts, polywire.WithCluster(natscluster.New(natscluster.Options{Connect: s.engine.Connect})))
	}
	for range n {
		if err := s.add(opts); err != nil {
			return nil, errors.Join(err, s.close())
		}
	}
	return s, nil
}

func (s *site) add(opts []polywire.Option) error {
	srv, err := polywire.New(opts...)
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if err := srv.Start(); err != nil {
		return errors.Join(err, ln.Close())
	}
	s.nodes, s.urls = append(s.nodes, srv), append(s.urls, ln.Addr().String())
	s.serves.Go(func() { _ = srv.Serve(ln, "ws") }) // it ends with the server
	return nil
}

func (s *site) close() error {
	var errs []error
	for _, c := range s.conns {
		errs = append(errs, c.Close())
	}
	s.readers.Wait()
	for _, srv := range s.nodes {
		errs = append(errs, srv.Close())
	}
	s.serves.Wait()
	if s.engine != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		errs = append(errs, s.engine.Shutdown(ctx))
	}
	return errors.Join(errs...)
}

// connect opens connections to a node and puts them into the room.
func (s *site) connect(node, n int) error {
	before := s.nodes[node].Stats().Connections
	for range n {
		nc, err := dial(s.urls[node])
		if err != nil {
			return err
		}
		s.conns = append(s.conns, nc)
		s.readers.Go(func() { s.drain(nc) })
	}
	for end := time.Now().Add(30 * time.Second); s.nodes[node].Stats().Connections < before+n; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return errors.New("connections are missing")
		}
	}
	return s.nodes[node].All().Local().Join(context.Background(), room)
}

func dial(addr string) (net.Conn, error) {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(nc, "GET /polywire HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: polywire.v1.json\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReaderSize(nc, 16), nil)
	if err == nil && resp.StatusCode != http.StatusSwitchingProtocols {
		err = fmt.Errorf("answered with %s", resp.Status)
	}
	if err != nil {
		return nil, errors.Join(err, nc.Close())
	}
	return nc, nil
}

// drain counts what comes; all messages of a measure have one size.
func (s *site) drain(nc net.Conn) {
	buf := make([]byte, 4<<10)
	for {
		n, err := nc.Read(buf)
		s.received.Add(int64(n))
		if err != nil {
			return
		}
	}
}

// until waits for what the connections have received.
func (s *site) until(bytes int64) error {
	for end := time.Now().Add(20 * time.Second); s.received.Load() < bytes; time.Sleep(20 * time.Microsecond) {
		if time.Now().After(end) {
			return fmt.Errorf("%d of %d bytes have come", s.received.Load(), bytes)
		}
	}
	return nil
}

// frameBytes finds out how large a message of the payload is on the wire.
func (s *site) frameBytes(ctx context.Context, payload any) (int64, error) {
	var size int64
	for i := range 2 { // the first may find interests that are not known yet
		before := s.received.Load()
		if err := s.nodes[0].Room(room).Send(ctx, "news", payload); err != nil {
			return 0, err
		}
		last := int64(-1)
		for quiet := 0; quiet < 20; {
			now := s.received.Load()
			if now == last && now > before {
				quiet++
			} else {
				quiet = 0
			}
			last = now
			time.Sleep(10 * time.Millisecond)
		}
		if got := last - before; i == 1 {
			size = got
		}
	}
	if size%int64(len(s.conns)) != 0 {
		return 0, fmt.Errorf("%d bytes to %d connections", size, len(s.conns))
	}
	return size / int64(len(s.conns)), nil
}

// publish sends as fast as the connections take it, with a window of messages
// in flight, and returns messages a second and CPU microseconds a message.
func (s *site) publish(ctx context.Context, d time.Duration, window int64, payload any) (rate, cpu float64, err error) {
	size, err := s.frameBytes(ctx, payload)
	if err != nil {
		return 0, 0, err
	}
	each := size * int64(len(s.conns))
	base := s.received.Load()
	sent := int64(0)
	began, spent := time.Now(), cpuTime()
	for time.Since(began) < d {
		if err := s.nodes[0].Room(room).Send(ctx, "news", payload); err != nil {
			return 0, 0, err
		}
		sent++
		if err := s.until(base + (sent-window)*each); err != nil {
			return 0, 0, err
		}
	}
	if err := s.until(base + sent*each); err != nil {
		return 0, 0, err
	}
	took, used := time.Since(began), cpuTime()-spent
	return float64(sent) / took.Seconds(), float64(used.Microseconds()) / float64(sent), nil
}

// resident is this process's memory, in bytes.
func resident() (int64, error) {
	f, err := os.Open("/proc/self/statm")
	if err != nil {
		return 0, err
	}
	defer f.Close() //nolint:errcheck // read only
	var size, pages int64
	if _, err := fmt.Fscan(io.LimitReader(f, 100), &size, &pages); err != nil {
		return 0, err
	}
	return pages * int64(os.Getpagesize()), nil
}
