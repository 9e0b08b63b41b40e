package netio

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"path/filepath"
	"runtime"
	"testing"
	"testing/synctest"
	"unsafe"

	"github.com/polywire/polywire/internal/testenv"
	"github.com/polywire/polywire/transport"
)

func TestMain(m *testing.M) { testenv.VerifyNoLeaks(m) }

// kinds are the connections that a Reader treats differently.
var kinds = map[string]func(t testing.TB) (local, remote net.Conn){
	"tcp":  func(t testing.TB) (net.Conn, net.Conn) { return socketPair(t, "tcp", "127.0.0.1:0") },
	"unix": func(t testing.TB) (net.Conn, net.Conn) { return socketPair(t, "unix", filepath.Join(t.TempDir(), "s")) },
	"pipe": func(testing.TB) (net.Conn, net.Conn) { return net.Pipe() },
}

func socketPair(t testing.TB, network, address string) (local, remote net.Conn) {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	type accepted struct {
		nc  net.Conn
		err error
	}
	done := make(chan accepted, 1)
	go func() {
		nc, err := l.Accept()
		done <- accepted{nc, err}
	}()
	remote, err = net.Dial(network, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	a := <-done
	if a.err != nil {
		t.Fatal(a.err)
	}
	return a.nc, remote
}

func eachKind(t *testing.T, f func(t *testing.T, r *Reader, remote net.Conn)) {
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			local, remote := kind(t)
			defer local.Close()
			defer remote.Close()
			r := new(Reader)
			r.Init(local, nil)
			f(t, r, remote)
		})
	}
}

// fillTo fills until n bytes are buffered.
func fillTo(t testing.TB, r *Reader, n int) {
	t.Helper()
	for len(r.Buffered()) < n {
		if err := r.Fill(n); err != nil {
			t.Fatalf("Fill with %d of %d bytes: %v", len(r.Buffered()), n, err)
		}
	}
}

func send(remote net.Conn, b []byte) { go func() { _, _ = remote.Write(b) }() }

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func TestReaderReads(t *testing.T) {
	for _, size := range []int{1, 100, smallBytes, blockBytes, blockBytes + 1, 100_000, 3 << 20} {
		eachKind(t, func(t *testing.T, r *Reader, remote net.Conn) {
			want := random(size)
			send(remote, want)
			fillTo(t, r, size)
			if !bytes.Equal(r.Buffered(), want) {
				t.Fatalf("%d bytes differ", size)
			}
			r.Discard(size)
			send(remote, want[:1])
			fillTo(t, r, 1)
			if got := r.Buffered(); !bytes.Equal(got, want[:1]) {
				t.Fatalf("after a large frame: % x", got)
			}
		})
	}
}

func TestReaderKeepsEarlyBytes(t *testing.T) {
	local, remote := net.Pipe()
	defer local.Close()
	defer remote.Close()
	early := []byte("early")
	var r Reader
	r.Init(local, early)
	early[0] = 'x'
	send(remote, []byte(" bird"))
	fillTo(t, &r, 10)
	if got := string(r.Buffered()); got != "early bird" {
		t.Fatalf("got %q", got)
	}
}

// A stream of records whose sizes are known only from their first bytes, cut
// at other places, must come out whole.
func TestReaderRecords(t *testing.T) {
	eachKind(t, func(t *testing.T, r *Reader, remote net.Conn) {
		data := random(1 << 20)
		send(remote, data)
		for step, at := 1, 0; at < len(data); step = step*7%50_021 + 1 {
			n := min(step, len(data)-at)
			fillTo(t, r, n)
			if !bytes.Equal(r.Buffered()[:n], data[at:at+n]) {
				t.Fatalf("differs at %d", at)
			}
			r.Discard(n)
			at += n
		}
		if got := len(r.Buffered()); got != 0 {
			t.Fatalf("%d bytes too many", got)
		}
	})
}

func TestFillErrors(t *testing.T) {
	eachKind(t, func(t *testing.T, r *Reader, remote net.Conn) {
		r.Interrupt()
		if err := r.Fill(0); !errors.Is(err, transport.ErrInterrupted) {
			t.Fatalf("interrupted before: %v", err)
		}
		go r.Interrupt()
		if err := r.Fill(0); !errors.Is(err, transport.ErrInterrupted) {
			t.Fatalf("interrupted meanwhile: %v", err)
		}
		send(remote, []byte("part"))
		fillTo(t, r, 4)
		r.Interrupt()
		if err := r.Fill(9); !errors.Is(err, transport.ErrInterrupted) {
			t.Fatalf("interrupted with a part: %v", err)
		}
		remote.Close()
		if err := r.Fill(9); !errors.Is(err, io.EOF) {
			t.Fatalf("at the end: %v", err)
		}
		if got := string(r.Buffered()); got != "part" {
			t.Fatalf("buffered: %q", got)
		}
		r.Close()
		if err := r.Fill(9); !errors.Is(err, net.ErrClosed) {
			t.Fatalf("after Close: %v", err)
		}
	})
}

func TestCloseWakesFill(t *testing.T) {
	eachKind(t, func(t *testing.T, r *Reader, remote net.Conn) {
		failed := make(chan error, 1)
		go func() { failed <- r.Fill(0) }()
		r.Close()
		if err := <-failed; !errors.Is(err, net.ErrClosed) {
			t.Fatalf("Fill: %v", err)
		}
	})
}

func TestDetach(t *testing.T) {
	eachKind(t, func(t *testing.T, r *Reader, remote net.Conn) {
		data := random(200_000)
		send(remote, data)
		var held [][]byte
		var releases []func()
		at := 0
		for n := 1; at < len(data); n = n*5%9_973 + 1 {
			n = min(n, len(data)-at)
			fillTo(t, r, n)
			held = append(held, r.Buffered()[:n])
			r.Discard(n)
			releases = append(releases, r.Detach())
			at += n
		}
		at = 0
		for i, b := range held {
			if !bytes.Equal(b, data[at:at+len(b)]) {
				t.Fatalf("detached slice %d has changed", i)
			}
			at += len(b)
			go releases[i]()
		}
	})
}

func TestDetachNothing(t *testing.T) {
	local, remote := net.Pipe()
	defer remote.Close()
	var r Reader
	r.Init(local, nil)
	r.Detach()()
	r.Close()
}

// What a header claims is not what is allocated.
func TestRoomIsBoundedByWhatCame(t *testing.T) {
	local, remote := net.Pipe()
	defer local.Close()
	defer remote.Close()
	var r Reader
	r.Init(local, nil)
	for came := 0; came < 3<<20; {
		room := r.room(1<<30, blockBytes)
		if got, most := len(r.buf.b), max(blockBytes, 2*came); got > most {
			t.Fatalf("%d bytes for %d received", got, came)
		}
		r.w += len(room)
		came += len(room)
	}
	if room := r.room(r.w-r.r+10, blockBytes); len(room) != 10 {
		t.Fatalf("room for 10 more is %d", len(room))
	}
}

func TestReaderIsSmall(t *testing.T) {
	if got := unsafe.Sizeof(Reader{}); got > 72 {
		t.Fatalf("a Reader has %d bytes", got)
	}
}

func TestReaderInVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		local, remote := net.Pipe()
		defer local.Close()
		defer remote.Close()
		var r Reader
		r.Init(local, nil)
		failed := make(chan error, 1)
		go func() { failed <- r.Fill(0) }()
		synctest.Wait()
		r.Interrupt()
		if err := <-failed; !errors.Is(err, transport.ErrInterrupted) {
			t.Fatal(err)
		}
	})
}

func TestWrite(t *testing.T) {
	rows := map[string][]int{
		"nothing":      {},
		"one":          {10},
		"several":      {1, 0, 200, 3000},
		"a full block": {blockBytes / 2, blockBytes / 2},
		"large ones":   {5, blockBytes + 1, 7, blockBytes, blockBytes, 100_000},
	}
	for name, sizes := range rows {
		eachKind(t, func(t *testing.T, r *Reader, remote net.Conn) {
			var bufs [][]byte
			for _, n := range sizes {
				bufs = append(bufs, random(n))
			}
			want := bytes.Join(bufs, nil)
			done := make(chan error, 1)
			go func() { done <- Write(remote, bufs...) }()
			fillTo(t, r, len(want))
			if err := <-done; err != nil {
				t.Fatal(name, err)
			}
			if !bytes.Equal(r.Buffered(), want) || !bytes.Equal(bytes.Join(bufs, nil), want) {
				t.Fatalf("%s: what came or what was given differs", name)
			}
			remote.Close()
			if err := Write(remote, []byte("a"), []byte("b")); err == nil {
				t.Fatal("no error after close")
			}
		})
	}
}

func BenchmarkFill(b *testing.B) {
	local, remote := kinds["tcp"](b)
	defer local.Close()
	defer remote.Close()
	var r Reader
	r.Init(local, nil)
	msg := random(1600)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := remote.Write(msg); err != nil {
			b.Fatal(err)
		}
		fillTo(b, &r, len(msg))
		r.Detach()()
		r.Discard(len(msg))
	}
}

func BenchmarkWrite(b *testing.B) {
	for name, size := range map[string]int{"16x100": 100, "16x1000": 1000, "16x4000": 4000} {
		b.Run(name, func(b *testing.B) {
			local, remote := kinds["tcp"](b)
			defer remote.Close()
			done := make(chan struct{})
			go func() {
				defer close(done)
				_, _ = io.Copy(io.Discard, local)
			}()
			bufs := make([][]byte, 16)
			for i := range bufs {
				bufs[i] = random(size)
			}
			b.ReportAllocs()
			for b.Loop() {
				if err := Write(remote, bufs...); err != nil {
					b.Fatal(err)
				}
			}
			remote.Close()
			<-done
			local.Close()
			runtime.KeepAlive(bufs)
		})
	}
}
