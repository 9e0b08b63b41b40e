package polywire

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Namespace is a part of the server with handlers, rooms and connections of
// its own, on wires that have such parts (Socket.IO). The main one is "/": the
// server's own methods are about it, and connections of all other wires are in it.
type Namespace struct {
	srv   *Server
	name  string
	mux   *Mux
	rooms *rooms
	use   []Middleware
	admit []func(ctx context.Context, h *Handshake) error

	handler Handler // set when the server starts

	// A template makes a namespace for each name that matches; see [Server.NamespaceFunc].
	match    func(name string, h *Handshake) bool
	template *Namespace // that this one was made by

	mu    sync.Mutex
	conns map[*Conn]struct{} // not for the main one: the server's table has them
}

const mainNamespace = "/"

func errInvalidNamespace() error { return &Error{Code: CodeNotFound, Message: "Invalid namespace"} }

// spaces are the server's namespaces.
type spaces struct {
	mu        sync.RWMutex
	main      *Namespace
	named     map[string]*Namespace
	templates []*Namespace
}

func newNamespace(s *Server, name string, shards int) *Namespace {
	n := &Namespace{srv: s, name: name, mux: NewMux(), rooms: newRooms(shards), conns: make(map[*Conn]struct{})}
	n.rooms.peopled = func(room string, on bool) {
		if s.node != nil {
			s.node.interest(n, room, on)
		}
	}
	return n
}

// canonical returns a namespace's name with the slash that it begins with.
func canonical(name string) string {
	if strings.HasPrefix(name, "/") {
		return name
	}
	return "/" + name
}

// Namespace returns the namespace of a name, made on the first call. A missing
// slash at the beginning is added; "/" is the main one. It stays for the
// server's life, also while nobody is in it.
func (s *Server) Namespace(name string) *Namespace {
	name = canonical(name)
	if name == mainNamespace {
		return s.spaces.main
	}
	s.spaces.mu.Lock()
	defer s.spaces.mu.Unlock()
	n := s.spaces.named[name]
	if n == nil || n.template != nil { // from now on it stays
		kept := n
		n = newNamespace(s, name, smallShards)
		if kept != nil {
			kept.template, n = nil, kept
		}
		s.spaces.named[name] = n
		if s.State() != StateNew && n.handler == nil {
			n.handler = s.wrapped(n)
		}
	}
	return n
}

// NamespaceFunc returns a template: when a peer wants to connect to a namespace
// that does not exist, templates are asked in the order of their making, and
// the first whose match says yes makes it, with the template's handlers,
// middleware and doorkeepers. Such a namespace is gone with its last
// connection. What is sent to a target of the template goes to all namespaces
// that it has made. match must be quick; it may be called from many goroutines.
func (s *Server) NamespaceFunc(match func(name string, h *Handshake) bool) *Namespace {
	n := newNamespace(s, "", 1)
	n.match = match
	s.spaces.mu.Lock()
	defer s.spaces.mu.Unlock()
	s.spaces.templates = append(s.spaces.templates, n)
	return n
}

// Name returns the name, with its slash; it is empty for a template.
func (n *Namespace) Name() string { return n.name }

// Handle registers a handler; see [Server.Handle].
func (n *Namespace) Handle(pattern string, h Handler) {
	before := n.mux.Err()
	n.mux.Handle(pattern, h)
	n.srv.kinds.add(pattern)
	if err := n.mux.Err(); n.srv.State() != StateNew && before == nil && err != nil {
		n.srv.reportError(nil, err)
	}
}

// kinds are the names that handlers of all namespaces have, so that a message's
// need not be made anew each time.
type kinds struct {
	mu    sync.Mutex // for writers
	names atomic.Pointer[map[string]string]
}

func (k *kinds) add(name string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	names := make(map[string]string)
	if old := k.names.Load(); old != nil {
		names = maps.Clone(*old)
	}
	names[name] = name
	k.names.Store(&names)
}

// intern returns b as a string, without allocating for a name that there is.
func (k *kinds) intern(b []byte) string {
	if names := k.names.Load(); names != nil {
		if name, ok := (*names)[string(b)]; ok {
			return name
		}
	}
	return string(b)
}

// Use adds middleware inside of the server's own. Call it before the server
// starts, or before anybody connects to a namespace that is made later.
func (n *Namespace) Use(mw ...Middleware) {
	n.use = append(n.use, mw...)
	if n.handler != nil {
		n.handler = n.srv.wrapped(n)
	}
}

// Admit adds doorkeepers: each connection is shown to them in turn, after the
// server's [Authenticator] has let it in. An error refuses it; the peer sees
// the message and details of an *[Error], and of any other only that it was
// refused. Call it before the server starts.
func (n *Namespace) Admit(f ...func(ctx context.Context, h *Handshake) error) {
	n.admit = append(n.admit, f...)
}

// All targets every connection in the namespace.
func (n *Namespace) All() Target { return Target{srv: n.srv, ns: n} }

// Room targets the members of a room.
func (n *Namespace) Room(name string) Target {
	return Target{srv: n.srv, ns: n, rooms: []string{name}}
}

// To targets the members of several rooms, each member once.
func (n *Namespace) To(rooms ...string) Target {
	return Target{srv: n.srv, ns: n, rooms: slices.Clone(rooms), listed: len(rooms) == 0}
}

// Rooms returns the names of all rooms that have members, sorted.
func (n *Namespace) Rooms() []string { return n.rooms.names() }

// Namespace returns where the connection is. On wires without namespaces that
// is the main one.
func (c *Conn) Namespace() *Namespace { return c.ns }

// Resumed reports whether the connection continues a session, with its rooms,
// its values and the messages that it had missed; see [WithSessions].
func (c *Conn) Resumed() bool { return c.shared != nil && c.shared.resumed }

// guarded reports whether somebody must be asked before a peer comes in.
func (s *Server) guarded(name string) bool {
	if name == mainNamespace {
		return len(s.spaces.main.admit) > 0
	}
	s.spaces.mu.RLock()
	defer s.spaces.mu.RUnlock()
	if n := s.spaces.named[name]; n != nil {
		return len(n.admit) > 0
	}
	return len(s.spaces.templates) > 0
}

// anyDoorkeeper reports whether somebody wants to see who knocks.
func (s *Server) anyDoorkeeper() bool {
	return slices.ContainsFunc(s.everyNamespace(), func(n *Namespace) bool { return len(n.admit) > 0 || n.match != nil })
}

// authorized asks the authenticator and the doorkeepers of the namespace.
func (s *Server) authorized(ctx context.Context, h *Handshake, c *Conn) (id *Identity, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = s.panickedIn("authentication", p)
		}
	}()
	if s.cfg.auth != nil {
		if id, err = s.cfg.auth(ctx, h); err != nil {
			return nil, err
		}
		c.mu.Lock()
		c.identity = id // for the doorkeepers
		c.mu.Unlock()
	}
	for _, ask := range c.ns.admit {
		if err := ask(ctx, h); err != nil {
			return nil, err
		}
	}
	return id, nil
}

// enter puts a connection into the namespace that it wants, which a template
// makes if it has to; it is no member there before it is open. Nil: there is no
// such namespace.
func (s *Server) enter(h *Handshake, c *Conn) *Namespace {
	if h.Namespace == mainNamespace {
		return s.spaces.main
	}
	s.spaces.mu.RLock()
	n, templates := s.spaces.named[h.Namespace], s.spaces.templates
	s.spaces.mu.RUnlock()
	var by *Namespace
	if n == nil || n.template != nil {
		i := slices.IndexFunc(templates, func(t *Namespace) bool { return t.match(h.Namespace, h) })
		if i < 0 && n == nil {
			return nil
		}
		if i >= 0 {
			by = templates[i]
		}
	}
	s.spaces.mu.Lock()
	defer s.spaces.mu.Unlock()
	if n = s.spaces.named[h.Namespace]; n == nil {
		if by == nil {
			return nil // it has gone just now, and its template wants no more
		}
		n = newNamespace(s, h.Namespace, 1)
		n.template, n.mux, n.handler, n.admit = by, by.mux, by.handler, by.admit
		s.spaces.named[h.Namespace] = n
	}
	n.mu.Lock()
	n.conns[c] = struct{}{}
	n.mu.Unlock()
	return n
}

// leave takes a connection out; a namespace that a template made goes with the
// last one.
func (n *Namespace) leave(c *Conn) {
	if n.name == mainNamespace {
		return
	}
	s := n.srv
	s.spaces.mu.Lock()
	defer s.spaces.mu.Unlock()
	n.mu.Lock()
	delete(n.conns, c)
	empty := len(n.conns) == 0
	n.mu.Unlock()
	if empty && n.template != nil && s.spaces.named[n.name] == n {
		delete(s.spaces.named, n.name)
	}
}

// members calls f for every open connection of the namespace. f must not
// block, or end a connection.
func (n *Namespace) members(f func(*Conn)) {
	if n.name == mainNamespace {
		n.srv.eachConn(func(c *Conn) {
			if c.ns == n {
				f(c)
			}
		})
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.conns {
		if c.phase.Load() == phaseOpen {
			f(c)
		}
	}
}

// made returns the namespaces that a template has made, and any other itself.
func (n *Namespace) made() []*Namespace {
	if n.match == nil {
		return []*Namespace{n}
	}
	s := n.srv
	s.spaces.mu.RLock()
	defer s.spaces.mu.RUnlock()
	var all []*Namespace
	for _, other := range s.spaces.named {
		if other.template == n {
			all = append(all, other)
		}
	}
	return all
}

// populated returns how many rooms have members, and how many those are.
func (s *spaces) populated() (rooms, members int) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	rooms, members = s.main.rooms.size()
	for _, n := range s.named {
		moreRooms, moreMembers := n.rooms.size()
		rooms, members = rooms+moreRooms, members+moreMembers
	}
	return rooms, members
}

// everyNamespace returns all that have handlers: the main one, those with
// names, and the templates.
func (s *Server) everyNamespace() []*Namespace {
	s.spaces.mu.RLock()
	defer s.spaces.mu.RUnlock()
	all := []*Namespace{s.spaces.main}
	for _, n := range s.spaces.named {
		all = append(all, n)
	}
	return append(all, s.spaces.templates...)
}

// wrapped returns a namespace's handlers behind its middleware, the pipes and
// the server's middleware.
func (s *Server) wrapped(n *Namespace) Handler {
	h := n.mux.Handler()
	for _, wrap := range slices.Backward(n.use) {
		h = wrap(h)
	}
	return s.around(h)
}

// around returns a handler behind the pipes and the server's middleware.
func (s *Server) around(h Handler) Handler {
	for _, p := range slices.Backward(s.pipes) {
		h = p.Handler(h)
	}
	for _, wrap := range slices.Backward(s.use) {
		h = wrap(h)
	}
	return h
}

// muxErrs returns what was wrong with the registrations of all namespaces.
func (s *Server) muxErrs() error {
	var errs []error
	for _, n := range s.everyNamespace() {
		errs = append(errs, n.mux.Err())
	}
	return errors.Join(errs...)
}
