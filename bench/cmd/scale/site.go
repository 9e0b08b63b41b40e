package main

import (
	"bufio"
	"bytes"
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
	"github.com/polywire/polywire/bench/internal/tool"
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
	received atomic.Int64 // messages
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
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		errs = append(errs, s.engine.Shutdown(ctx))
	}
	return errors.Join(errs...)
}

// connect opens connections to a node and puts them into the room.
func (s *site) connect(ctx context.Context, node, n int) error {
	before := s.nodes[node].Stats().Connections
	for range n {
		nc, err := dial(ctx, s.urls[node])
		if err != nil {
			return err
		}
		s.conns = append(s.conns, nc)
		s.readers.Go(func() { s.drain(nc) })
	}
	for end := time.Now().Add(time.Minute); s.nodes[node].Stats().Connections < before+n; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return errors.New("connections are missing")
		}
	}
	return s.nodes[node].All().Local().Join(ctx, room)
}

func dial(ctx context.Context, addr string) (net.Conn, error) {
	nc, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(nc, "GET /polywire HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: polywire.v1.json\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReaderSize(nc, 16), nil) //nolint:bodyclose // there is none when protocols are switched
	if err == nil && resp.StatusCode != http.StatusSwitchingProtocols {
		err = fmt.Errorf("answered with %s", resp.Status)
	}
	if err != nil {
		return nil, errors.Join(err, nc.Close())
	}
	return nc, nil
}

// drain counts the messages that come: each has one brace that opens.
func (s *site) drain(nc net.Conn) {
	buf := make([]byte, 4<<10)
	for {
		n, err := nc.Read(buf)
		s.received.Add(int64(bytes.Count(buf[:n], []byte("{"))))
		if err != nil {
			return
		}
	}
}

// until waits for what the connections have received.
func (s *site) until(messages int64) error {
	for end := time.Now().Add(time.Minute); s.received.Load() < messages; time.Sleep(20 * time.Microsecond) {
		if time.Now().After(end) {
			return fmt.Errorf("%d of %d messages have come", s.received.Load(), messages)
		}
	}
	return nil
}

// settle sends until each connection has got a message: interests may not be
// known everywhere yet.
func (s *site) settle(ctx context.Context, payload any) error {
	for end := time.Now().Add(time.Minute); ; {
		before := s.received.Load()
		if err := s.nodes[0].Room(room).Send(ctx, "news", payload); err != nil {
			return err
		}
		time.Sleep(200 * time.Millisecond)
		if got := s.received.Load() - before; got == int64(len(s.conns)) {
			return nil
		} else if time.Now().After(end) {
			return fmt.Errorf("%d of %d connections get messages", got, len(s.conns))
		}
	}
}

// publish sends as fast as the connections take it, with a window of messages
// in flight, and returns messages a second and CPU microseconds a message.
func (s *site) publish(ctx context.Context, d time.Duration, window int64, payload any) (rate, cpu float64, err error) {
	if err := s.settle(ctx, payload); err != nil {
		return 0, 0, err
	}
	each := int64(len(s.conns))
	base := s.received.Load()
	sent := int64(0)
	began, spent := time.Now(), tool.CPU()
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
	took, used := time.Since(began), tool.CPU()-spent
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
