package transporttest

import (
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/polywire/polywire/transport"
)

func flowChecks() []check {
	return []check{
		{"both directions at once", nil, checkDuplex},
		{"back-pressure", nil, checkBackPressure},
		{"close ends a blocked write", nil, func(t *trial) { checkBlockedWrite(t, false) }},
		{"the peer's close ends a blocked write", nil, func(t *trial) { checkBlockedWrite(t, true) }},
		{"an announced frame costs nothing", cannotAnnounce, checkAnnounced},
	}
}

// checkDuplex: an end writes more than the link holds while it reads as much.
func checkDuplex(t *trial) {
	a, b := t.open()
	const count = 200
	messages := func(seed int) (all []message) {
		for i := range count {
			all = append(all, t.message(transport.Binary, 20000, seed+i))
		}
		return all
	}
	there, back := messages(1), messages(2)
	waitA, waitB := t.sending(a, there...), t.sending(b, back...)
	received := t.background(func() error {
		for range count {
			if _, err := receive(a); err != nil {
				return err
			}
		}
		return nil
	})
	t.expect(b, there...)
	if err := received(); err != nil {
		t.Fatal(err)
	}
	waitA()
	waitB()
}

// floodBytes is more than any link may hold.
const floodBytes = 64 << 20

// flood writes to a link whose other end does not read.
type flood struct {
	frameBytes int
	stop       atomic.Bool // it ends with a text frame then
	sent       atomic.Int64
	done       chan error
}

func (t *trial) flood(c transport.Conn) *flood {
	t.Helper()
	m := t.message(transport.Binary, 32<<10, 0)
	all, end := t.frames(c.Framer(), m), t.frames(c.Framer(), t.message(transport.Text, 3, 0))
	f := &flood{frameBytes: len(m.data), done: make(chan error, 1)}
	go func() {
		for n := 0; n < floodBytes && !f.stop.Load(); n += len(all) {
			if err := c.Write(all); err != nil {
				f.done <- err
				return
			}
			f.sent.Add(1)
		}
		f.done <- c.Write(end)
	}()
	return f
}

// blocked returns when the flood seems to stand still. It may be wrong about a
// slow one, which harms nobody; it fails when the flood was taken as a whole.
func (t *trial) blocked(f *flood) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	last, still := int64(-1), 0
	for still < 5 {
		select {
		case err := <-f.done:
			t.Fatalf("%d frames of %d bytes were written while nobody read, then: %v", f.sent.Load(), f.frameBytes, err)
		case <-tick.C:
		}
		if n := f.sent.Load(); n == last {
			still++
		} else {
			last, still = n, 0
		}
	}
}

// checkBackPressure: Write blocks while the peer does not read, and nothing is
// lost by that.
func checkBackPressure(t *trial) {
	a, b := t.open()
	f := t.flood(a)
	t.blocked(f)
	f.stop.Store(true)
	received := int64(0)
	for {
		frame, err := receive(b)
		if err != nil {
			t.Fatalf("after %d frames: %v", received, err)
		}
		if frame.Type == transport.Text {
			break
		}
		if len(frame.Data) != f.frameBytes {
			t.Fatalf("received %d bytes of %d", len(frame.Data), f.frameBytes)
		}
		received++
	}
	if err := <-f.done; err != nil {
		t.Fatal(err)
	}
	if sent := f.sent.Load(); sent != received {
		t.Fatalf("received %d frames of %d", received, sent)
	}
}

// checkBlockedWrite: a Write that waits for the peer ends when the link does.
func checkBlockedWrite(t *trial, byPeer bool) {
	a, b := t.open()
	f := t.flood(a)
	t.blocked(f)
	if byPeer {
		b.Close()
	} else {
		a.Close()
	}
	if err := <-f.done; err == nil {
		t.Fatal("Write succeeded after the end of the link")
	}
}

func cannotAnnounce(f Features) bool { return f.WholeFrames || f.limit() < 256<<10 }

// checkAnnounced: a frame whose header has come, but not its payload, takes
// memory for what has come.
func checkAnnounced(t *trial) {
	a, b := t.open()
	small, big := t.message(transport.Text, 10, 1), t.message(transport.Binary, t.features.limit(), 2)
	wait := t.sending(a, small)
	t.expect(b, small)
	wait()

	all := t.frames(a.Framer(), big)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for _, part := range [][]byte{all[:64], all[64:65]} {
		wait := t.writing(func() error { return a.Write(part) })
		if err := b.Wait(); err != nil {
			t.Fatal(err)
		}
		t.nothing(b)
		wait()
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > uint64(len(big.data)/4) {
		t.Errorf("%d bytes were allocated for a message of %d of which 65 have come", n, len(big.data))
	}
	wait = t.writing(func() error { return a.Write(all[65:]) })
	t.expect(b, big)
	wait()
}

func closeChecks() []check {
	return []check{
		{"close frame", noCloseFrame, checkCloseFrame},
		{"close", nil, checkClose},
		{"close ends wait", nil, checkCloseEndsWait},
		{"write after the peer's close", nil, checkWriteAfterPeerClose},
	}
}

// checkCloseFrame: the peer's code and reason arrive behind its messages, and
// nothing comes after them.
func checkCloseFrame(t *trial) {
	long := string(filled(transport.Text, 123, 0).data)
	tests := []transport.CloseError{
		{Code: transport.CloseNormal}, {Code: transport.CloseGoingAway, Reason: "see you"},
		{Code: 3008, Reason: "naïve"}, {Code: 4999, Reason: long}, {Code: transport.CloseNoStatus},
	}
	for _, want := range tests {
		a, b := t.open()
		last := t.message(transport.Text, 10, 1)
		payload := transport.AppendClosePayload(nil, want.Code, want.Reason)
		wait := t.sending(a, last, message{transport.Close, payload})
		t.expect(b, last)
		for range 2 {
			if got := t.closeError(b); *got != want {
				t.Fatalf("received %+v, want %+v", *got, want)
			}
		}
		wait()
	}
}

// closeError receives the end of a link that must be a CloseError.
func (t *trial) closeError(c transport.Conn) *transport.CloseError {
	t.Helper()
	f, err := receive(c)
	if err == nil {
		t.Fatalf("received %v of %d bytes, want a CloseError", f.Type, len(f.Data))
	}
	return t.asCloseError(err)
}

// checkClose: what was sent before Close arrives, then the peer sees the end.
// A closed end says so, and may be closed again, from anywhere.
func checkClose(t *trial) {
	a, b := t.open()
	m := t.message(transport.Text, 100, 1)
	wait := t.sending(a, m, m)
	t.expect(b, m, m)
	wait()
	var closing sync.WaitGroup
	for range 4 {
		closing.Go(func() { a.Close() })
	}
	closing.Wait()
	if _, err := receive(b); !ended(err) {
		t.Errorf("after the peer's Close: %v, want io.EOF", err)
	}
	if err := a.Wait(); !isClosed(err) {
		t.Errorf("Wait after Close: %v, want %v", err, net.ErrClosed)
	}
	if err := send(a, m); err == nil {
		t.Error("Write succeeded after Close")
	}
	for range 2 {
		b.Close()
	}
	if err := b.Wait(); err == nil {
		t.Error("Wait succeeded after both ends were closed")
	}
}

// checkCloseEndsWait: a blocked Wait ends when either end is closed. It is
// tried often, as Close may come before, while and after Wait begins to block.
func checkCloseEndsWait(t *trial) {
	for i := range 20 {
		a, b := t.open()
		waitA, waitB := t.background(a.Wait), t.background(b.Wait)
		for range i {
			runtime.Gosched()
		}
		a.Close()
		if err := waitA(); !isClosed(err) {
			t.Fatalf("Wait: %v, want %v", err, net.ErrClosed)
		}
		if err := waitB(); !ended(err) {
			t.Fatalf("the peer's Wait: %v, want io.EOF", err)
		}
	}
}

// checkWriteAfterPeerClose: Write fails some time after the peer has gone.
func checkWriteAfterPeerClose(t *trial) {
	a, b := t.open()
	b.Close()
	m := t.message(transport.Text, 100, 1)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for range 5000 {
		if send(a, m) != nil {
			return
		}
		<-tick.C
	}
	t.Error("Write does not fail after the peer's Close")
}
