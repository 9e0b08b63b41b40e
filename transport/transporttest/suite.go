package transporttest

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire/transport"
)

// patience is how long a check may take before its links are closed under it,
// so that a call which blocks for ever is reported and not waited for.
const patience = 30 * time.Second

// Features say what a transport has and lacks. The zero value is for one that
// has a limit of 1 MiB, all types of frames, and bytes for one link only.
type Features struct {
	// MaxMessageBytes is the limit that both ends were opened with; zero or
	// less means 1 MiB. The checks need 200 bytes at least.
	MaxMessageBytes int
	// SharedFormat: the framer of at least one end has a Format, so that its
	// bytes may be sent on other links.
	SharedFormat bool
	// NoControl: pings and pongs are not delivered as frames.
	NoControl bool
	// NoCloseFrame: the link ends without a code and a reason.
	NoCloseFrame bool
	// WholeFrames: each slice given to Write must be made of whole frames.
	WholeFrames bool
	// Synctest: each check runs in a bubble of testing/synctest, for transports
	// that have no sockets. Whoever hangs or leaks is found at once then.
	Synctest bool
}

func (f Features) limit() int {
	if f.MaxMessageBytes <= 0 {
		return 1 << 20
	}
	return f.MaxMessageBytes
}

// Run checks that a transport keeps to the contract of [transport.Conn], and
// of [transport.Sleeper] if it is one. It calls open for each of its checks,
// in both directions; open returns two connected ends, which are closed
// afterwards, and fails t if it cannot.
func Run(t *testing.T, f Features, open func(t *testing.T) (a, b transport.Conn)) {
	t.Helper()
	for _, c := range checks() {
		t.Run(c.name, func(t *testing.T) {
			if c.skip != nil && c.skip(f) {
				t.Skip("the transport does not have this feature")
			}
			for _, way := range []string{"there", "back"} {
				t.Run(way, func(t *testing.T) {
					inBubble(t, f.Synctest, func(t *testing.T) {
						perform(t, c, f, func() (transport.Conn, transport.Conn) {
							a, b := open(t)
							if way == "back" {
								return b, a
							}
							return a, b
						})
					})
				})
			}
		})
	}
}

func inBubble(t *testing.T, bubble bool, f func(t *testing.T)) {
	if bubble {
		synctest.Test(t, f)
		return
	}
	f(t)
}

// check is one part of the suite.
type check struct {
	name string
	skip func(Features) bool // nil: never
	run  func(t *trial)
}

func checks() []check {
	var all []check
	for _, part := range [][]check{frameChecks(), framerChecks(), detachChecks(), flowChecks(), closeChecks(), faultChecks(), sleeperChecks()} {
		all = append(all, part...)
	}
	return all
}

func noControl(f Features) bool    { return f.NoControl }
func noCloseFrame(f Features) bool { return f.NoCloseFrame }
func wholeFrames(f Features) bool  { return f.WholeFrames }

// trial is one run of a check.
type trial struct {
	testing.TB
	features Features
	dial     func() (a, b transport.Conn)
}

// perform runs a check with links that open makes.
func perform(tb testing.TB, c check, f Features, open func() (a, b transport.Conn)) {
	c.run(&trial{TB: tb, features: f, dial: open})
}

// open returns two ends that are closed when the check is over, or takes too long.
func (t *trial) open() (a, b transport.Conn) {
	t.Helper()
	a, b = t.dial()
	watchdog := time.AfterFunc(patience, func() {
		a.Close()
		b.Close()
	})
	t.Cleanup(func() {
		if !watchdog.Stop() {
			t.Errorf("the check took more than %v", patience)
		}
		a.Close()
		b.Close()
	})
	return a, b
}

// message is a frame to send, or one that was received, with data of its own.
type message struct {
	typ  transport.FrameType
	data []byte
}

// filled returns a message of n bytes that are valid text and unlike those of
// other seeds.
func filled(typ transport.FrameType, n, seed int) message {
	data := make([]byte, n)
	for i := range data {
		data[i] = byte('!' + (i*7+i/251+seed)%90)
	}
	return message{typ, data}
}

// message returns a message of n bytes, or of the limit if that is less.
func (t *trial) message(typ transport.FrameType, n, seed int) message {
	return filled(typ, min(n, t.features.limit()), seed)
}

// frames returns the bytes of messages, one after the other.
func (t *trial) frames(f transport.Framer, messages ...message) []byte {
	t.Helper()
	w := transport.NewWriter(f, nil)
	for _, m := range messages {
		if err := w.Frame(m.typ, m.data); err != nil {
			t.Fatalf("framing %v of %d bytes: %v", m.typ, len(m.data), err)
		}
	}
	return w.Bytes()
}

// send writes each message on its own. It may be called from any goroutine.
func send(c transport.Conn, messages ...message) error {
	var buf []byte
	for _, m := range messages {
		w := transport.NewWriter(c.Framer(), buf[:0])
		if err := w.Frame(m.typ, m.data); err != nil {
			return err
		}
		buf = w.Bytes()
		if err := c.Write(buf); err != nil {
			return err
		}
	}
	return nil
}

// background runs f and returns a function that waits for it.
func (t *trial) background(f func() error) (wait func() error) {
	done := make(chan error, 1)
	go func() { done <- f() }()
	return func() error { return <-done }
}

// sending sends beside what the check does; the check fails if that fails.
func (t *trial) sending(c transport.Conn, messages ...message) (wait func()) {
	return t.writing(func() error { return send(c, messages...) })
}

func (t *trial) writing(f func() error) (wait func()) {
	done := t.background(f)
	return func() {
		t.Helper()
		if err := done(); err != nil {
			t.Fatalf("Write: %v", err)
		}
	}
}

// receive returns the next frame, whose data is valid as the contract says. It
// may be called from any goroutine.
func receive(c transport.Conn) (transport.Frame, error) {
	for {
		f, ok, err := c.Next()
		if ok || err != nil {
			return f, err
		}
		if err := c.Wait(); err != nil {
			return transport.Frame{}, err
		}
	}
}

// expect receives exactly these messages.
func (t *trial) expect(c transport.Conn, messages ...message) {
	t.Helper()
	for i, want := range messages {
		f, err := receive(c)
		if err != nil {
			t.Fatalf("frame %d (%v of %d bytes): %v", i, want.typ, len(want.data), err)
		}
		t.same(f, want)
	}
}

func (t *trial) same(f transport.Frame, want message) {
	t.Helper()
	if f.Type != want.typ || string(f.Data) != string(want.data) {
		t.Fatalf("received %v of %d bytes %.40q, want %v of %d bytes %.40q",
			f.Type, len(f.Data), f.Data, want.typ, len(want.data), want.data)
	}
}

// nothing checks that there is no whole frame.
func (t *trial) nothing(c transport.Conn) {
	t.Helper()
	if f, ok, err := c.Next(); ok || err != nil {
		t.Fatalf("Next: %v of %d bytes, %v, %v; want nothing", f.Type, len(f.Data), ok, err)
	}
}
