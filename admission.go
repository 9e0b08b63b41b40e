package polywire

import (
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// admissions counts connections, in all and where their number is limited.
type admissions struct {
	mu      sync.Mutex
	total   int
	opening atomic.Int64 // links that are nobody's yet
	byAddr  map[string]int
	byUser  map[string]*userLimit
	accept  acceptance
}

func errTooMany(what string) *Error {
	return Errorf(CodeTooManyRequests, "too many connections %s", what)
}

// check says whether one more connection from addr could come, now.
func (s *Server) check(addr string) error {
	a := &s.limits
	a.mu.Lock()
	defer a.mu.Unlock()
	if s.leaving.Load() {
		return Errorf(CodeUnavailable, "shutting down")
	}
	if err := a.full(s.now(), addr); err != nil {
		return err
	}
	if !a.accept.allows(s.now(), addr, s.watch.now()) {
		return errTooMany("at once")
	}
	return nil
}

func (a *admissions) full(cfg *config, addr string) error {
	if cfg.MaxConnections > 0 && a.total >= cfg.MaxConnections {
		return errTooMany("to this server")
	}
	if cfg.MaxOpening > 0 && a.opening.Load() >= int64(cfg.MaxOpening) {
		return errTooMany("are being opened")
	}
	if cfg.MaxConnectionsPerAddress > 0 && a.byAddr[addr] >= cfg.MaxConnectionsPerAddress {
		return errTooMany("from this address")
	}
	return nil
}

// add counts a link; dialled ones are not limited.
func (a *admissions) add(cfg *config, addr string, l *link) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if l.dial == nil {
		if err := a.full(cfg, addr); err != nil {
			return err
		}
	}
	a.total++
	a.opening.Add(1)
	if cfg.MaxConnectionsPerAddress > 0 {
		if a.byAddr == nil {
			a.byAddr = make(map[string]int)
		}
		a.byAddr[addr]++
		l.perAddr = true
	}
	return nil
}

// admitUser counts a user's connection, if there is room for it. Nil: nothing counts it.
func (s *Server) admitUser(user string) (u *userLimit, ok bool) {
	cfg := s.now()
	most := cfg.MaxConnectionsPerUser
	if user == "" || most == 0 && cfg.UserMessageRate == 0 {
		return nil, true
	}
	a := &s.limits
	a.mu.Lock()
	defer a.mu.Unlock()
	if u = a.byUser[user]; u == nil {
		if a.byUser == nil {
			a.byUser = make(map[string]*userLimit)
		}
		u = &userLimit{user: user, bucket: bucket{tokens: float64(cfg.UserMessageBurst), last: s.watch.now()}}
		a.byUser[user] = u
	}
	if most > 0 && u.conns >= most {
		return nil, false
	}
	u.conns++
	return u, true
}

func (a *admissions) remove(addr string, l *link) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.total--
	if l.perAddr { // there was a limit when it came
		down(a.byAddr, addr)
	}
}

func (a *admissions) removeUser(u *userLimit) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if u.conns--; u.conns == 0 {
		delete(a.byUser, u.user)
	}
}

func down(counts map[string]int, key string) {
	if n, ok := counts[key]; ok && n > 1 {
		counts[key] = n - 1
	} else {
		delete(counts, key)
	}
}

// refuseHTTP answers a request for which there is no room, before any upgrade.
func (s *Server) refuseHTTP(w http.ResponseWriter, r *http.Request, wireName, reason string, err *Error) {
	s.refused(wireName, httpAddr(r.RemoteAddr), reason, err)
	seconds := (s.now().RetryAfter + time.Second - 1) / time.Second
	w.Header().Set("Retry-After", strconv.Itoa(int(seconds)))
	http.Error(w, err.Message, http.StatusServiceUnavailable)
}

// hostOf returns what the limits for an address count by.
func hostOf(a net.Addr) string {
	switch t := a.(type) {
	case nil:
		return ""
	case *net.TCPAddr:
		return hostKey(t.AddrPort().Addr())
	}
	return addressOf(a.String())
}

// addressOf is hostOf for an address in writing, with or without a port.
func addressOf(s string) string {
	if at, err := netip.ParseAddrPort(s); err == nil {
		return hostKey(at.Addr())
	}
	if a, err := netip.ParseAddr(s); err == nil {
		return hostKey(a)
	}
	return s
}

// hostKey names a host: by its address, or its network where hosts are given
// whole ones (RFC 6177).
func hostKey(a netip.Addr) string {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.String()
		}
	}
	return a.String()
}
