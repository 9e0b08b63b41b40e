package transporttest

import (
	"errors"
	"io"
	"net"
	"runtime"

	"github.com/polywire/polywire/transport"
)

func ended(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }

func isClosed(err error) bool { return errors.Is(err, net.ErrClosed) }

func (t *trial) asCloseError(err error) *transport.CloseError {
	t.Helper()
	var ce *transport.CloseError
	if !errors.As(err, &ce) {
		t.Fatalf("%v is not a CloseError", err)
	}
	return ce
}

func faultChecks() []check {
	return []check{
		{"message over the limit", nil, checkOverLimit},
		{"text that is not UTF-8", nil, checkUTF8},
	}
}

// checkOverLimit: one byte too many is refused by the sender's framer, or
// found by the receiver, for good.
func checkOverLimit(t *trial) {
	a, b := t.open()
	checkViolation(t, a, b, filled(transport.Binary, t.features.limit()+1, 1), transport.CloseTooBig)
}

// checkUTF8: text that is not text never arrives.
func checkUTF8(t *trial) {
	for _, text := range []string{"\xff", "abc\xc3", "\xed\xa0\x80", "\xf4\x90\x80\x80", "ok \xc0\xaf"} {
		a, b := t.open()
		checkViolation(t, a, b, message{transport.Text, []byte(text)}, transport.CloseInvalidPayload)
	}
}

// checkViolation sends a good message and a bad one.
func checkViolation(t *trial, a, b transport.Conn, bad message, code uint16) {
	t.Helper()
	good := t.message(transport.Text, 10, 1)
	w := transport.NewWriter(a.Framer(), t.frames(a.Framer(), good))
	refused := w.Frame(bad.typ, bad.data) != nil
	wait := t.background(func() error { return a.Write(w.Bytes()) }) // fails when nobody reads to the end
	t.expect(b, good)
	if refused {
		if err := wait(); err != nil {
			t.Fatal(err)
		}
		t.nothing(b)
		return
	}
	for range 2 {
		if got := t.closeError(b); !got.Local || got.Code != code {
			t.Fatalf("received %+v, want a local error of code %d", *got, code)
		}
	}
	a.Close()
	_ = wait()
}

func sleeperChecks() []check {
	return []check{
		{"interrupt before wait", nil, checkInterruptBefore},
		{"interrupt during wait", nil, checkInterruptDuring},
		{"interrupt loses nothing", nil, checkInterruptLosesNothing},
		{"idle", nil, checkIdle},
		{"idle during a frame", wholeFrames, checkIdlePartial},
	}
}

func (t *trial) sleeper(c transport.Conn) transport.Sleeper {
	t.Helper()
	s, ok := c.(transport.Sleeper)
	if !ok {
		t.Skip("the transport is no Sleeper")
	}
	return s
}

// checkInterruptBefore: the next Wait that would block does not.
func checkInterruptBefore(t *trial) {
	a, b := t.open()
	s := t.sleeper(b)
	for i := range 20 {
		t.nothing(b)
		s.Interrupt()
		if err := b.Wait(); !errors.Is(err, transport.ErrInterrupted) {
			t.Fatalf("Wait: %v, want %v", err, transport.ErrInterrupted)
		}
		m := t.message(transport.Text, 100*i, i)
		wait := t.sending(a, m)
		t.expect(b, m)
		wait()
	}
}

// checkInterruptDuring: a Wait that blocks ends.
func checkInterruptDuring(t *trial) {
	a, b := t.open()
	s := t.sleeper(b)
	for i := range 100 {
		waiting := t.background(b.Wait)
		for range i % 10 {
			runtime.Gosched()
		}
		s.Interrupt()
		if err := waiting(); !errors.Is(err, transport.ErrInterrupted) {
			t.Fatalf("Wait: %v, want %v", err, transport.ErrInterrupted)
		}
	}
	m := t.message(transport.Text, 100, 1)
	wait := t.sending(a, m)
	t.expect(b, m)
	wait()
}

// checkInterruptLosesNothing: interrupts between the parts of frames harm none.
func checkInterruptLosesNothing(t *trial) {
	a, b := t.open()
	s := t.sleeper(b)
	var messages []message
	for i := range 300 {
		messages = append(messages, t.message(transport.Binary, (i*i*31)%min(6000, t.features.limit()), i))
	}
	wait := t.writing(func() error { return sendHalves(a, messages, t.features.WholeFrames) })
	waits := make(chan struct{}, 1)
	interrupting := t.background(func() error {
		for range waits {
			s.Interrupt()
		}
		return nil
	})
	defer func() {
		close(waits)
		_ = interrupting()
	}()
	for i := 0; i < len(messages); {
		f, ok, err := b.Next()
		if ok {
			t.same(f, messages[i])
			i++
			continue
		}
		if err == nil {
			select {
			case waits <- struct{}{}:
			default:
			}
			err = b.Wait()
		}
		if err != nil && !errors.Is(err, transport.ErrInterrupted) {
			t.Fatalf("before frame %d: %v", i, err)
		}
	}
	wait()
	t.nothing(b)
}

// sendHalves writes each frame in two parts.
func sendHalves(c transport.Conn, messages []message, whole bool) error {
	for _, m := range messages {
		w := transport.NewWriter(c.Framer(), nil)
		if err := w.Frame(m.typ, m.data); err != nil {
			return err
		}
		all := w.Bytes()
		half := len(all) / 2
		if whole {
			half = 0
		}
		for _, part := range [][]byte{all[:half], all[half:]} {
			if err := c.Write(part); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkIdle: a quiet connection that says it can be watched gives what to
// watch, one with frames to decode says no, and both go on as before.
func checkIdle(t *trial) {
	a, b := t.open()
	s := t.sleeper(b)
	for i := range 5 {
		if raw, ok := s.Idle(); ok && raw == nil {
			t.Fatal("Idle: nothing to watch")
		}
		one, two := t.message(transport.Text, 50, i), t.message(transport.Binary, 60, i)
		all := t.frames(a.Framer(), one, two)
		wait := t.writing(func() error { return a.Write(all) })
		t.expect(b, one)
		_, idle := s.Idle()
		f, ok, err := b.Next()
		if err != nil || ok && idle {
			t.Fatalf("Idle reported %v with a frame to decode: %v, %v", idle, ok, err)
		}
		if ok {
			t.same(f, two)
		} else {
			t.expect(b, two)
		}
		wait()
	}
}

// checkIdlePartial: a connection with a part of a frame cannot be left alone.
func checkIdlePartial(t *trial) {
	a, b := t.open()
	s := t.sleeper(b)
	m := t.message(transport.Binary, 1000, 1)
	all := t.frames(a.Framer(), m)
	for _, split := range []int{1, 2, 10, len(all) - 1} {
		first := t.background(func() error { return a.Write(all[:split]) })
		if err := b.Wait(); err != nil {
			t.Fatal(err)
		}
		t.nothing(b)
		if _, idle := s.Idle(); idle {
			t.Fatalf("Idle reported true with %d bytes of a frame", split)
		}
		wait := t.writing(func() error {
			if err := first(); err != nil {
				return err
			}
			return a.Write(all[split:])
		})
		t.expect(b, m)
		wait()
	}
}
