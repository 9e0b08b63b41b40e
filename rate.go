package polywire

import (
	"errors"
	"sync"
	"time"
)

// bucket is a token bucket. now is on the watch's clock, perhaps of a while ago.
type bucket struct {
	tokens float64
	last   time.Duration
}

func (b *bucket) allows(perSecond float64, burst int, now time.Duration) bool {
	if now > b.last {
		b.tokens = min(float64(burst), b.tokens+perSecond*(now-b.last).Seconds())
		b.last = now
	}
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// rate bounds the messages of one link. The reading goroutine uses it.
type rate struct {
	srv *Server
	bucket
}

func newRate(s *Server) *rate {
	return &rate{s, bucket{tokens: float64(s.now().MessageBurst), last: s.watch.now()}}
}

// allows takes a token, if there is one.
func (r *rate) allows() bool {
	cfg := r.srv.now()
	return cfg.MessageRate == 0 || r.bucket.allows(cfg.MessageRate, cfg.MessageBurst, r.srv.watch.now())
}

// userLimit is what a user's connections share on this server.
type userLimit struct {
	user  string
	conns int // under the lock of admissions

	mu sync.Mutex
	bucket
}

// allows takes a token for a message, if there is one.
func (u *userLimit) allows(cfg *config, now time.Duration) bool {
	if cfg.UserMessageRate == 0 {
		return true
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.bucket.allows(cfg.UserMessageRate, cfg.UserMessageBurst, now)
}

// maxPaced bounds the addresses whose last connections are known. Where there
// are more, all others count as one.
const maxPaced = 1 << 16

// acceptance is when connections came lately.
type acceptance struct {
	all    bucket
	byAddr map[string]*bucket
	swept  time.Duration
}

// allows notes a connection from addr, if it does not come too soon.
func (a *acceptance) allows(cfg *config, addr string, now time.Duration) bool {
	if cfg.AcceptRatePerAddress > 0 && !a.of(cfg, addr, now).allows(cfg.AcceptRatePerAddress, cfg.AcceptBurstPerAddress, now) {
		return false
	}
	return cfg.AcceptRate == 0 || a.all.allows(cfg.AcceptRate, cfg.AcceptBurst, now)
}

// of returns the bucket of an address.
func (a *acceptance) of(cfg *config, addr string, now time.Duration) *bucket {
	if b := a.byAddr[addr]; b != nil {
		return b
	}
	if a.byAddr == nil {
		a.byAddr = make(map[string]*bucket)
	}
	if len(a.byAddr) >= maxPaced {
		if now-a.swept > time.Second {
			a.sweep(cfg, now)
		}
		if len(a.byAddr) >= maxPaced {
			addr = ""
		}
	}
	b := a.byAddr[addr]
	if b == nil {
		b = &bucket{tokens: float64(cfg.AcceptBurstPerAddress), last: now}
		a.byAddr[addr] = b
	}
	return b
}

// sweep forgets those that are full again.
func (a *acceptance) sweep(cfg *config, now time.Duration) {
	a.swept = now
	for addr, b := range a.byAddr {
		if b.tokens+cfg.AcceptRatePerAddress*(now-b.last).Seconds() >= float64(cfg.AcceptBurstPerAddress) {
			delete(a.byAddr, addr)
		}
	}
}

// pace makes an option of a rate and its burst.
func pace(what string, perSecond float64, burst int, set func(c *config)) LiveOption {
	return liveOption{set: func(c *config) error {
		if (perSecond != 0 || burst != 0) && (!(perSecond > 0) || burst < 1) {
			return errors.New(what + " must be positive, its burst at least 1; or both zero")
		}
		set(c)
		return nil
	}}
}

// WithMessageRate bounds the messages that one link may send: so many a
// second in the long run, and burst at once. One more closes it with
// [CloseTooManyRequests]. Default 0, 0: no limit.
func WithMessageRate(perSecond float64, burst int) LiveOption {
	return pace("a message rate", perSecond, burst, func(c *config) { c.MessageRate, c.MessageBurst = perSecond, burst })
}

// WithUserMessageRate bounds the requests (messages, calls, room operations)
// that the connections of one user may send together to this server. One more
// closes the connection that sends it with [CloseTooManyRequests]. Connections
// without a user are not bounded by it. Default 0, 0: no limit.
func WithUserMessageRate(perSecond float64, burst int) LiveOption {
	return pace("a message rate", perSecond, burst, func(c *config) { c.UserMessageRate, c.UserMessageBurst = perSecond, burst })
}

// WithAcceptRate bounds how fast connections may come: so many a second in the
// long run, and burst at once. One more is refused as by [WithMaxConnections].
// Default 0, 0: no limit.
func WithAcceptRate(perSecond float64, burst int) LiveOption {
	return pace("an accept rate", perSecond, burst, func(c *config) {
		c.AcceptRate, c.AcceptBurst = perSecond, burst
	})
}

// WithAcceptRatePerAddress is [WithAcceptRate] for the connections of one
// address; see [WithMaxConnections] for what that is. Default 0, 0: no limit.
func WithAcceptRatePerAddress(perSecond float64, burst int) LiveOption {
	return pace("an accept rate", perSecond, burst, func(c *config) {
		c.AcceptRatePerAddress, c.AcceptBurstPerAddress = perSecond, burst
	})
}
