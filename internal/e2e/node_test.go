package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/polywire/polywire/internal/conntest"
	"github.com/polywire/polywire/internal/testenv"
)

// clients are the client versions by the scenarios' names for them.
var clients = map[string]string{"2": "2.5.0", "3": "3.1.3", "4": "4.8.3"}

// modes are the ways to connect.
var modes = []string{"polling", "websocket", "upgrade"}

// needNode ends the test where Node or the packages are missing.
func needNode(t *testing.T) {
	t.Helper()
	testenv.Need(t, "node")
	if _, err := os.Stat("node_modules/socket.io-client-4/package.json"); err != nil {
		testenv.Missing(t, "the npm packages of internal/e2e (make test installs them)")
	}
}

// result is the outcome of one scenario.
type result struct {
	Name    string `json:"name"`
	Error   string `json:"error"`
	Skipped bool   `json:"skipped"`
}

// check makes a subtest of a scenario's outcome.
func (r result) check(t *testing.T) {
	t.Helper()
	t.Run(r.Name, func(t *testing.T) {
		if r.Error != "" {
			t.Error(r.Error)
		}
		if r.Skipped {
			t.Error("a scenario was skipped")
		}
	})
}

// node runs a test file in Node and makes a subtest of each scenario in it.
func node(t *testing.T, file string, env ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "--test-reporter=./node/reporter.js", file)
	cmd.Env = append(os.Environ(), env...)
	var problems bytes.Buffer
	cmd.Stderr = &problems
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	failed, n := 0, 0
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r result
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Logf("node says: %s", lines.Text())
			continue
		}
		r.Name = r.Name[strings.LastIndexByte(r.Name, '/')+1:]
		r.check(t)
		n++
		if r.Error != "" {
			failed++
		}
	}
	err = cmd.Wait()
	if problems.Len() > 0 {
		t.Logf("node says: %s", problems.Bytes())
	}
	if err != nil && failed == 0 || lines.Err() != nil {
		t.Errorf("node: %v %v", err, lines.Err())
	}
	if n == 0 {
		t.Error("no scenario was run")
	}
}

// holdPort returns a port that a server in Node may have, and have again after
// a restart.
func holdPort(t *testing.T) string {
	t.Helper()
	_, port, err := net.SplitHostPort(conntest.HoldPort(t))
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// Every client over every way to connect.
func TestScenariosInNode(t *testing.T) {
	needNode(t)
	t.Parallel()
	for client, version := range clients {
		for _, mode := range modes {
			t.Run(version+" "+mode, func(t *testing.T) {
				t.Parallel()
				node(t, "run.test.js", "POLYWIRE_E2E_URL="+serve(t), "POLYWIRE_E2E_CLIENTS="+client, "POLYWIRE_E2E_MODES="+mode)
			})
		}
	}
}

// The scenarios themselves, against the official server.
func TestScenariosAgainstOfficialServer(t *testing.T) {
	needNode(t)
	t.Parallel()
	for client, version := range clients {
		for _, mode := range modes {
			t.Run(version+" "+mode, func(t *testing.T) {
				t.Parallel()
				var ports []string
				for range serverNames() {
					ports = append(ports, holdPort(t))
				}
				node(t, "reference.test.js", "POLYWIRE_E2E_CLIENTS="+client, "POLYWIRE_E2E_MODES="+mode,
					"POLYWIRE_E2E_PORTS="+strings.Join(ports, ","))
			})
		}
	}
}
