package e2e_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/internal/testenv"
	"github.com/polywire/polywire/reply"
	"github.com/polywire/polywire/service"
	"github.com/polywire/polywire/wire/socketio"
)

// nodeService is node/service.js.
type nodeService struct {
	port string
	end  func()
}

// startService runs it at a port that the test holds, as a client of url.
func startService(t *testing.T, url, port string) nodeService {
	t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), "node", "node/service.js", url, port)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	end := func() {
		if ended {
			return
		}
		ended = true
		_ = in.Close()
		_, _ = io.Copy(io.Discard, out)
		if err := cmd.Wait(); err != nil {
			t.Errorf("node: %v", err)
		}
	}
	t.Cleanup(end)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("node has not begun: %v", err)
	}
	return nodeService{strings.TrimSpace(line), end}
}

// ourService is a server that Node's service calls.
func ourService(t *testing.T) (url string) {
	t.Helper()
	srv, err := polywire.New(polywire.WithWires(socketio.New()), polywire.WithCloseTimeout(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	polywire.HandleFunc(srv, "double", func(_ context.Context, n *int) (*int, error) { return new(2 * *n), nil })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l, "http") }()
	t.Cleanup(func() {
		if err := errors.Join(srv.Close(), <-served); err != nil {
			t.Error(err)
		}
	})
	return "http://" + l.Addr().String()
}

// A service on Node is called, calls a service here, calls back, is heard,
// hangs, dies and comes back: by the protocol of today and by that of GOSF.
func TestServiceOnNode(t *testing.T) {
	needNode(t)
	t.Parallel()
	for name, opts := range map[string][]service.Option{
		"5":                 nil,
		"5, WebSocket only": {service.WithClient(client.WithWires(socketio.New(socketio.WithTransports(socketio.WebSocketOnly))))},
		"4":                 {service.WithClient(client.WithWires(socketio.New(socketio.WithDialVersion(4))))},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ours := ourService(t)
			there := startService(t, ours, holdPort(t))
			heard := make(chan string, 10)
			services := service.New(opts...)
			defer services.Close()
			s, err := services.Register("node", []string{"socketio+http://127.0.0.1:" + there.port},
				service.WithTimeout(20*time.Second), service.WithBackoff(10*time.Millisecond, 100*time.Millisecond))
			if err != nil {
				t.Fatal(err)
			}
			s.Handle("name", func(context.Context, *polywire.Message) (any, error) { return "caller ", nil })
			s.HandleOnce("news", func(_ context.Context, m *polywire.Message) (any, error) {
				var text string
				err := m.Bind(&text)
				heard <- text
				return nil, err
			})
			connected(t, s)
			talkToNode(t, s, heard)

			err = s.Call(t.Context(), "hang", nil, nil, polywire.Timeout(100*time.Millisecond))
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("a call that hangs: %v", err)
			}
			lost := s.Go(t.Context(), "hang", nil, nil)
			if err := s.Call(t.Context(), "echo", reply.Success("flush"), nil); err != nil {
				t.Error(err)
			}
			there.end()
			if err := lost.Wait(t.Context()); polywire.CodeOf(err) != polywire.CodeUnavailable {
				t.Errorf("a call to one that died: %v", err)
			}
			testenv.Eventually(t, time.Minute, "all connections are lost", func() bool { return s.Stats().Open == 0 })
			startService(t, ours, there.port)
			connected(t, s)
			talkToNode(t, s, heard)
		})
	}
}

// connected waits until all connections are there: of a broadcast that comes
// while one is being made both might count as the first.
func connected(t *testing.T, s *service.Service) {
	t.Helper()
	if err := s.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, time.Minute, "all connections are there", func() bool {
		stats := s.Stats()
		return stats.Open > 1 && stats.Open == stats.Wanted
	})
}

func talkToNode(t *testing.T, s *service.Service, heard <-chan string) {
	t.Helper()
	for range 3 { // over both connections
		var answer reply.Message
		if err := s.Call(t.Context(), "echo", &reply.Message{ID: 7, Text: "Echo this..."}, &answer); err != nil ||
			!answer.Success || answer.Text != "Echo this..." || answer.ID != 7 {
			t.Errorf("echo: %+v, %v", answer, err)
		}
		var doubled int
		if err := s.Call(t.Context(), "relay", 21, &doubled); err != nil || doubled != 42 {
			t.Errorf("by way of Node: %d, %v", doubled, err)
		}
		var name string
		if err := s.Call(t.Context(), "back", 1, &name); err != nil || name != "caller 1" {
			t.Errorf("called back: %q, %v", name, err)
		}
	}
	if err := s.Send(t.Context(), "tell", "hello"); err != nil {
		t.Error(err)
	}
	select {
	case text := <-heard:
		if text != "hello" {
			t.Errorf("heard %q", text)
		}
	case <-time.After(time.Minute):
		t.Error("heard nothing")
	}
	if err := s.Call(t.Context(), "echo", reply.Success("flush"), nil); err != nil {
		t.Error(err)
	}
	if len(heard) > 0 {
		t.Error("heard a broadcast twice")
	}
}
