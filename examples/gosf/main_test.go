package main

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/polywire/polywire/internal/testenv"
)

func TestMain(m *testing.M) { testenv.VerifyNoLeaks(m) }

func TestGoClient(t *testing.T) {
	const want = `the Go client: success true, text "Echo this..."
`
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var out bytes.Buffer
	if err := serve(ctx, "ws://127.0.0.1:0", func(url string) error { return call(ctx, &out, url) }); err != nil {
		t.Fatal(err)
	}
	if out.String() != want {
		t.Errorf("it printed\n%s\nwant\n%s", out.String(), want)
	}
}

// The page's script in Node, with the official client.
func TestJavaScriptClient(t *testing.T) {
	node := testenv.Program(t, "node")
	library := filepath.Join(testenv.Root(t), "internal", "e2e", "node_modules", "socket.io-client-2")
	if _, err := os.Stat(library); err != nil {
		testenv.Missing(t, "the npm packages of internal/e2e (make test installs them)")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var got []string
	err := serve(ctx, "ws://127.0.0.1:0", func(url string) error {
		const run = `globalThis.io = require(process.argv[1]); globalThis.url = process.argv[2]; require(process.argv[3])`
		c := exec.CommandContext(ctx, node, "-e", run, library, url, filepath.Join(testenv.Root(t), "examples", "gosf", "client.js"))
		c.Stderr = t.Output()
		out, err := c.StdoutPipe()
		if err != nil {
			return err
		}
		if err := c.Start(); err != nil {
			return err
		}
		for lines := bufio.NewScanner(out); len(got) < 2 && lines.Scan(); {
			got = append(got, lines.Text())
		}
		_ = c.Process.Kill() // it would stay connected
		_ = c.Wait()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"acknowledged: { success: true, text: 'Hello world.' }", "event: { success: true, text: 'Hello world.' }"}
	if len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("it printed %q, want %q", got, want)
	}
}

func TestDocument(t *testing.T) {
	const want = `sample: success true, text "Hello World, I'd just like to say that I love you.", body map[], meta map[]
sample: success true, text "Hello World, I'd just like to say hi.", body map[], meta map[]
join: success false, text "no_room", body map[known:[chat friends]], meta map[]
join: success true, text "joined chat", body map[], meta map[]
join: success true, text "joined friends", body map[], meta map[]
example: success true, text "Hello World"
example: success true, text "Hello chat"
say: success true, text "Hello friends"
Client connected.
Request received for sample endpoint.
Request for sample endpoint was processed by the controller.
Response for sample endpoint is being prepared.
Response for sample endpoint was sent.
Request received for sample endpoint.
Request for sample endpoint was processed by the controller.
Response for sample endpoint is being prepared.
Response for sample endpoint was sent.
Request received for say endpoint.
Request for say endpoint was processed by the controller.
Client connected.
Request received for join endpoint.
Request for join endpoint was processed by the controller.
Response for join endpoint is being prepared.
Response for join endpoint was sent.
Request received for join endpoint.
Request for join endpoint was processed by the controller.
Response for join endpoint is being prepared.
Response for join endpoint was sent.
Request received for join endpoint.
Request for join endpoint was processed by the controller.
Response for join endpoint is being prepared.
Response for join endpoint was sent.
Broadcast for example endpoint is preparing to send to everybody.
Broadcast for example endpoint was sent to everybody.
Broadcast for example endpoint is preparing to send to chat.
Broadcast for example endpoint was sent to chat.
Broadcast for say endpoint is preparing to send to friends.
Broadcast for say endpoint was sent to friends.
Client disconnected.
Client disconnected.
`
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var out bytes.Buffer
	if err := document(ctx, &out); err != nil {
		t.Fatal(err)
	}
	if out.String() != want {
		t.Errorf("it printed\n%s\nwant\n%s", out.String(), want)
	}
}
