// Package badnet has a TCP proxy that plays a bad network in tests: slow, cut,
// or a hole in which everything vanishes.
package badnet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

const (
	chunkBytes  = 16 << 10
	chunks      = 16 // that are on their way in one direction of a connection
	dialTimeout = 5 * time.Second
)

// mode is what the network does.
type mode int

const (
	open mode = iota
	cut
	hole
)

// Proxy passes on what comes to its address. All methods may be called at any
// time, from many goroutines.
type Proxy struct {
	l    net.Listener
	goes sync.WaitGroup

	mu      sync.Mutex
	target  string
	mode    mode
	delay   time.Duration
	changed chan struct{} // closed, and made anew, with each change
	pairs   map[*pair]struct{}
	closed  bool
}

// Listen returns a proxy for a TCP address, on a free port of the loopback.
func Listen(target string) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("badnet: %w", err)
	}
	p := &Proxy{l: l, target: target, changed: make(chan struct{}), pairs: make(map[*pair]struct{})}
	p.goes.Go(p.accept)
	return p, nil
}

// Addr is where the proxy is, as host:port.
func (p *Proxy) Addr() string { return p.l.Addr().String() }

// SetTarget sets where new connections go.
func (p *Proxy) SetTarget(address string) {
	p.change(func() { p.target = address })
}

// Delay makes everything come so much later, in both directions; 0 ends that.
// It does not make the network narrower.
func (p *Proxy) Delay(d time.Duration) {
	p.change(func() { p.delay = d })
}

// Cut resets all connections, and those that come, until Resume.
func (p *Proxy) Cut() {
	for _, c := range p.change(func() { p.mode = cut }) {
		c.end()
	}
}

// BlackHole lets nothing through until Resume: connections stay open, new ones
// are taken, and nobody hears anything. What was said comes when it is over.
func (p *Proxy) BlackHole() {
	p.change(func() { p.mode = hole })
}

// Resume makes the network good again, without a delay too.
func (p *Proxy) Resume() {
	p.change(func() { p.mode, p.delay = open, 0 })
}

// Connections returns how many connections to the target there are.
func (p *Proxy) Connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.pairs)
}

// Close ends the proxy and all connections. No goroutine is left when it returns.
func (p *Proxy) Close() error {
	pairs := p.change(func() { p.mode, p.closed = cut, true })
	err := p.l.Close()
	for _, c := range pairs {
		c.end()
	}
	p.goes.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// change changes something, and returns the connections that there are.
func (p *Proxy) change(f func()) []*pair {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
	close(p.changed)
	p.changed = make(chan struct{})
	all := make([]*pair, 0, len(p.pairs))
	for c := range p.pairs {
		all = append(all, c)
	}
	return all
}

func (p *Proxy) accept() {
	for {
		nc, err := p.l.Accept()
		if err != nil {
			return
		}
		c := &pair{near: nc, dead: make(chan struct{})}
		if !p.add(c) {
			c.end()
			continue
		}
		p.goes.Go(func() { p.serve(c) })
	}
}

// add takes a connection, unless the network is cut.
func (p *Proxy) add(c *pair) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mode == cut {
		return false
	}
	p.pairs[c] = struct{}{}
	return true
}

func (p *Proxy) serve(c *pair) {
	defer func() {
		c.end()
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.pairs, c)
	}()
	if !p.pass(time.Now(), c.dead) {
		return
	}
	p.mu.Lock()
	target := p.target
	p.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	go func() {
		select {
		case <-c.dead:
			cancel()
		case <-ctx.Done():
		}
	}()
	far, err := new(net.Dialer).DialContext(ctx, "tcp", target)
	cancel()
	if err != nil || !c.connected(far) {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { p.pump(c, c.near, far) })
	both.Go(func() { p.pump(c, far, c.near) })
	both.Wait()
}

// pass waits until what came at a time may go on. It returns false when the
// connection ends before.
func (p *Proxy) pass(came time.Time, dead <-chan struct{}) bool {
	for {
		p.mu.Lock()
		in, wait, changed := p.mode, time.Until(came.Add(p.delay)), p.changed
		p.mu.Unlock()
		switch {
		case in == cut:
			return false
		case in == hole:
			wait = time.Hour
		case wait <= 0:
			return true
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-changed:
		case <-dead:
			timer.Stop()
			return false
		}
		timer.Stop()
	}
}

// chunk is what was read at once, nothing at the stream's end.
type chunk struct {
	came time.Time
	data []byte
}

// pump carries one direction of a connection.
func (p *Proxy) pump(c *pair, from, to net.Conn) {
	way := make(chan chunk, chunks)
	var reading sync.WaitGroup
	reading.Go(func() {
		defer close(way)
		for {
			data := make([]byte, chunkBytes)
			n, err := from.Read(data)
			if err != nil && !errors.Is(err, io.EOF) {
				c.end()
				return
			}
			select {
			case way <- chunk{time.Now(), data[:n]}:
			case <-c.dead:
				return
			}
			if err != nil {
				return
			}
		}
	})
	defer reading.Wait()
	for some := range way {
		if !p.pass(some.came, c.dead) {
			c.end()
			return
		}
		if len(some.data) > 0 {
			if _, err := to.Write(some.data); err != nil {
				c.end()
				return
			}
		}
	}
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite() // or it has gone already
	}
}

// pair is a connection on both sides of the proxy.
type pair struct {
	near net.Conn
	dead chan struct{}

	mu  sync.Mutex
	far net.Conn
	out bool
}

// connected notes the far side. It returns false if the near one has gone.
func (c *pair) connected(far net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.far = far
	if c.out {
		reset(far)
	}
	return !c.out
}

// end resets both sides.
func (c *pair) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.out {
		return
	}
	c.out = true
	close(c.dead)
	reset(c.near)
	if c.far != nil {
		reset(c.far)
	}
}

// reset closes a connection without a farewell.
func reset(nc net.Conn) {
	if t, ok := nc.(*net.TCPConn); ok {
		_ = t.SetLinger(0) // it is closed in any case
	}
	_ = nc.Close()
}
