package polywire

import "github.com/polywire/polywire/transport"

// lookSoon makes the link look at the clock when the first of all that it
// watches may be due.
func (l *link) lookSoon() {
	cfg := &l.srv.cfg
	first := min(cfg.SleepAfter, cfg.HeartbeatInterval, cfg.HeartbeatTimeout, cfg.WriteTimeout, cfg.CloseTimeout)
	l.srv.wheel.Move(&l.timer, l.srv.wheel.In(first))
}

// Due is the link's look at the clock: see [wheel.Timed].
func (l *link) Due(now uint32) uint32 {
	cfg := &l.srv.cfg
	if by := l.closeBy.Load(); by != 0 {
		if now >= by {
			l.kill(&CloseError{Code: CloseConnectionClosed, Reason: "the peer did not close"})
			return 0
		}
		return by
	}
	if l.phase.Load() == phaseOpening {
		return l.opening(now)
	}
	if since := l.out.writingSince(); since != 0 && now-since >= l.srv.wheel.Ticks(cfg.WriteTimeout) {
		l.kill(&CloseError{Code: CloseWriteError, Reason: "a write took too long"})
		return 0
	}
	if l.held.Load() { // its answers wait behind what it has sent
		l.lastRead.Store(now)
		if l.pinged.Load() != 0 {
			l.pinged.Store(now)
		}
		l.lastBeat.Store(now)
	}
	next, alive := l.heartbeat(now)
	if !alive {
		return l.closeBy.Load()
	}
	next = min(next, l.drowse(now))
	if l.out.writingSince() != 0 {
		next = min(next, now+1)
	}
	l.eachConn(func(c *Conn) {
		if call := c.giveUp(now); call != 0 {
			next = min(next, call)
		}
		if by := c.outlived(now); by != 0 {
			next = min(next, by)
		}
	})
	if by := l.closeBy.Load(); by != 0 {
		return by
	}
	return max(next, now+1)
}

// opening is Due for a link that is nobody's yet.
func (l *link) opening(now uint32) uint32 {
	if now >= l.authorize {
		why := &CloseError{Code: CloseStale, Reason: "no hello in time"}
		if l.multi != nil {
			why.Reason = reasonServerClose
		}
		l.close(why)
		return l.closeBy.Load()
	}
	if !l.paced {
		return l.authorize
	}
	next, alive := l.heartbeat(now)
	if !alive {
		return l.closeBy.Load()
	}
	return max(min(next, l.authorize), now+1)
}

// heartbeat makes sure of the peer, and returns when to do it again. It has
// ended the link of one that is gone.
func (l *link) heartbeat(now uint32) (next uint32, alive bool) {
	if l.paced {
		return l.prescribed(now)
	}
	// A quiet peer is pinged.
	cfg := &l.srv.cfg
	last := l.lastRead.Load()
	quiet := now - min(last, now)
	interval, timeout := l.srv.wheel.Ticks(cfg.HeartbeatInterval), l.srv.wheel.Ticks(cfg.HeartbeatTimeout)
	if pinged := l.pinged.Load(); pinged != 0 {
		if last >= pinged {
			l.pinged.Store(0)
		} else if now-pinged >= timeout {
			// The peer is most likely gone: do not wait as for one that is there.
			l.closeBy.CompareAndSwap(0, now+2)
			l.close(&CloseError{Code: CloseNoPong, Reason: reasonPingTimeout})
			return 0, false
		}
	} else if quiet >= interval {
		l.pinged.Store(now)
		l.sendControl(transport.Ping, nil)
	}
	if pinged := l.pinged.Load(); pinged != 0 {
		return pinged + timeout, true
	}
	return last + interval, true
}

// prescribed is the heartbeat as the transport wants it.
func (l *link) prescribed(now uint32) (next uint32, alive bool) {
	beat := l.t.(transport.Heart).Heartbeat() //nolint:forcetypeassert // that is what paced says
	interval, timeout := l.srv.wheel.Ticks(beat.Interval), l.srv.wheel.Ticks(beat.Timeout)
	last := l.lastBeat.Load()
	due := last + interval
	pinged := l.pinged.Load()
	switch {
	case beat.Unanswered:
		if now >= due {
			l.lastBeat.Store(now)
			l.sendControl(transport.Ping, nil)
			due = now + interval
		}
		return due, true
	case beat.Expected:
		due += timeout
		if now < due {
			return due, true
		}
	case pinged == 0 && now < due:
		return due, true
	case pinged == 0:
		l.pinged.Store(now)
		l.sendControl(transport.Ping, nil)
		return now + timeout, true
	case now-pinged < timeout:
		return pinged + timeout, true
	}
	// Such transports say nothing to a peer that is gone.
	l.closeBy.CompareAndSwap(0, now+1)
	l.kill(&CloseError{Code: CloseNoPong, Reason: reasonPingTimeout})
	return 0, false
}

// beat notes a heartbeat of the peer's, where they are prescribed: its pong,
// or the ping that this side expects.
func (l *link) beat() {
	now := l.srv.wheel.Now()
	l.lastBeat.Store(now)
	if l.pinged.Swap(0) != 0 {
		// The timer was set for the end of the wait.
		beat := l.t.(transport.Heart).Heartbeat() //nolint:forcetypeassert // that is what paced says
		l.srv.wheel.Sooner(&l.timer, now+l.srv.wheel.Ticks(beat.Interval))
	}
}

// drowse interrupts the reader of a link that has been quiet for long enough
// to sleep, and returns when to look again.
func (l *link) drowse(now uint32) (next uint32) {
	if l.asleep.Load() || l.dial != nil {
		return now + farAhead
	}
	last := l.lastRead.Load()
	after := l.srv.wheel.Ticks(l.srv.cfg.SleepAfter)
	if now-min(last, now) < after {
		return last + after
	}
	if l.sleepless.Load() != last {
		l.interrupt()
	}
	return now + after
}

// farAhead is later than anything else that is due, in ticks.
const farAhead = 1 << 20
