package polywire

import (
	"net/http"
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
	byUser  map[string]int
}

func errTooMany(what string) *Error {
	return Errorf(CodeTooManyRequests, "too many connections %s", what)
}

// check says whether one more connection from addr could come.
func (a *admissions) check(cfg *config, addr string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.full(cfg, addr)
}

func (a *admissions) full(cfg *config, addr string) error {
	if cfg.MaxConnections > 0 && a.total >= cfg.MaxConnections {
		return errTooMany("to this server")
	}
	if cfg.MaxOpening > 0 && a.opening.Load() >= int64(cfg.MaxOpening) {
		return errTooMany("are being opened")
	}
	if cfg.MaxConnectionsPerAddr > 0 && a.byAddr[addr] >= cfg.MaxConnectionsPerAddr {
		return errTooMany("from this address")
	}
	return nil
}

// add counts a connection; dialled ones are not limited.
func (a *admissions) add(cfg *config, addr string, dialled bool) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !dialled {
		if err := a.full(cfg, addr); err != nil {
			return err
		}
	}
	a.total++
	a.opening.Add(1)
	if cfg.MaxConnectionsPerAddr > 0 {
		if a.byAddr == nil {
			a.byAddr = make(map[string]int)
		}
		a.byAddr[addr]++
	}
	return nil
}

// admitUser counts a user's connection, if there is room for it.
func (s *Server) admitUser(user string) bool {
	limit := s.cfg.MaxConnectionsPerUser
	if limit == 0 || user == "" {
		return true
	}
	a := &s.limits
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.byUser[user] >= limit {
		return false
	}
	if a.byUser == nil {
		a.byUser = make(map[string]int)
	}
	a.byUser[user]++
	return true
}

func (a *admissions) remove(addr string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.total--
	down(a.byAddr, addr)
}

func (a *admissions) removeUser(user string) {
	if user == "" {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	down(a.byUser, user)
}

func down(counts map[string]int, key string) {
	if n, ok := counts[key]; ok && n > 1 {
		counts[key] = n - 1
	} else {
		delete(counts, key)
	}
}

// refuseHTTP answers a request for which there is no room, before any upgrade.
func (s *Server) refuseHTTP(w http.ResponseWriter, message string) {
	s.counters.refused.Add(1)
	seconds := (s.cfg.RetryAfter + time.Second - 1) / time.Second
	w.Header().Set("Retry-After", strconv.Itoa(int(seconds)))
	http.Error(w, message, http.StatusServiceUnavailable)
}
