package transporttest_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire/internal/testenv"
	"github.com/polywire/polywire/transport/transporttest"
)

func TestMain(m *testing.M) { testenv.VerifyNoLeaks(m) }

func TestConnPairCarriesBothWays(t *testing.T) {
	a, b := transporttest.ConnPair(0)
	for _, way := range [][2]net.Conn{{a, b}, {b, a}} {
		if n, err := way[0].Write([]byte("hello")); n != 5 || err != nil {
			t.Fatalf("Write: %d, %v", n, err)
		}
		got := make([]byte, 3)
		for _, want := range []string{"hel", "lo"} {
			n, err := way[1].Read(got)
			if err != nil || string(got[:n]) != want {
				t.Fatalf("Read: %q, %v; want %q", got[:n], err, want)
			}
		}
	}
	if a.LocalAddr().String() != b.RemoteAddr().String() || a.RemoteAddr().String() != b.LocalAddr().String() {
		t.Error("the ends disagree about their addresses")
	}
}

func TestConnPairMovesMoreThanItHolds(t *testing.T) {
	for _, size := range []int{1, 7, 1024} {
		synctest.Test(t, func(t *testing.T) {
			a, b := transporttest.ConnPair(size)
			want := bytes.Repeat([]byte("0123456789abc"), 1000)
			go func() {
				for part := want; len(part) > 0; {
					n := min(len(part), 100)
					if _, err := a.Write(part[:n]); err != nil {
						t.Errorf("Write: %v", err)
					}
					part = part[n:]
				}
				a.Close()
			}()
			got, err := io.ReadAll(b)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("buffer of %d: read %d bytes of %d, %v", size, len(got), len(want), err)
			}
		})
	}
}

func TestConnPairBlocksWhenFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := transporttest.ConnPair(10)
		done := false
		go func() {
			if n, err := a.Write(make([]byte, 11)); n != 11 || err != nil {
				t.Errorf("Write: %d, %v", n, err)
			}
			done = true
		}()
		synctest.Wait()
		if done {
			t.Error("11 bytes went into a buffer of 10")
		}
		if _, err := b.Read(make([]byte, 1)); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if !done {
			t.Error("Write is still blocked after a Read")
		}
	})
}

func TestConnPairWritesStayTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := transporttest.ConnPair(5)
		var writers sync.WaitGroup
		for _, c := range "abc" {
			writers.Go(func() { a.Write(bytes.Repeat([]byte{byte(c)}, 100)) })
		}
		go func() { writers.Wait(); a.Close() }()
		got, _ := io.ReadAll(b)
		if len(got) != 300 {
			t.Fatalf("read %d bytes", len(got))
		}
		for i := range 3 {
			if part := got[i*100:][:100]; bytes.Count(part, part[:1]) != 100 {
				t.Errorf("bytes of several writes are mixed: %q", part)
			}
		}
	})
}

func TestConnPairDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _ := transporttest.ConnPair(10)
		start := time.Now()
		a.SetReadDeadline(start.Add(3 * time.Second))
		if _, err := a.Read(make([]byte, 1)); !timedOut(err) || time.Since(start) != 3*time.Second {
			t.Errorf("Read: %v after %v", err, time.Since(start))
		}
		a.SetDeadline(time.Now().Add(4 * time.Second))
		if n, err := a.Write(make([]byte, 15)); n != 10 || !timedOut(err) || time.Since(start) != 7*time.Second {
			t.Errorf("Write: %d, %v after %v", n, err, time.Since(start))
		}
		a.SetReadDeadline(time.Unix(1, 0))
		if _, err := a.Read(make([]byte, 1)); !timedOut(err) || time.Since(start) != 7*time.Second {
			t.Errorf("Read after its deadline: %v after %v", err, time.Since(start))
		}
	})
}

func TestConnPairDeadlineIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := transporttest.ConnPair(0)
		a.SetReadDeadline(time.Now().Add(time.Second))
		a.SetReadDeadline(time.Time{})
		go func() {
			<-time.After(time.Minute)
			b.Write([]byte("x"))
		}()
		if n, err := a.Read(make([]byte, 1)); n != 1 || err != nil {
			t.Errorf("Read: %d, %v", n, err)
		}
	})
}

func timedOut(err error) bool {
	var timeout net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) && errors.As(err, &timeout) && timeout.Timeout()
}

func TestConnPairClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := transporttest.ConnPair(10)
		b.Write([]byte("late"))
		unblocked := make(chan error)
		go func() {
			_, err := a.Write(make([]byte, 11))
			unblocked <- err
		}()
		synctest.Wait()
		b.Close()
		b.Close()
		if err := <-unblocked; !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("Write to a closed peer: %v", err)
		}
		if got, err := io.ReadAll(a); string(got) != "late" || err != nil {
			t.Errorf("read %q, %v after the peer's Close", got, err)
		}
		for what, use := range map[string]func() error{
			"Read":        func() error { _, err := b.Read(make([]byte, 1)); return err },
			"Write":       func() error { _, err := b.Write([]byte("x")); return err },
			"SetDeadline": func() error { return b.SetDeadline(time.Now()) },
		} {
			if err := use(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("%s after Close: %v", what, err)
			}
		}
	})
}

func TestListenerServesHTTPInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := transporttest.NewListener()
		srv := &http.Server{
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				<-time.After(time.Hour)
				io.WriteString(w, r.RemoteAddr)
			}),
		}
		go srv.Serve(l)
		client := &http.Client{Transport: &http.Transport{DialContext: l.NetDial, DisableKeepAlives: true}}
		for _, want := range []string{"127.0.0.1:2", "127.0.0.1:3"} {
			resp, err := client.Get("http://in.memory/")
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || string(body) != want {
				t.Errorf("got %q, %v; want %q", body, err, want)
			}
		}
		if err := srv.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

func TestListenerEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := transporttest.NewListener()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if _, err := l.Dial(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Dial that nobody accepts: %v", err)
		}
		accepted := make(chan error)
		go func() { _, err := l.Accept(); accepted <- err }()
		synctest.Wait()
		l.Close()
		l.Close()
		if err := <-accepted; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept after Close: %v", err)
		}
		if _, err := l.Dial(context.Background()); !errors.Is(err, transporttest.ErrRefused) {
			t.Errorf("Dial after Close: %v", err)
		}
	})
}
