package main

import (
	"bufio"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/internal/testenv"
	"github.com/polywire/polywire/webhook"
)

// The backend of docs/backend.md does what the page says.
func TestBackendOfTheDocument(t *testing.T) {
	python := testenv.Program(t, "python3")
	text, err := os.ReadFile(filepath.Join(testenv.Root(t), "docs", "backend.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "```python\n")
	program, _, ok := strings.Cut(rest, "```")
	const serve = `ThreadingHTTPServer(("127.0.0.1", 5000), Backend).serve_forever()`
	if !ok || !strings.Contains(program, serve) {
		t.Fatal("the document's program is not found")
	}
	program = strings.Replace(program, serve, `s = ThreadingHTTPServer(("127.0.0.1", 0), Backend); print(s.server_port, flush=True); s.serve_forever()`, 1)
	secret := webhook.GenerateSecret().Reveal()
	t.Setenv("BACKEND_SECRET", secret)
	c := exec.CommandContext(t.Context(), python, "-c", program)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	port, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	url := last(start(t, 1, "serve", "--listen", "127.0.0.1:0", "--backend-url", "http://127.0.0.1:"+strings.TrimSpace(port)+"/polywire",
		"--backend-secret", "env:BACKEND_SECRET", "--backend-event", "connect,subscribe,publish", "--backend-kind", "order.*", "--backend-timeout", "1m")[0])
	if nobody, err := client.Dial(t.Context(), url, client.WithoutReconnect()); err == nil {
		_ = nobody.Close()
		t.Error("somebody without a name was let in")
	}
	ada, err := client.Dial(t.Context(), url, client.WithoutReconnect(), client.WithHTTPHeader(http.Header{"Authorization": {"Bearer ada"}}))
	if err != nil {
		t.Fatal(err)
	}
	defer ada.Close()
	if err := ada.Subscribe(t.Context(), "user-ada"); err != nil {
		t.Error(err)
	}
	if err := ada.Subscribe(t.Context(), "user-bob"); !errors.Is(err, &polywire.Error{Code: polywire.CodeForbidden}) {
		t.Errorf("somebody else's room: %v", err)
	}
	var reply struct {
		Said []int `json:"you_said"`
	}
	if err := ada.Call(t.Context(), "order.place", []int{1, 2}, &reply); err != nil || len(reply.Said) != 2 {
		t.Errorf("%+v, %v", reply, err)
	}
}
