package natsembed_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/polywire/polywire/natsembed"
)

// patience bounds every wait of these tests.
const patience = 60 * time.Second

func within(tb testing.TB) context.Context {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	tb.Cleanup(cancel)
	return ctx
}

// start runs a server until the test's end, and shows its log if the test fails.
func start(tb testing.TB, o natsembed.Options) *natsembed.Server {
	tb.Helper()
	if o.Logger == nil {
		l := new(lines)
		o.Logger = l.logger(slog.LevelInfo)
		tb.Cleanup(func() {
			if tb.Failed() {
				tb.Log(l)
			}
		})
	}
	s, err := natsembed.Start(within(tb), o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { stop(tb, s) })
	return s
}

func stop(tb testing.TB, s *natsembed.Server) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		tb.Error(err)
	}
}

// lines is a log.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *lines) logger(level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: level}))
}

func connect(tb testing.TB, s *natsembed.Server, opts ...nats.Option) *nats.Conn {
	tb.Helper()
	nc, err := s.Connect(opts...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(nc.Close)
	return nc
}

func streams(tb testing.TB, s *natsembed.Server) jetstream.JetStream {
	tb.Helper()
	js, err := jetstream.New(connect(tb, s))
	if err != nil {
		tb.Fatal(err)
	}
	return js
}

// messages counts those of a stream.
func messages(tb testing.TB, js jetstream.JetStream, stream string) uint64 {
	tb.Helper()
	var n uint64
	succeeds(tb, func() error {
		str, err := js.Stream(try(tb), stream)
		if err == nil {
			n = str.CachedInfo().State.Msgs
		}
		return err
	})
	return n
}

// echo asks the server for its own message, which shows that it carries any.
func echo(tb testing.TB, nc *nats.Conn) {
	tb.Helper()
	sub, err := nc.Subscribe("echo", func(m *nats.Msg) { m.Respond(m.Data) })
	if err != nil {
		tb.Fatal(err)
	}
	defer sub.Unsubscribe()
	m, err := nc.RequestWithContext(within(tb), "echo", []byte("hello"))
	if err != nil || string(m.Data) != "hello" {
		tb.Fatal(m, err)
	}
}

func TestStreamsOutliveTheServer(t *testing.T) {
	o := natsembed.Options{Dir: filepath.Join(t.TempDir(), "made", "by start")}
	s := start(t, o)
	js := streams(t, s)
	if _, err := js.CreateStream(within(t), jetstream.StreamConfig{Name: "kept", Subjects: []string{"kept.>"}}); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		if _, err := js.Publish(within(t), fmt.Sprint("kept.", i), []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	name := s.Name()
	stop(t, s)
	again := start(t, o)
	if got := messages(t, streams(t, again), "kept"); got != 10 {
		t.Errorf("%d messages after a restart, want 10", got)
	}
	if again.Name() != name {
		t.Errorf("the name was %q and is %q", name, again.Name())
	}
	if err := again.Health(); err != nil {
		t.Error(err)
	}
	st, err := again.Stats()
	if err != nil || st.Streams != 1 || st.Messages != 10 || st.StoreBytes == 0 || st.Connections != 1 || st.Nodes != 1 ||
		st.MaxStoreBytes != natsembed.DefaultMaxStoreBytes || st.MaxMemoryBytes != natsembed.DefaultMaxMemoryBytes {
		t.Errorf("%+v, %v", st, err)
	}
}

func TestDirectoryIsForOneServer(t *testing.T) {
	o := natsembed.Options{Dir: t.TempDir()}
	s := start(t, o)
	_, err := natsembed.Start(within(t), o)
	if !errors.Is(err, natsembed.ErrInUse) || !strings.Contains(err.Error(), fmt.Sprintf("this process (%d)", os.Getpid())) {
		t.Errorf("a second server of the process: %v", err)
	}
	out, err := child(t, childStart, o.Dir).CombinedOutput()
	if err == nil || !strings.Contains(string(out), fmt.Sprintf("in use: %s, by process %d", o.Dir, os.Getpid())) {
		t.Errorf("a second process: %s %v", out, err)
	}
	stop(t, s)
	if out, err := child(t, childStart, o.Dir).CombinedOutput(); err != nil {
		t.Errorf("a second process after the first's end: %s %v", out, err)
	}
	start(t, o)
}

func TestTemporaryDirectoryIsRemoved(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	s := start(t, natsembed.Options{TemporaryDir: true})
	dir := s.Dir()
	if filepath.Dir(dir) != os.Getenv("TMPDIR") {
		t.Errorf("the directory is %s", dir)
	}
	if _, err := streams(t, s).CreateStream(within(t), jetstream.StreamConfig{Name: "short"}); err != nil {
		t.Fatal(err)
	}
	stop(t, s)
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there: %v", dir, err)
	}
}

func TestWithoutJetStreamIsNoDirectory(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	t.Chdir(t.TempDir())
	s := start(t, natsembed.Options{NoJetStream: true})
	echo(t, connect(t, s))
	if err := s.Ready(); err != nil {
		t.Error(err)
	}
	if err := s.Health(); err != nil {
		t.Error(err)
	}
	if st, err := s.Stats(); err != nil || st.MessagesIn == 0 || st.MaxStoreBytes != 0 {
		t.Errorf("%+v, %v", st, err)
	}
	for _, dir := range []string{".", os.Getenv("TMPDIR")} {
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
			t.Errorf("in %s: %v, %v", dir, entries, err)
		}
	}
}

func TestLimits(t *testing.T) {
	s := start(t, natsembed.Options{
		Dir: t.TempDir(), NoSync: true, MaxStoreBytes: 256 << 10, MaxMemoryBytes: 128 << 10, MaxPayloadBytes: 64 << 10,
	})
	nc := connect(t, s)
	if nc.MaxPayload() != 64<<10 {
		t.Errorf("the largest message is %d", nc.MaxPayload())
	}
	if err := nc.Publish("x", make([]byte, 64<<10+1)); !errors.Is(err, nats.ErrMaxPayload) {
		t.Errorf("a larger message: %v", err)
	}
	js := streams(t, s)
	for _, storage := range []jetstream.StorageType{jetstream.FileStorage, jetstream.MemoryStorage} {
		name := storage.String()
		if _, err := js.CreateStream(within(t), jetstream.StreamConfig{Name: name, Storage: storage}); err != nil {
			t.Fatal(err)
		}
		taken, err := 0, error(nil)
		for taken < 32 && err == nil {
			if _, err = js.Publish(within(t), name, make([]byte, 32<<10)); err == nil {
				taken++
			}
		}
		if err == nil || taken == 0 || taken > 8 {
			t.Errorf("%s: %d messages of 32 KiB were taken, then %v", name, taken, err)
		}
	}
}

func TestShutdown(t *testing.T) {
	s := start(t, natsembed.Options{TemporaryDir: true})
	closed := make(chan struct{})
	nc := connect(t, s, nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
	ended, end := context.WithCancel(context.Background())
	end()
	if err := s.Shutdown(ended); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("Shutdown without time: %v", err)
	}
	stop(t, s)
	stop(t, s)
	select {
	case <-closed:
	case <-time.After(patience):
		t.Error("a connection's own handler was not called")
	}
	if !nc.IsClosed() {
		t.Error("a connection is open after Shutdown")
	}
	if _, err := s.Connect(); !errors.Is(err, natsembed.ErrClosed) {
		t.Errorf("Connect: %v", err)
	}
	_, err := s.Stats()
	for _, err := range []error{err, s.Ready(), s.Health(), s.WaitReady(within(t))} {
		if !errors.Is(err, natsembed.ErrClosed) {
			t.Errorf("got %v", err)
		}
	}
}

func TestLogGoesToSlog(t *testing.T) {
	var l lines
	s := start(t, natsembed.Options{TemporaryDir: true, Logger: l.logger(slog.LevelInfo)})
	echo(t, connect(t, s))
	stop(t, s)
	text := l.String()
	for _, want := range []string{`level=INFO msg="Starting nats-server"`, `msg="Server is ready"`, `msg="Server Exiting.."`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in the log", want)
		}
	}
	for _, no := range []string{"level=DEBUG", "___", "-----"} {
		if strings.Contains(text, no) {
			t.Errorf("%s in the log", no)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
	var deep lines
	s = start(t, natsembed.Options{TemporaryDir: true, Logger: deep.logger(slog.LevelDebug - 4)})
	echo(t, connect(t, s))
	stop(t, s)
	if text := deep.String(); !strings.Contains(text, "level=DEBUG ") || !strings.Contains(text, "level=DEBUG-4") {
		t.Error("debug and trace lines are missing")
	}
}

func TestStartFails(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	ended, end := context.WithCancel(context.Background())
	end()
	file := filepath.Join(t.TempDir(), "file")
	noStore := t.TempDir()
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.WriteFile(filepath.Join(noStore, "jetstream"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	badRecord := t.TempDir()
	if err := os.WriteFile(filepath.Join(badRecord, "natsembed.json"), []byte(`{"name":`), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		ctx  context.Context
		o    natsembed.Options
		want string
	}{
		"port taken":       {within(t), natsembed.Options{Dir: t.TempDir(), Listen: taken.Addr().String()}, "address already in use"},
		"node's port":      {within(t), natsembed.Options{Dir: t.TempDir(), Cluster: &natsembed.Cluster{Listen: taken.Addr().String()}}, "address already in use"},
		"no such address":  {within(t), natsembed.Options{Dir: t.TempDir(), Listen: "192.0.2.1:0", InsecureNoAuth: true}, "192.0.2.1"},
		"ended context":    {ended, natsembed.Options{Dir: t.TempDir()}, "context canceled"},
		"a file":           {within(t), natsembed.Options{Dir: file}, "not a directory"},
		"a file inside":    {within(t), natsembed.Options{Dir: noStore}, "JetStream"},
		"malformed record": {within(t), natsembed.Options{Dir: badRecord}, "natsembed.json"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s, err := natsembed.Start(tt.ctx, tt.o)
			if err == nil {
				stop(t, s)
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want %q", err, tt.want)
			}
			if tt.want == "address already in use" || tt.ctx == ended { // the directory is free again
				tt.o.Listen = ""
				if tt.o.Cluster != nil {
					tt.o.Cluster = &natsembed.Cluster{Listen: "127.0.0.1:0", NoWait: true}
				}
				start(t, tt.o)
			}
		})
	}
}

func TestStartFailsOnUnwritable(t *testing.T) {
	if os.Geteuid() == 0 { // root may write everywhere
		if out, err := os.ReadDir("/proc/self"); err != nil || len(out) == 0 {
			return // no such system
		}
		if _, err := natsembed.Start(within(t), natsembed.Options{Dir: "/proc/self/no"}); err == nil {
			t.Error("a directory that nobody can make was made")
		}
		return
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	if _, err := natsembed.Start(within(t), natsembed.Options{Dir: filepath.Join(dir, "x")}); err == nil {
		t.Error("a directory that this user cannot make was made")
	}
}
