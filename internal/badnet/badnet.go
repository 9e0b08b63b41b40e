// Package badnet is a bad network for tests: a TCP proxy on the loopback that
// delays, narrows, cuts and swallows what goes through it.
package badnet

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// Proxy passes TCP connections on to a target. Its methods may be called from
// any goroutine.
type Proxy struct {
	listener net.Listener
	ctx      context.Context //nolint:containedctx // ends with the proxy
	end      context.CancelFunc
	goes     sync.WaitGroup

	mu     sync.Mutex
	target string
	delay  time.Duration
	rate   int // bytes a second and direction; 0: any
	cut    bool
	flows  chan struct{} // closed while bytes flow
	holed  bool
	conns  map[net.Conn]struct{} // both ends of each
	pairs  int
}

// New returns a proxy for a target, host:port. Close it.
func New(target string) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{listener: l, target: target, flows: make(chan struct{}), conns: make(map[net.Conn]struct{})}
	close(p.flows)
	p.ctx, p.end = context.WithCancel(context.Background())
	p.goes.Go(p.accept)
	return p, nil
}

// Addr is host:port of the proxy.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Target sets where connections that come from now on are passed on to.
func (p *Proxy) Target(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = target
}

// Delay makes every byte that is sent from now on arrive so much later, in
// both directions. Order stays.
func (p *Proxy) Delay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// Throttle lets so many bytes through in a second, for each connection and
// direction; 0 is as many as come.
func (p *Proxy) Throttle(bytesPerSecond int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rate = bytesPerSecond
}

// Cut resets all connections, and each new one at once, until Resume.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = true
	for c := range p.conns {
		reset(c)
	}
}

// BlackHole lets nothing through until Resume: connections stay open, new ones
// are accepted and say nothing. What was sent meanwhile arrives after Resume,
// as TCP would send it again, unless its connection has ended.
func (p *Proxy) BlackHole() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.holed {
		p.holed, p.flows = true, make(chan struct{})
	}
}

// Resume ends Cut and BlackHole. A delay stays, and so does a throttle.
func (p *Proxy) Resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = false
	if p.holed {
		p.holed = false
		close(p.flows)
	}
}

// Conns returns how many connections go through now.
func (p *Proxy) Conns() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pairs
}

// Close ends all connections, and returns when no goroutine is left.
func (p *Proxy) Close() {
	p.end()
	_ = p.listener.Close()
	p.mu.Lock()
	for c := range p.conns {
		_ = c.Close()
	}
	p.mu.Unlock()
	p.goes.Wait()
}

// reset closes a connection in a way that its peer notices as an error.
func reset(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = c.Close()
}

func (p *Proxy) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return // closed
		}
		p.goes.Go(func() { p.serve(c) })
	}
}

// keep takes note of a connection, and reports whether it may live.
func (p *Proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut || p.ctx.Err() != nil {
		reset(c)
		return false
	}
	p.conns[c] = struct{}{}
	return true
}

func (p *Proxy) drop(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
	_ = c.Close()
}

// pass waits while nothing flows, and reports whether the proxy goes on.
func (p *Proxy) pass() bool {
	for {
		p.mu.Lock()
		flows, holed := p.flows, p.holed
		p.mu.Unlock()
		if !holed {
			return p.ctx.Err() == nil
		}
		select {
		case <-flows:
		case <-p.ctx.Done():
			return false
		}
	}
}

func (p *Proxy) serve(c net.Conn) {
	if !p.keep(c) {
		return
	}
	defer p.drop(c)
	if !p.pass() {
		return
	}
	p.mu.Lock()
	target := p.target
	p.mu.Unlock()
	var d net.Dialer
	t, err := d.DialContext(p.ctx, "tcp", target)
	if err != nil {
		reset(c)
		return
	}
	if !p.keep(t) {
		reset(c)
		return
	}
	defer p.drop(t)
	p.count(1)
	defer p.count(-1)
	var both sync.WaitGroup
	both.Go(func() { p.flow(c, t) })
	both.Go(func() { p.flow(t, c) })
	both.Wait()
}

func (p *Proxy) count(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pairs += n
}

// A direction holds so many chunks of so many bytes on their way.
const (
	chunks     = 256
	chunkBytes = 16 << 10
)

// chunk is bytes and when they are due.
type chunk struct {
	data []byte
	due  time.Time
}

// flow carries one direction until it ends.
func (p *Proxy) flow(from, to net.Conn) {
	way := make(chan chunk, chunks)
	broken := make(chan struct{})
	var arrive sync.WaitGroup
	arrive.Go(func() {
		defer close(broken)
		for c := range way {
			if p.until(c.due); !p.pass() {
				return
			}
			if _, err := to.Write(c.data); err != nil {
				reset(from)
				return
			}
			p.until(time.Now().Add(p.takes(len(c.data))))
		}
	})
	err := p.collect(from, way, broken)
	close(way)
	arrive.Wait()
	if errors.Is(err, io.EOF) {
		if t, ok := to.(*net.TCPConn); ok {
			_ = t.CloseWrite()
		}
		return
	}
	reset(to)
}

// until waits for a time, unless the proxy ends.
func (p *Proxy) until(due time.Time) {
	wait := time.Until(due)
	if wait <= 0 {
		return
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
	case <-p.ctx.Done():
	}
}

// takes is how long so many bytes keep a direction busy.
func (p *Proxy) takes(n int) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.rate <= 0 {
		return 0
	}
	return min(time.Duration(n)*time.Second/time.Duration(p.rate), time.Second) // more, if it came before the throttle
}

// room is how much to take at once: a tenth of a second's worth at most.
func (p *Proxy) room() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.rate <= 0 {
		return chunkBytes
	}
	return min(max(p.rate/10, 1), chunkBytes)
}

// collect reads until the connection ends.
func (p *Proxy) collect(from net.Conn, way chan<- chunk, broken <-chan struct{}) error {
	buf := make([]byte, chunkBytes)
	for {
		if !p.pass() {
			return context.Cause(p.ctx)
		}
		n, err := from.Read(buf[:p.room()])
		if n > 0 {
			p.mu.Lock()
			due := time.Now().Add(p.delay)
			p.mu.Unlock()
			select {
			case way <- chunk{append([]byte(nil), buf[:n]...), due}:
			case <-broken:
				return net.ErrClosed
			}
		}
		if err != nil {
			return err
		}
	}
}
