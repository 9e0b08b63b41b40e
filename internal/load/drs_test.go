package load

import (
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/polywire/polywire/transport"
)

// drsAnswers returns what a server sends to the client that has sent a command,
// and what to everybody.
func drsAnswers(ask []byte) (back, all string) {
	var c struct {
		Key, Action string
		Body        json.RawMessage
	}
	if json.Unmarshal(ask, &c) != nil {
		return `{"action":"drs.exception"}`, ""
	}
	switch c.Action {
	case "echo":
		return fmt.Sprintf(`{"action":"drs.response", "body":%s, "key":%q,"version":1}`, c.Body, c.Key), ""
	case "broadcast":
		return fmt.Sprintf(`{"key":%q,"action":"drs.response"}`, c.Key), fmt.Sprintf(`{"key":"x","action":"news","body":%s}`, c.Body)
	}
	return "", ""
}

func drsReply(s *testServer, c *testConn, f transport.Frame) {
	back, all := drsAnswers(f.Data)
	if back != "" {
		c.send(transport.Text, []byte(back))
	}
	if all != "" {
		s.broadcast(func(o *testConn) { o.send(transport.Text, []byte(all)) })
	}
}

// serveCommands plays DRS on a listener of streams. It asks each client the
// time, and sets newlines after its commands or not.
func serveCommands(t *testing.T, l net.Listener) {
	t.Helper()
	var mu sync.Mutex
	var group sync.WaitGroup
	conns := map[net.Conn]struct{}{}
	asked, told := 0, 0
	serve := func(nc net.Conn) {
		defer nc.Close()
		_, _ = nc.Write([]byte(`{"key":"p\"q","action":"drs.ping"}` + "\n"))
		d := json.NewDecoder(nc)
		for {
			var raw json.RawMessage
			if d.Decode(&raw) != nil {
				return
			}
			mu.Lock()
			if strings.Contains(string(raw), `"p\"q"`) {
				told++
			}
			back, all := drsAnswers(raw)
			if len(back) > 0 {
				_, _ = nc.Write([]byte(back))
			}
			if all != "" {
				for other := range conns {
					_, _ = other.Write([]byte(all + " \n"))
				}
			}
			mu.Unlock()
		}
	}
	group.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns[nc] = struct{}{}
			asked++
			mu.Unlock()
			group.Go(func() { serve(nc) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for nc := range conns {
			nc.Close()
		}
		mu.Unlock()
		group.Wait()
		if told == 0 || told > asked {
			t.Errorf("%d clients of %d have answered a ping", told, asked)
		}
	})
}

func TestDRSOnEveryLink(t *testing.T) {
	ws := startServer(t, false, "", drsReply)
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serveCommands(t, tcp)
	sock := filepath.Join(t.TempDir(), "s")
	unix, err := net.Listen("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	serveCommands(t, unix)
	for _, url := range []string{"ws://" + ws.addr, "drs+tcp://" + tcp.Addr().String(), "unix://" + sock} {
		for _, mode := range []Mode{Echo, Broadcast} {
			for _, payload := range []int{1, 100, 5000} {
				t.Run(fmt.Sprint(url, mode, payload), func(t *testing.T) {
					res := run(t, Config{URL: url, Wire: "drs", Mode: mode, Conns: 3, Window: 4, PayloadBytes: payload, Duration: short})
					if res.Messages == 0 || res.OpenConns != 3 {
						t.Errorf("nothing was measured: %+v", res)
					}
				})
			}
		}
	}
	res := run(t, Config{URL: "tcp://" + tcp.Addr().String(), Wire: "drs", Mode: Idle, Speak: true, Conns: 5, Duration: 10 * time.Millisecond})
	if res.OpenConns != 5 {
		t.Errorf("%+v", res)
	}
}

func TestDRSWire(t *testing.T) {
	echo, news := newDRSWire(Echo, []byte("hi")), newDRSWire(Broadcast, []byte("hi"))
	if got := string(echo.appendRequest(nil, 12)); got != `{"key":"0000000000000012","action":"echo","body":"hi"}` {
		t.Error(got)
	}
	if got := string(news.appendRequest(nil, 0)); got != `{"key":"0000000000000000","action":"broadcast","body":"hi"}` {
		t.Error(got)
	}
	for text, want := range map[string]string{
		`{"key":"0000000000000012","action":"drs.response","body":"hi"}`: "1 12, 0 0",
		`{"key":"0000000000000012","action":"drs.response","body":"h"}`:  "0 0, 0 0",
		`{"key":"other","action":"drs.response","body":"hi"}`:            "0 0, 0 0",
		`{"action":"drs.response","body":"hi"}`:                          "0 0, 0 0",
		`{"action":"news","body":"hi"}`:                                  "0 0, 1 0",
		`{"action":"news","body":"h"}`:                                   "0 0, 0 0",
		`{"key":"1","action":"drs.error","body":{"message":"no"}}`:       "2 0, 2 0",
		`{"key":"1","action":"drs.exception"}`:                           "2 0, 2 0",
		`{"key":"1","action":"drs.ping"}`:                                "3 0, 3 0",
		`{"key":1}`:                                                      "2 0, 2 0",
		`[]`:                                                             "2 0, 2 0",
	} {
		f := transport.Frame{Type: transport.Text, Data: []byte(text)}
		a, id := echo.classify(f)
		b, other := news.classify(f)
		if got := fmt.Sprintf("%d %d, %d %d", a, id, b, other); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	if a, _ := echo.classify(transport.Frame{Type: transport.Binary}); a != failure {
		t.Error("a binary frame is fine")
	}
}

func TestValueFraming(t *testing.T) {
	v := valueFraming{20}
	for in, want := range map[string]string{
		"":                       "",
		" \n":                    "",
		`{"a":`:                  "",
		`{"a":1}`:                `{"a":1}`,
		"\n{\"a\":1} {":          `{"a":1}`,
		strings.Repeat("[", 21):  "error",
		`["` + sixty() + `"]`:    "error",
		"1":                      "error",
		"\n\n[1,2,3]\n\n[4,5,6]": "[1,2,3]",
	} {
		f, n, err := v.next([]byte(in))
		got := string(f.Data)
		if err != nil {
			got = "error"
		}
		if got != want || n > len(in) || err == nil && want != "" && !strings.HasSuffix(in[:n], want) {
			t.Errorf("%q: %q, %d, %v", in, got, n, err)
		}
	}
}

func sixty() string { return strings.Repeat("x", 60) }
