package transporttest

import (
	"bytes"
	"errors"
	"slices"
	"sync"

	"github.com/polywire/polywire/transport"
)

func frameChecks() []check {
	return []check{
		{"messages of all sizes", nil, checkSizes},
		{"control frames", noControl, checkControl},
		{"next without data", nil, checkNextEmpty},
		{"several frames in one write", nil, checkBatch},
		{"frames in many slices of one write", nil, checkSlices},
		{"a frame in many writes", wholeFrames, checkDribble},
		{"written bytes stay the caller's", nil, checkWriteKeepsNothing},
	}
}

// sizes are where formats change their headers, and the limit.
func (t *trial) sizes() []int {
	limit := t.features.limit()
	sizes := []int{0, 1, 2, 125, 126, 127, 128, 255, 256, 4095, 4096, 16384, 65535, 65536, 65537, limit - 1, limit}
	return slices.DeleteFunc(sizes, func(n int) bool { return n > limit })
}

// checkSizes: messages arrive whole, with their type, in order.
func checkSizes(t *trial) {
	a, b := t.open()
	var messages []message
	for i, n := range t.sizes() {
		messages = append(messages, t.message(transport.Text, n, i), t.message(transport.Binary, n, i+1))
	}
	messages = append(messages, message{transport.Text, []byte("naïve 馬 🐎")},
		message{transport.Binary, []byte{0, 0xff, 0xfe, 0x80}})
	wait := t.sending(a, messages...)
	t.expect(b, messages...)
	t.nothing(b)
	wait()
}

// checkControl: pings and pongs arrive among the messages, in order.
func checkControl(t *trial) {
	a, b := t.open()
	var messages []message
	for i, n := range []int{0, 1, 60, 125} {
		messages = append(messages, filled(transport.Ping, n, i), t.message(transport.Text, 10*n, i), filled(transport.Pong, n, i))
	}
	wait := t.sending(a, messages...)
	t.expect(b, messages...)
	t.nothing(b)
	wait()
}

// checkNextEmpty: Next neither blocks nor finds anything when nothing came.
func checkNextEmpty(t *trial) {
	a, b := t.open()
	for range 3 {
		t.nothing(b)
		t.nothing(a)
	}
	m := t.message(transport.Text, 10, 0)
	wait := t.sending(a, m)
	t.expect(b, m)
	t.nothing(b)
	wait()
}

// checkBatch: several frames in one buffer are several frames.
func checkBatch(t *trial) {
	a, b := t.open()
	var messages []message
	for i := range 200 {
		typ := transport.Text
		if i%3 == 0 {
			typ = transport.Binary
		}
		messages = append(messages, t.message(typ, i, i))
	}
	all := t.frames(a.Framer(), messages...)
	wait := t.writing(func() error { return a.Write(all) })
	t.expect(b, messages...)
	t.nothing(b)
	wait()
}

// checkSlices: Write takes any number of slices, also none and empty ones.
func checkSlices(t *trial) {
	a, b := t.open()
	var messages []message
	slices := [][]byte{nil}
	for i, n := range []int{10, 0, 3000, 20000, 1, 40000, 5} {
		m := t.message(transport.Binary, n, i)
		messages = append(messages, m)
		slices = append(slices, t.frames(a.Framer(), m))
	}
	slices = append(slices, []byte{})
	wait := t.writing(func() error {
		if err := a.Write(); err != nil {
			return err
		}
		return a.Write(slices...)
	})
	t.expect(b, messages...)
	t.nothing(b)
	wait()
}

// checkDribble: it does not matter where the bytes of frames are split.
func checkDribble(t *trial) {
	a, b := t.open()
	messages := []message{
		t.message(transport.Text, 5, 1), t.message(transport.Binary, 0, 2), t.message(transport.Binary, 130, 3),
		{transport.Text, []byte("half 馬 🐎 way")}, t.message(transport.Text, 300, 4),
	}
	all := t.frames(a.Framer(), messages...)
	wait := t.writing(func() error {
		for i := range all {
			if err := a.Write(all[i : i+1]); err != nil {
				return err
			}
		}
		return nil
	})
	t.expect(b, messages...)
	wait()
	for _, step := range []int{2, 7, 64} {
		all := t.frames(a.Framer(), messages...)
		wait := t.writing(func() error {
			for part := range slices.Chunk(all, step) {
				if err := a.Write(part); err != nil {
					return err
				}
			}
			return nil
		})
		t.expect(b, messages...)
		wait()
	}
	t.nothing(b)
}

// checkWriteKeepsNothing: Write does not change the bytes, and does not need
// them when it has returned.
func checkWriteKeepsNothing(t *trial) {
	a, b := t.open()
	messages := []message{t.message(transport.Text, 100, 1), t.message(transport.Binary, 5000, 2)}
	all := t.frames(a.Framer(), messages...)
	before := bytes.Clone(all)
	wait := t.writing(func() error {
		if err := a.Write(all); err != nil {
			return err
		}
		if !bytes.Equal(all, before) {
			return errors.New("it changed what it was given")
		}
		for i := range all {
			all[i] ^= 0x55
		}
		return nil
	})
	t.expect(b, messages...)
	wait()
}

func framerChecks() []check {
	return []check{
		{"framer appends", nil, checkFramerAppends},
		{"framer refuses long control frames", noControl, checkFramerRefuses},
		{"concurrent framing", nil, checkConcurrentFraming},
		{"shared format", nil, checkSharedFormat},
	}
}

// checkFramerAppends: what is in the buffer before a frame stays as it was,
// with and without room behind it.
func checkFramerAppends(t *trial) {
	a, b := t.open()
	for _, size := range []int{0, 1, 125, 126, 1000, 65536} {
		m := t.message(transport.Binary, size, size)
		for _, room := range []int{0, 1, 16, 2 * size} {
			before := append(make([]byte, 0, 6+room), "before"...)
			w := transport.NewWriter(a.Framer(), before)
			if err := w.Frame(m.typ, m.data); err != nil {
				t.Fatal(err)
			}
			if !bytes.HasPrefix(w.Bytes(), []byte("before")) {
				t.Fatalf("a frame of %d bytes changed what was before it", size)
			}
			wait := t.writing(func() error { return a.Write(w.Bytes()[6:]) })
			t.expect(b, m)
			wait()
		}
	}
}

// checkFramerRefuses: control frames have at most 125 bytes (RFC 6455 section
// 5.5), and a refused one leaves nothing behind.
func checkFramerRefuses(t *trial) {
	a, b := t.open()
	first, last := t.message(transport.Text, 10, 1), t.message(transport.Text, 20, 2)
	w := transport.NewWriter(a.Framer(), nil)
	if err := w.Frame(first.typ, first.data); err != nil {
		t.Fatal(err)
	}
	if err := w.Frame(transport.Ping, make([]byte, 126)); err == nil {
		t.Fatal("a ping of 126 bytes was framed")
	}
	if err := w.Frame(last.typ, last.data); err != nil {
		t.Fatal(err)
	}
	wait := t.writing(func() error { return a.Write(w.Bytes()) })
	t.expect(b, first, last)
	t.nothing(b)
	wait()
}

// checkConcurrentFraming: one framer works for many goroutines at once.
func checkConcurrentFraming(t *trial) {
	a, b := t.open()
	const goroutines, each = 8, 50
	var (
		framing sync.WaitGroup
		encoded [goroutines][]byte
		errs    [goroutines]error
		want    []message
	)
	for g := range goroutines {
		var messages []message
		for i := range each {
			messages = append(messages, t.message(transport.Text, 3*i, g*each+i))
		}
		want = append(want, messages...)
		framing.Go(func() {
			w := transport.NewWriter(a.Framer(), nil)
			for _, m := range messages {
				if err := w.Frame(m.typ, m.data); err != nil {
					errs[g] = err
				}
			}
			encoded[g] = w.Bytes()
		})
	}
	framing.Wait()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	wait := t.writing(func() error { return a.Write(encoded[:]...) })
	t.expect(b, want...)
	t.nothing(b)
	wait()
}

// checkSharedFormat: bytes may be sent on every link with the same format.
func checkSharedFormat(t *trial) {
	a, b := t.open()
	format := a.Framer().Format()
	if t.features.SharedFormat && format == "" && b.Framer().Format() == "" {
		t.Fatal("neither end has a shared format")
	}
	other, peer := t.open()
	if got := other.Framer().Format(); got != format {
		t.Fatalf("the format was %q on one link and is %q on another", format, got)
	}
	if format == "" {
		return
	}
	messages := []message{t.message(transport.Text, 100, 1), t.message(transport.Binary, 1000, 2)}
	all := t.frames(a.Framer(), messages...)
	for range 2 {
		for _, link := range [][2]transport.Conn{{a, b}, {other, peer}} {
			wait := t.writing(func() error { return link[0].Write(all) })
			t.expect(link[1], messages...)
			wait()
		}
	}
}

func detachChecks() []check {
	return []check{
		{"detach", nil, checkDetach},
		{"detach between frames of one write", nil, checkDetachInBatch},
		{"detach during a frame", wholeFrames, checkDetachPartial},
	}
}

// detached is a frame whose memory was left to the check.
type detached struct {
	frame   transport.Frame
	want    message
	release func()
}

// receiveDetached receives messages and keeps the memory of each.
func (t *trial) receiveDetached(c transport.Conn, messages ...message) []detached {
	t.Helper()
	var kept []detached
	for _, m := range messages {
		f, err := receive(c)
		if err != nil {
			t.Fatal(err)
		}
		t.same(f, m)
		kept = append(kept, detached{f, m, c.Detach()})
	}
	return kept
}

// checkDetach: detached frames stay as they were while others come, and may be
// released from other goroutines, in any order.
func checkDetach(t *trial) {
	a, b := t.open()
	var first, later []message
	for i := range 40 {
		first = append(first, t.message(transport.Text, (i*i*37)%min(9000, t.features.limit()), i))
		later = append(later, t.message(transport.Binary, (i*i*53)%min(20000, t.features.limit()), 50+i))
	}
	wait := t.sending(a, append(slices.Clone(first), append(later, later...)...)...)
	kept := t.receiveDetached(b, first...)
	t.expect(b, later...)
	for _, d := range kept {
		t.same(d.frame, d.want)
	}
	var releasing sync.WaitGroup
	for _, d := range slices.Backward(kept) {
		releasing.Go(d.release)
	}
	t.expect(b, later...)
	releasing.Wait()
	t.nothing(b)
	wait()
}

// checkDetachInBatch: frames behind a detached one are not lost, and releasing
// it does not touch them.
func checkDetachInBatch(t *trial) {
	a, b := t.open()
	var messages []message
	for i := range 100 {
		messages = append(messages, t.message(transport.Text, 20+i, i))
	}
	all := t.frames(a.Framer(), messages...)
	wait := t.writing(func() error { return a.Write(all) })
	for part := range slices.Chunk(messages, 4) {
		kept := t.receiveDetached(b, part[:1]...)
		t.expect(b, part[1])
		t.same(kept[0].frame, part[0])
		kept[0].release()
		t.expect(b, part[2:]...)
	}
	t.nothing(b)
	wait()
}

// checkDetachPartial: the part of a frame behind a detached one is not lost.
func checkDetachPartial(t *trial) {
	a, b := t.open()
	messages := []message{t.message(transport.Text, 50, 1), t.message(transport.Binary, 2000, 2)}
	one, two := t.frames(a.Framer(), messages[0]), t.frames(a.Framer(), messages[1])
	for _, split := range []int{1, 3, 10, len(two) / 2, len(two) - 1} {
		all := append(bytes.Clone(one), two[:split]...)
		first := t.background(func() error { return a.Write(all) })
		kept := t.receiveDetached(b, messages[0])
		t.nothing(b)
		wait := t.writing(func() error {
			if err := first(); err != nil {
				return err
			}
			return a.Write(two[split:])
		})
		t.expect(b, messages[1])
		t.same(kept[0].frame, messages[0])
		kept[0].release()
		wait()
	}
}
