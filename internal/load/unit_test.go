package load

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/polywire/polywire/transport"
)

func TestHistogram(t *testing.T) {
	var h histogram
	if h.quantile(.5) != 0 {
		t.Error("an empty histogram has a median")
	}
	rng := rand.New(rand.NewPCG(1, 2))
	var all []int64
	var parts [2]histogram
	for i := range 100_000 {
		v := int64(math.Exp(rng.Float64()*24)) + rng.Int64N(50) // 1 ns to 26 s
		all = append(all, v)
		parts[i%2].record(v)
	}
	h.merge(&parts[0])
	h.merge(&parts[1])
	slices.Sort(all)
	for _, q := range []float64{0, .01, .5, .9, .99, .999, 1} {
		want := all[min(int(q*float64(len(all))), len(all)-1)]
		got := int64(h.quantile(q))
		if diff := math.Abs(float64(got-want)) / float64(want); diff > .03 {
			t.Errorf("quantile %v is %d, want %d", q, got, want)
		}
	}
	h.record(-5)
	h.record(math.MaxInt64)
	if h.counts[0] == 0 || h.max != math.MaxInt64 || h.counts[buckets-1] == 0 {
		t.Error("values beyond the ends were lost")
	}
}

func TestBucketsAreContiguous(t *testing.T) {
	for b := range buckets {
		if got := bucket(uint64(value(b))); got != b {
			t.Fatalf("the middle of bucket %d is in bucket %d", b, got)
		}
	}
}

func TestFramingRoundTrip(t *testing.T) {
	for _, n := range []int{0, 1, 125, 126, 127, 65535, 65536, 100_000} {
		payload := bytes.Repeat([]byte("y"), n)
		t.Run("", func(t *testing.T) {
			s := streamFraming{1 << 20}
			b := s.end(append(s.begin([]byte("before")), payload...), 6, transport.Binary)
			f, size, err := s.next(b[6:])
			if err != nil || size != len(b)-6 || f.Type != transport.Binary || !bytes.Equal(f.Data, payload) {
				t.Errorf("stream frame of %d: %d bytes, %v", n, size, err)
			}
			w := webSocketFraming{1 << 20}
			b = w.end(append(w.begin([]byte("before")), payload...), 6, transport.Text)
			b[7] &^= maskBit // what a server would send, but for the zero mask
			head := len(b) - 6 - n
			b = slices.Delete(b, 6+head-4, 6+head)
			f, size, err = w.next(b[6:])
			if err != nil || size != len(b)-6 || f.Type != transport.Text || !bytes.Equal(f.Data, payload) {
				t.Errorf("WebSocket frame of %d: %d bytes, %v", n, size, err)
			}
			if _, size, err = w.next(b[6 : len(b)-1]); size != 0 || err != nil {
				t.Errorf("a frame that lacks a byte: %d, %v", size, err)
			}
		})
	}
}

func FuzzFraming(f *testing.F) {
	f.Add([]byte{0x82, 2, 'h', 'i'})
	f.Add([]byte{0x81, 126, 0, 3, 'a', 'b', 'c'})
	f.Add([]byte{0x82, 127, 255, 255, 255, 255, 255, 255, 255, 255})
	f.Add([]byte{2, 0, 0, 0, 1, 'x', 1, 255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, fr := range []framing{webSocketFraming{1000}, streamFraming{1000}, valueFraming{1000}} {
			for rest := b; ; {
				frame, size, err := fr.next(rest)
				if size > len(rest) || len(frame.Data) > size || (err != nil && size != 0) {
					t.Fatalf("%T: %d of %d bytes, %v", fr, size, len(rest), err)
				}
				if size == 0 {
					break
				}
				rest = rest[size:]
			}
		}
	})
}

func FuzzEnvelope(f *testing.F) {
	w := newNativeWire(Echo, []byte("payload"))
	f.Add(w.appendRequest(nil, 300))
	f.Add([]byte{0x29, 1, 2, 3, 4, 5, 6, 7, 8, 0x1d, 1, 2, 3, 4})
	f.Add([]byte{0x2a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		e, ok := parseEnvelope(b)
		if len(e.name) > len(b) || len(e.payload) > len(b) {
			t.Fatal("more than was given")
		}
		if class, _ := w.classify(transport.Frame{Type: transport.Binary, Data: b}); !ok && class != failure {
			t.Fatal("a malformed message passed")
		}
	})
}

func TestNativeRequest(t *testing.T) {
	w := newNativeWire(Echo, []byte("hello"))
	got := w.appendRequest(nil, 300)
	want := "\x08\x01\x10\xac\x02\x1a\x04echo\x2a\x05hello\x30\x04"
	if string(got) != want {
		t.Errorf("call %q, want %q", got, want)
	}
	w = newNativeWire(Broadcast, []byte("hello"))
	if got := w.appendRequest(nil, 1); string(got) != "\x1a\x09broadcast\x2a\x05hello\x30\x04" {
		t.Errorf("broadcast %q", got)
	}
}

func TestChooseAddress(t *testing.T) {
	four, six := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")
	far := netip.MustParseAddr("192.0.2.1")
	if got, err := choose([]netip.Addr{six, four}, false); got != four || err != nil {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := choose([]netip.Addr{four, far}, false); err == nil {
		t.Error("a name with a remote address was accepted")
	}
	if got, err := choose([]netip.Addr{far}, true); got != far || err != nil {
		t.Errorf("%v, %v", got, err)
	}
}

func TestSourceAddresses(t *testing.T) {
	first, later := target{sources: true}.source(0), target{sources: true}.source(portsPerAddress)
	if first.String() == later.String() || !strings.HasPrefix(first.String(), "127.") {
		t.Errorf("%v and %v", first, later)
	}
	if (target{}).source(0) != nil {
		t.Error("a source address where there is no choice")
	}
}

func TestProcess(t *testing.T) {
	if runtime.GOOS != "linux" {
		if _, err := ProcessCPU(os.Getpid()); err == nil {
			t.Error("no error where there is no figure")
		}
		return
	}
	before, err := ProcessCPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	const work = time.Millisecond
	for began := time.Now(); ; {
		bucket(rand.Uint64())
		after, err := ProcessCPU(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		if after-before >= work {
			break
		}
		if busy := time.Since(began); busy > time.Minute { // others have the processors, but not that long
			t.Fatalf("%v of work took %v of CPU time", busy, after-before)
		}
	}
	if n, err := ProcessMemory(os.Getpid()); err != nil || n < 1<<20 {
		t.Errorf("%d bytes of memory, %v", n, err)
	}
	for _, pid := range []int{0, -1, math.MaxInt32 >> 4} {
		_, err := ProcessCPU(pid)
		_, memErr := ProcessMemory(pid)
		if err == nil || memErr == nil {
			t.Errorf("process %d: %v, %v", pid, err, memErr)
		}
	}
}

func TestTable(t *testing.T) {
	r := Result{Mode: Idle, Wire: "raw", Conns: 10, OpenConns: 9, Messages: 10, Seconds: 2, KiBPerConn: 2.5,
		ServerMiB: 3, ServerMiBBefore: 1, ServerMicros: 4, Errors: 1, FirstError: "gone"}
	for _, want := range []string{"idle", "9 of 10", "10 in 2.00 s", "4.00 us", "2.50 KiB", "3.0 MiB", "first: gone"} {
		if !strings.Contains(r.Table(), want) {
			t.Errorf("no %q in\n%s", want, r.Table())
		}
	}
	if strings.Contains(r.Table(), "in flight") {
		t.Error("an idle run has nothing in flight")
	}
}

func FuzzJSONEnvelope(f *testing.F) {
	w := newJSONWire(Echo, []byte("payload"))
	f.Add(w.appendRequest(nil, 300))
	f.Add([]byte(`{"type":"reply","id":1,"payload":"payload","headers":{"a":[1,null]}}`))
	f.Add([]byte(`{"id":99999999999999999999}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := parseJSONEnvelope(b)
		if len(e.name) > 3*len(b) || len(e.payload) > len(b) {
			t.Fatal("more than was given")
		}
		if class, _ := w.classify(transport.Frame{Type: transport.Text, Data: b}); err != nil && class != failure {
			t.Fatal("a malformed message passed")
		}
	})
}

// benchmarkBatch measures what one wake-up of a connection costs beside the
// system calls.
func benchmarkBatch(b *testing.B, mode Mode, index int, wireName string, f func(*conn) []byte) {
	r, err := newRunner(Config{Mode: mode, Wire: wireName, Conns: 1, Window: 16, PayloadBytes: 100}, target{stream: wireName != wireRaw})
	if err != nil {
		b.Fatal(err)
	}
	c := &conn{r: r, nc: discardConn{}, index: index, latency: new(histogram)}
	if mode == Echo {
		c.sent = make([]request, 16)
	}
	r.phase.Store(int32(measuring))
	if err := c.begin(); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		data := f(c)
		if used, err := c.batch(data); err != nil || used != len(data) {
			b.Fatal(used, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(c.count.Load()), "ns/msg")
}

// BenchmarkNativeEcho handles 16 replies and makes 16 requests.
func BenchmarkNativeEcho(b *testing.B) {
	payload := bytes.Repeat([]byte("x"), 100)
	var buf []byte
	benchmarkBatch(b, Echo, 0, wireNative, func(c *conn) []byte {
		buf = buf[:0]
		for _, q := range c.sent {
			start := len(buf)
			buf = append(c.r.framing.begin(buf), fieldType<<3, typeReply, fieldID<<3)
			buf = append(binary.AppendUvarint(buf, q.id), fieldPayload<<3|protoBytes, 100)
			buf = c.r.framing.end(append(buf, payload...), start, transport.Binary)
		}
		return buf
	})
}

// BenchmarkRawDeliveries takes note of 16 deliveries.
func BenchmarkRawDeliveries(b *testing.B) {
	frame := append([]byte{0x82, 100, 'B'}, bytes.Repeat([]byte("x"), 99)...)
	data := bytes.Repeat(frame, 16)
	benchmarkBatch(b, Broadcast, 1, wireRaw, func(*conn) []byte { return data })
}

// BenchmarkJSONEcho is BenchmarkNativeEcho in the text form.
func BenchmarkJSONEcho(b *testing.B) {
	var buf []byte
	benchmarkBatch(b, Echo, 0, wireNativeJSON, func(c *conn) []byte {
		buf = buf[:0]
		for _, q := range c.sent {
			start := len(buf)
			buf = append(c.r.framing.begin(buf), `{"type":"reply","id":`...)
			buf = append(strconv.AppendUint(buf, q.id, 10), `,"payload":`...)
			buf = append(append(buf, c.r.wire.body()...), '}')
			buf = c.r.framing.end(buf, start, transport.Text)
		}
		return buf
	})
}
