package polywire

import "time"

// rate is a token bucket for the messages of one link. The reading goroutine
// uses it.
type rate struct {
	srv    *Server
	tokens float64
	last   time.Duration // on the watch's clock
}

func newRate(s *Server) *rate {
	return &rate{srv: s, tokens: float64(s.cfg.MessageBurst), last: s.watch.now()}
}

// allows takes a token, if there is one.
func (r *rate) allows() bool {
	cfg := &r.srv.cfg
	if now := r.srv.watch.now(); now > r.last {
		r.tokens = min(float64(cfg.MessageBurst), r.tokens+cfg.MessageRate*(now-r.last).Seconds())
		r.last = now
	}
	if r.tokens < 1 {
		return false
	}
	r.tokens--
	return true
}
