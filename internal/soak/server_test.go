package soak_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/polywire/polywire/internal/scrape"
	"github.com/polywire/polywire/internal/testenv"
)

// patience is how long is waited for what must come at some time.
const patience = 3 * time.Minute

// apiKey opens the API; the process is the test's own.
const apiKey = "a-key-of-the-soak-and-of-nobody-else"

// Rooms, the queue, and the types of events.
const (
	roomKept  = "kept"
	roomLive  = "live"
	roomDone  = "done"
	roomFlood = "flood"
	queueJobs = "jobs"
	kindJob   = "job.do"
	kindOrder = "order.new"
	kindNote  = "note"
)

// server is `polywire serve` as a process.
type server struct {
	t     *testing.T
	cmd   *exec.Cmd
	admin string // URL
	http  string // host:port
	tcp   string
	drs   string
	unix  string // path
	read  sync.WaitGroup

	mu  sync.Mutex
	log bytes.Buffer
}

// Write takes what it logs.
func (s *server) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.Write(b)
}

func (s *server) logged() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.String()
}

// serve builds and starts it.
func serve(t *testing.T) *server {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "polywire")
	build := exec.Command("go", append(append([]string{"build"}, buildFlags()...), "-o", program, "./cmd/polywire")...)
	build.Dir = testenv.Root(t)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	s := &server{t: t, unix: filepath.Join(dir, "sock")}
	s.cmd = exec.Command(program, "serve",
		"--listen", "127.0.0.1:0", "--listen", "tcp://127.0.0.1:0", "--listen", "drs+tcp://127.0.0.1:0", "--listen", "unix://"+s.unix,
		"--admin", "127.0.0.1:0", "--log-format", "json", "--drain", "20s",
		"--allow", "publish", "--data-dir", filepath.Join(dir, "data"), "--no-sync",
		"--history", roomKept+":size=5000,age=10m,bytes=16m", "--history", roomDone+":size=5000,age=10m,bytes=16m", "--recovery",
		"--queue-in", "job.*="+queueJobs, "--queue-out", queueJobs+"="+roomDone+",kind="+kindNote,
		"--webhooks", "--webhook-out", "order.*", "--webhook-allow-http", "--webhook-allow-network", "127.0.0.1/32",
		"--api-access", "soak=env:SOAK_KEY,all")
	s.cmd.Env = append(os.Environ(), "SOAK_KEY="+apiKey)
	s.cmd.Stderr = s
	out, err := s.cmd.StdoutPipe()
	if err == nil {
		err = s.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill() // it should have ended
		s.read.Wait()
		_ = s.cmd.Wait()
		if t.Failed() {
			log := s.logged()
			t.Logf("the server's log ends with\n%s", log[max(0, len(log)-8000):])
		}
	})
	lines := make(chan string, 16)
	s.read.Go(func() {
		defer close(lines)
		for in := bufio.NewScanner(out); in.Scan(); {
			select {
			case lines <- in.Text():
			default: // nobody wants more
			}
		}
	})
	late := time.AfterFunc(patience, func() { _ = s.cmd.Process.Kill() })
	defer late.Stop()
	for s.http == "" || s.tcp == "" || s.drs == "" {
		line, ok := <-lines
		if !ok {
			t.Fatalf("it has ended, or took too long:\n%s", s.logged())
		}
		s.at(line)
	}
	testenv.Eventually(t, patience, "the admin listener is there", func() bool { return s.findAdmin() })
	return s
}

// at takes a line that says where it listens.
func (s *server) at(line string) {
	url := strings.TrimPrefix(line, "listening on ")
	for scheme, at := range map[string]*string{"ws://": &s.http, "tcp://": &s.tcp, "drs+tcp://": &s.drs} {
		if rest, ok := strings.CutPrefix(url, scheme); ok {
			*at = rest
		}
	}
}

func (s *server) findAdmin() bool {
	for line := range strings.Lines(s.logged()) {
		var l struct{ Msg, At string }
		if json.Unmarshal([]byte(line), &l) == nil && strings.Contains(l.Msg, "admin listener") {
			s.admin = l.At
		}
	}
	return s.admin != ""
}

// state is what a server holds.
type state struct{ conns, goroutines, files, heap float64 }

func (s state) String() string {
	return fmt.Sprintf("%.0f connections, %.0f goroutines, %.0f files, heap %.1f MiB", s.conns, s.goroutines, s.files, s.heap/(1<<20))
}

// state collects garbage and looks.
func (s *server) state() (now state, err error) {
	resp, err := http.Get(s.admin + "/debug/pprof/heap?gc=1")
	if err != nil {
		return now, err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return now, err
	}
	p, err := scrape.Fetch(context.Background(), s.admin+"/metrics")
	return state{p.Sum("polywire_server_connections"), p.Sum("go_goroutines"), p.Sum("process_open_fds"), p.Sum("go_memstats_heap_alloc_bytes")}, err
}

// end tells it to end, and looks how it does, and what it has complained of.
// On a machine that is too busy for it the server may complain with reason, so
// that only a long soak fails for that.
func (s *server) end(long bool) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Fatal(err)
	}
	late := time.AfterFunc(patience, func() { _ = s.cmd.Process.Kill() })
	s.read.Wait()
	if err := s.cmd.Wait(); err != nil {
		s.t.Errorf("the server: %v", err)
	}
	late.Stop()
	warned := make(map[string]int)
	for line := range strings.Lines(s.logged()) {
		var l struct{ Level, Msg string }
		switch err := json.Unmarshal([]byte(line), &l); {
		case err != nil:
			s.t.Errorf("the server said: %s", line) // a panic, a race
		case l.Level == "ERROR" && long:
			s.t.Errorf("the server complains: %s", line)
		case l.Level == "ERROR", l.Level == "WARN":
			warned[l.Msg]++
		}
	}
	for what, n := range warned {
		s.t.Logf("the server warned %d times: %s", n, what)
	}
}

// ask makes a request of the API by a way, and returns the answer.
func ask(ctx context.Context, c *http.Client, method, url string, body any, key string) (int, []byte, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return 0, nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(text))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+apiKey)
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	resp, err := c.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return resp.StatusCode, answer, err
}
