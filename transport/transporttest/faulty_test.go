package transporttest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/transport/stream"
)

// faulty is a good link until one of its functions is replaced.
type faulty struct {
	next      func() (transport.Frame, bool, error)
	wait      func() error
	detach    func() func()
	write     func(...[]byte) error
	framer    faultyFramer
	close     func() error
	interrupt func()
	idle      func() (syscall.RawConn, bool)
}

type faultyFramer struct {
	transport.Framer
	end    func([]byte, int, transport.FrameType) ([]byte, error)
	format func() string
}

func newFaulty(c *stream.Conn) *faulty {
	f := c.Framer()
	return &faulty{c.Next, c.Wait, c.Detach, c.Write, faultyFramer{f, f.End, f.Format}, c.Close, c.Interrupt, c.Idle}
}

func (f *faulty) Next() (transport.Frame, bool, error) { return f.next() }
func (f *faulty) Wait() error                          { return f.wait() }
func (f *faulty) Detach() func()                       { return f.detach() }
func (f *faulty) Write(b ...[]byte) error              { return f.write(b...) }
func (f *faulty) Framer() transport.Framer             { return f.framer }
func (f *faulty) Close() error                         { return f.close() }
func (f *faulty) Interrupt()                           { f.interrupt() }
func (f *faulty) Idle() (syscall.RawConn, bool)        { return f.idle() }

func (f faultyFramer) End(dst []byte, start int, t transport.FrameType) ([]byte, error) {
	return f.end(dst, start, t)
}

func (f faultyFramer) Format() string { return f.format() }

// faults has a way to break each rule, and the check that finds it.
var faults = []struct {
	name, check string
	spoil       func(*faulty)
}{
	{"empty messages are lost", "messages of all sizes", func(f *faulty) {
		next := f.next
		f.next = func() (transport.Frame, bool, error) {
			for {
				if fr, ok, err := next(); !ok || len(fr.Data) > 0 {
					return fr, ok, err
				}
			}
		}
	}},
	{"pongs are kept back", "control frames", func(f *faulty) {
		next := f.next
		f.next = func() (transport.Frame, bool, error) {
			for {
				if fr, ok, err := next(); fr.Type != transport.Pong {
					return fr, ok, err
				}
			}
		}
	}},
	{"next blocks", "next without data", func(f *faulty) {
		next, wait := f.next, f.wait
		f.next = func() (transport.Frame, bool, error) {
			for {
				if fr, ok, err := next(); ok || err != nil {
					return fr, ok, err
				}
				if err := wait(); err != nil {
					return transport.Frame{}, false, err
				}
			}
		}
	}},
	{"one frame a read", "several frames in one write", func(f *faulty) {
		next, detach := f.next, f.detach
		f.next = func() (transport.Frame, bool, error) {
			fr, ok, err := next()
			if ok {
				fr.Data = slices.Clone(fr.Data)
				for more := true; more; {
					_, more, _ = next()
				}
				detach()()
			}
			return fr, ok, err
		}
	}},
	{"only the first slice is written", "frames in many slices of one write", func(f *faulty) {
		write := f.write
		f.write = func(b ...[]byte) error { return write(b[:min(1, len(b))]...) }
	}},
	{"writes of one byte are lost", "a frame in many writes", func(f *faulty) {
		write := f.write
		f.write = func(b ...[]byte) error {
			if len(b) == 1 && len(b[0]) == 1 {
				return nil
			}
			return write(b...)
		}
	}},
	{"write changes the bytes", "written bytes stay the caller's", func(f *faulty) {
		write := f.write
		f.write = func(b ...[]byte) error {
			err := write(b...)
			clear(b[0])
			return err
		}
	}},
	{"the framer drops what is before", "framer appends", func(f *faulty) {
		end := f.framer.end
		f.framer.end = func(dst []byte, start int, t transport.FrameType) ([]byte, error) {
			out, err := end(dst, start, t)
			return out[start:], err
		}
	}},
	{"the framer cuts control frames", "framer refuses long control frames", func(f *faulty) {
		end := f.framer.end
		f.framer.end = func(dst []byte, start int, t transport.FrameType) ([]byte, error) {
			if t.Control() {
				dst = dst[:min(len(dst), start+5+125)]
			}
			return end(dst, start, t)
		}
	}},
	{"every link has its own format", "shared format", func(f *faulty) {
		f.framer.format = func() string { return fmt.Sprintf("%p", f) }
	}},
	{"the format is secret", "shared format", func(f *faulty) {
		f.framer.format = func() string { return "" }
	}},
	{"detach leaves nothing", "detach", func(f *faulty) {
		f.detach = func() func() { return func() {} }
	}},
	{"detach forgets what is behind", "detach between frames of one write", func(f *faulty) {
		next, detach := f.next, f.detach
		f.detach = func() func() {
			release := detach()
			for more := true; more; {
				_, more, _ = next()
			}
			return release
		}
	}},
	{"reading excludes writing", "both directions at once", func(f *faulty) {
		wait, write, turn := f.wait, f.write, make(chan struct{}, 1)
		f.wait = func() error {
			turn <- struct{}{}
			defer func() { <-turn }()
			return wait()
		}
		f.write = func(b ...[]byte) error {
			turn <- struct{}{}
			defer func() { <-turn }()
			return write(b...)
		}
	}},
	{"writes are queued without end", "back-pressure", func(f *faulty) {
		f.write = func(...[]byte) error { return nil }
	}},
	{"close does not end a write", "close ends a blocked write", func(f *faulty) {
		write := f.write
		f.write = func(b ...[]byte) error { _ = write(b...); return nil }
	}},
	{"a write to nobody succeeds", "write after the peer's close", func(f *faulty) {
		write := f.write
		f.write = func(b ...[]byte) error { _ = write(b...); return nil }
	}},
	{"memory for what is claimed", "an announced frame costs nothing", func(f *faulty) {
		wait, claimed := f.wait, []byte(nil)
		f.wait = func() error {
			claimed = append([]byte(nil), make([]byte, 1<<20)...)
			err := wait()
			runtime.KeepAlive(claimed)
			return err
		}
	}},
	{"the close reason is lost", "close frame", func(f *faulty) {
		f.alterCloseError(func(ce *transport.CloseError) error { ce.Reason = ""; return ce })
	}},
	{"a close frame is an end like any other", "close frame", func(f *faulty) {
		f.alterCloseError(func(*transport.CloseError) error { return io.EOF })
	}},
	{"a violation is the peer's", "message over the limit", func(f *faulty) {
		f.alterCloseError(func(ce *transport.CloseError) error { ce.Local = false; return ce })
	}},
	{"errors do not stay", "text that is not UTF-8", func(f *faulty) {
		had := false
		f.alterCloseError(func(ce *transport.CloseError) error {
			if had {
				return nil
			}
			had = true
			return ce
		})
	}},
	{"the peer's end is our own", "close", func(f *faulty) { f.alterEnd(io.EOF, net.ErrClosed) }},
	{"our own end is the peer's", "close ends wait", func(f *faulty) { f.alterEnd(net.ErrClosed, io.EOF) }},
	{"close does nothing", "close ends wait", func(f *faulty) {
		f.close = func() error { return nil }
	}},
	{"an early interrupt is ignored", "interrupt before wait", func(f *faulty) {
		wait, interrupt := f.wait, f.interrupt
		var waiting atomic.Bool
		f.wait = func() error {
			waiting.Store(true)
			defer waiting.Store(false)
			return wait()
		}
		f.interrupt = func() {
			if waiting.Load() {
				interrupt()
			}
		}
	}},
	{"an interrupt ends the link", "interrupt during wait", func(f *faulty) {
		f.interrupt = func() { f.close() }
	}},
	{"an interrupt costs a frame", "interrupt loses nothing", func(f *faulty) {
		wait, next, lose := f.wait, f.next, false
		f.wait = func() error {
			err := wait()
			lose = lose || errors.Is(err, transport.ErrInterrupted)
			return err
		}
		f.next = func() (transport.Frame, bool, error) {
			fr, ok, err := next()
			if ok && lose {
				lose = false
				return next()
			}
			return fr, ok, err
		}
	}},
	{"always idle", "idle", func(f *faulty) { f.idle = alwaysIdle }},
	{"idle during a frame", "idle during a frame", func(f *faulty) { f.idle = alwaysIdle }},
}

func alwaysIdle() (syscall.RawConn, bool) { return struct{ syscall.RawConn }{}, true }

func (f *faulty) alterCloseError(alter func(*transport.CloseError) error) {
	next := f.next
	f.next = func() (transport.Frame, bool, error) {
		fr, ok, err := next()
		if ce, ok := errors.AsType[*transport.CloseError](err); ok {
			err = alter(ce)
		}
		return fr, ok, err
	}
}

func (f *faulty) alterEnd(from, to error) {
	wait := f.wait
	f.wait = func() error {
		err := wait()
		if errors.Is(err, from) {
			return to
		}
		return err
	}
}

// TestFaultsAreFound runs the checks on links that break a rule.
func TestFaultsAreFound(t *testing.T) {
	for _, fault := range faults {
		t.Run(fault.name, func(t *testing.T) {
			all := checks()
			i := slices.IndexFunc(all, func(c check) bool { return c.name == fault.check })
			if i < 0 {
				t.Fatalf("there is no check %q", fault.check)
			}
			synctest.Test(t, func(t *testing.T) {
				failures := attempt(t, all[i], fault.spoil)
				if len(failures) == 0 {
					t.Errorf("%q finds nothing", fault.check)
				}
				t.Log(strings.Join(failures, "\n"))
			})
		})
	}
}

// TestEveryCheckHasAFault keeps the table whole. What is missing in it needs a
// race to fail, or is found by other checks as well.
func TestEveryCheckHasAFault(t *testing.T) {
	without := []string{"concurrent framing", "detach during a frame", "the peer's close ends a blocked write"}
	for _, c := range checks() {
		found := slices.Contains(without, c.name)
		for _, fault := range faults {
			found = found || fault.check == c.name
		}
		if !found {
			t.Errorf("no fault shows that %q can fail", c.name)
		}
	}
}

// attempt returns what a check says about faulty links.
func attempt(t *testing.T, c check, spoil func(*faulty)) []string {
	r := &recorder{TB: t}
	var good []*stream.Conn
	open := func() (transport.Conn, transport.Conn) {
		ncA, ncB := ConnPair(0)
		a, b := stream.New(ncA, stream.Options{}), stream.New(ncB, stream.Options{})
		good = append(good, a, b)
		fa, fb := newFaulty(a), newFaulty(b)
		spoil(fa)
		spoil(fb)
		time.AfterFunc(2*patience, func() { a.Close(); b.Close() }) // some cannot close
		return fa, fb
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		perform(r, c, Features{SharedFormat: true}, open)
	}()
	<-done
	for _, f := range slices.Backward(r.cleanups) {
		f()
	}
	for _, c := range good {
		c.Close()
	}
	return r.failures
}

// recorder is a testing.TB that notes failures of what must fail.
type recorder struct {
	testing.TB
	failures []string
	cleanups []func()
}

func (r *recorder) Helper() {}

func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }

func (r *recorder) Errorf(format string, args ...any) {
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

func (r *recorder) Error(args ...any) { r.Errorf("%s", fmt.Sprint(args...)) }

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

func (r *recorder) Fatal(args ...any) { r.Fatalf("%s", fmt.Sprint(args...)) }
