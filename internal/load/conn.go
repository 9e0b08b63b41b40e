package load

import (
	"bytes"
	"fmt"
	"strings"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/polywire/polywire/transport"
)

// conn is one connection. All but count belongs to the goroutine in serve,
// and after that to whoever waited for it.
type conn struct {
	r     *runner
	nc    socket
	index int

	left    []byte     // start of a frame that has not come whole
	sent    []request  // echo: by slot
	seen    uint64     // broadcast: deliveries so far; echo on a wire without ids: answers so far
	latency *histogram // nil: not measured
	checked bool       // an answer's payload has been compared
	failed  bool
	pings   uint64  // answered
	paced   *paced  // Steady; else nil
	poll    *poller // long polling; nc is the socket that its answers come on

	count atomic.Uint64 // answers or deliveries so far
}

// request is one of the requests in flight. Its slot can be told from its id:
// ids are never used twice.
type request struct {
	id uint64
	at int64
}

// serve reads until the run ends or the connection does. It is interrupted by
// a deadline when it is time to send the first requests, and at the end.
func (c *conn) serve() error {
	if c.poll != nil {
		return c.servePolls()
	}
	err := c.early()
	if err == nil {
		err = c.pump()
	}
	if p := phase(c.r.phase.Load()); isTimeout(err) && (p == warming || p == measuring) {
		if !c.resume() {
			return nil
		}
		if err = c.begin(); err == nil {
			err = c.pump()
		}
	}
	return c.ended(err)
}

// ended notes how the connection did.
func (c *conn) ended(err error) error {
	c.failed = err != nil && !isTimeout(err)
	if c.failed {
		c.close() // at once: its descriptor is of no use, and the server may want to know
	}
	return err
}

// interrupt makes its waits and blocked writes end.
func (c *conn) interrupt() {
	_ = c.nc.SetDeadline(time.Unix(1, 0))
	if c.poll != nil {
		_ = c.poll.posts.nc.SetDeadline(time.Unix(1, 0))
	}
}

// resume is the opposite of interrupt. It reports false when the run is over:
// the interruption that it has just undone may have been the one that said so.
func (c *conn) resume() bool {
	_ = c.nc.SetDeadline(time.Time{})
	if c.poll != nil {
		_ = c.poll.posts.nc.SetDeadline(time.Time{})
	}
	return phase(c.r.phase.Load()) != stopping
}

func (c *conn) close() {
	_ = c.nc.Close()
	if c.poll != nil {
		_ = c.poll.posts.nc.Close()
	}
}

// early handles what came together with the opening.
func (c *conn) early() error {
	used, err := c.batch(c.left)
	c.left = c.left[used:]
	return err
}

// begin sends the first requests.
func (c *conn) begin() error {
	if c.r.cfg.Mode == Broadcast && c.index != 0 {
		return nil
	}
	buf := c.r.buffers.get()
	defer c.r.buffers.put(buf)
	out, now := (*buf)[:0], c.r.now()
	for slot := range c.r.cfg.Window {
		out = c.request(out, slot, now)
	}
	_, err := c.nc.Write(out)
	return err
}

// request appends the next request of a slot.
func (c *conn) request(dst []byte, slot int, now int64) []byte {
	var id uint64
	if c.sent == nil {
		c.r.news.send(now)
	} else {
		s := &c.sent[slot]
		if s.id == 0 {
			s.id = uint64(slot) + 1
		} else {
			s.id += uint64(len(c.sent))
		}
		s.at, id = now, s.id
	}
	start := len(dst)
	dst = c.r.framing.begin(dst)
	dst = c.r.wire.appendRequest(dst, id)
	return c.r.framing.end(dst, start, c.r.wire.frameType())
}

// batch handles all whole frames in data, in place, sends what is to be sent
// because of them in one write, and returns how much it has used.
func (c *conn) batch(data []byte) (used int, err error) {
	var out []byte
	if c.drives() {
		buf := c.r.buffers.get()
		out = (*buf)[:0]
		defer func() {
			*buf = out[:cap(out)]
			c.r.buffers.put(buf)
		}()
	}
	out, used, err = c.frames(out, data)
	if err == nil && len(out) > 0 {
		_, err = c.nc.Write(out)
	}
	return used, err
}

// frames takes the whole frames in data and appends what they call for to out.
// One reading of the clock does for all of them.
func (c *conn) frames(out, data []byte) (_ []byte, used int, err error) {
	var (
		now    = c.r.now()
		timed  = c.latency != nil && phase(c.r.phase.Load()) == measuring
		drives = c.drives()
		done   uint64
	)
	for {
		f, n, err := c.r.framing.next(data[used:])
		if err != nil {
			return out, used, err
		}
		if n == 0 {
			break
		}
		used += n
		if f.Type.Control() {
			if out, err = c.control(out, f); err != nil {
				return out, used, err
			}
			continue
		}
		class, id := c.r.wire.classify(f)
		if class == heartbeat {
			c.pings++
			start := len(out)
			out = c.r.wire.appendPong(c.r.framing.begin(out), f.Data)
			out = c.r.framing.end(out, start, f.Type)
			continue
		}
		counts, slot, err := c.message(f, class, id, now, timed)
		if err != nil {
			return out, used, err
		}
		if !counts {
			continue
		}
		done++
		if drives {
			out = c.request(out, slot, now)
		}
	}
	if done > 0 {
		c.count.Add(done)
	}
	return out, used, nil
}

// drives reports whether this connection sends a request for each answer.
func (c *conn) drives() bool {
	return c.r.cfg.Mode == Echo || (c.r.cfg.Mode == Broadcast && c.index == 0)
}

func (c *conn) control(out []byte, f transport.Frame) ([]byte, error) {
	switch f.Type {
	case transport.Close:
		return out, closedBy(f)
	case transport.Ping:
		c.pings++
		start := len(out)
		out = append(c.r.framing.begin(out), f.Data...)
		return c.r.framing.end(out, start, transport.Pong), nil
	}
	return out, nil
}

// readable is the text in a frame of any form, for people.
func readable(b []byte) string {
	text := strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) && r != utf8.RuneError {
			return r
		}
		return ' '
	}, string(b[:min(len(b), 200)]))
	return strings.Join(strings.Fields(text), " ")
}

// message takes note of a text or binary frame: whether it counts, and the
// slot that is free because of it.
func (c *conn) message(f transport.Frame, class class, id uint64, now int64, timed bool) (counts bool, slot int, err error) {
	if class == unrelated || c.r.cfg.Mode >= Idle {
		return false, 0, nil
	}
	if class == failure {
		return false, 0, failed(f)
	}
	if !c.checked {
		if err := c.r.check(f); err != nil {
			return false, 0, err
		}
		c.checked = true
	}
	if c.paced != nil {
		return true, 0, c.answered(id, now)
	}
	if c.sent == nil {
		if d, ok := c.r.news.since(c.seen, now); ok && timed {
			c.latency.record(d)
		}
		c.seen++
		return true, 0, nil
	}
	if slot, err = c.slot(id); err != nil {
		return false, 0, err
	}
	if timed {
		c.latency.record(now - c.sent[slot].at)
	}
	c.seen++
	return true, slot, nil
}

// check looks for the payload in an answer.
func (r *runner) check(f transport.Frame) error {
	if !bytes.Contains(f.Data, r.wire.body()) {
		return fmt.Errorf("an answer without what was sent: %.200q", f.Data)
	}
	return nil
}

// slot finds the request that an answer belongs to. Wires without ids answer in order.
func (c *conn) slot(id uint64) (int, error) {
	n := uint64(len(c.sent))
	if id == 0 {
		return int(c.seen % n), nil
	}
	slot := int((id - 1) % n)
	if c.sent[slot].id != id {
		return 0, errUnasked
	}
	return slot, nil
}
