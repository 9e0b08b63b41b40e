package socketio

import (
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/polywire/polywire/transport/engineio"
	"github.com/polywire/polywire/wire"
)

// Doors returns one door: Engine.IO at the path, whose sessions are told apart
// for as long as the door is in use.
func (p *Protocol) Doors() []wire.Door {
	d := &door{p: p, v5: p.dialect(5, false, ""), v4: p.dialect(4, false, "")}
	return []wire.Door{{Path: p.path, HTTP: d.serveHTTP, Continues: d.continues}}
}

// Check returns what is wrong with the options, nil if nothing is.
func (p *Protocol) Check() error {
	switch {
	case p.parser != JSON && p.parser != Msgpack:
		return fmt.Errorf("socketio: there is no %s", p.parser)
	case p.transports < PollingFirst || p.transports > PollingOnly:
		return errors.New("socketio: unknown transports to dial")
	case p.dialVersion != 4 && p.dialVersion != 5:
		return fmt.Errorf("socketio: there is no protocol %d to dial", p.dialVersion)
	}
	o := p.engine
	o.Accept = func(*engineio.Conn, *http.Request) error { return nil }
	_, err := engineio.NewServer(o)
	return err
}

// door keeps the sessions of one server.
type door struct {
	p      *Protocol
	v5, v4 *dialect

	once   sync.Once
	engine atomic.Pointer[engineio.Server] // nil before the first request
	err    error                           // why there will be none
}

// open makes the engine for the first request, with the limits of the server
// that the door belongs to.
func (d *door) open(host wire.Host) {
	limits := host.Limits()
	o := d.p.engine
	o.NoV3 = o.NoV3 || d.p.noV3
	o.PingInterval, o.PingTimeout = limits.HeartbeatInterval, limits.HeartbeatTimeout
	o.MaxPayloadBytes, o.MaxFragments = limits.MessageBytes, limits.Fragments
	o.HandshakeTimeout = limits.HandshakeTimeout
	if o.AllowOrigin == nil {
		o.AllowOrigin = host.AllowOrigin
	}
	o.Accept = func(c *engineio.Conn, r *http.Request) error { return host.Attach(d.link(host, c, r)) }
	engine, err := engineio.NewServer(o)
	if err != nil {
		d.err = err
		return
	}
	d.engine.Store(engine)
}

// link makes the link of a session. In version 4 to open one is to be in the
// main namespace.
func (d *door) link(host wire.Host, c *engineio.Conn, r *http.Request) wire.Link {
	l := wire.Link{Transport: c, Request: r, Namespaces: true, Arguments: true}
	if c.Version() == 3 {
		id := c.ID()
		l.Session = d.v4.session(host, id, c)
		l.Hello = &wire.Packet{Type: wire.Hello, Namespace: mainNamespace, Key: id}
		return l
	}
	l.Session = d.v5.session(host, "", c)
	return l
}

func (d *door) serveHTTP(host wire.Host, w http.ResponseWriter, r *http.Request) {
	d.once.Do(func() { d.open(host) })
	if d.err != nil {
		http.Error(w, "the server is not configured correctly", http.StatusInternalServerError)
		return
	}
	d.engine.Load().ServeHTTP(w, r)
}

// continues reports whether a request belongs to a session.
func (d *door) continues(r *http.Request) bool {
	engine := d.engine.Load()
	return engine != nil && engine.Continues(r)
}
