// Package rabbittest runs a real RabbitMQ for tests: a node of its own, with
// its own ports, directory, name and cookie, on the loopback only, which a test
// may stop, kill, pause and starve. It touches no other node of the machine,
// and it ends with the test's process however that ends (on Linux).
package rabbittest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/polywire/polywire/internal/testenv"
)

const (
	// Debian's /usr/sbin/rabbitmq-server changes the user or refuses; what it
	// wraps runs as anybody.
	debianServer = "/usr/lib/rabbitmq/bin/rabbitmq-server"

	nodeName  = "polywire@localhost"
	loopback  = "127.0.0.1"
	startTime = 2 * time.Minute // it takes 4 to 6 s on an idle machine
	stopTime  = time.Minute
	evalTime  = time.Minute

	firstPort, lastPort = 10_000, 32_000 // see listen
)

// Broker is one node. Its methods take the test that asks and fail it. They
// may be called one at a time.
type Broker struct {
	server string
	dir    string
	ports  ports

	mu   sync.Mutex
	epmd *process // nil: none runs
	node *process // nil: none runs
}

// ports are the node's own: of AMQP, of Erlang's distribution and of the port mapper.
type ports struct{ amqp, dist, epmd int }

// Start starts a broker that belongs to t and ends with it. Where RabbitMQ is
// not installed the test is skipped, or fails in a full run.
func Start(t testing.TB) *Broker {
	t.Helper()
	b, err := start(need(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// Absent returns a broker that belongs to t and has not been started yet.
func Absent(t testing.TB) *Broker {
	t.Helper()
	b, err := prepared(need(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	if err := b.choosePorts(); err != nil {
		t.Fatal(err)
	}
	return b
}

// need returns the server's program.
func need(t testing.TB) string {
	t.Helper()
	server := debianServer
	if _, err := os.Stat(server); err != nil {
		server = testenv.Program(t, "rabbitmq-server")
	}
	testenv.Need(t, "erl", "epmd")
	return server
}

// prepared returns a broker without ports that has never run.
func prepared(server string) (*Broker, error) {
	dir, err := os.MkdirTemp("", "polywire-rabbit-")
	if err != nil {
		return nil, err
	}
	b := &Broker{server: server, dir: dir}
	if err := b.prepare(); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

func start(server string) (*Broker, error) {
	b, err := prepared(server)
	if err != nil {
		return nil, err
	}
	for try := 0; ; try++ { // somebody else may take a port between its choice and its use
		if err = b.choosePorts(); err == nil {
			err = b.run()
		}
		if err == nil {
			return b, nil
		}
		if try == 2 {
			err = fmt.Errorf("%w\n%s", err, b.Log())
			b.Close()
			return nil, err
		}
		b.end()
	}
}

// prepare writes what does not depend on the ports.
func (b *Broker) prepare() error {
	return errors.Join(
		os.WriteFile(b.path(".erlang.cookie"), []byte(rand.Text()), 0o400),
		os.WriteFile(b.path("plugins"), []byte("[].\n"), 0o600),
		// What a queue hands on with confirmation while its target starts is handed
		// on again after this time, 3 minutes by default: more than tests wait.
		os.WriteFile(b.path("advanced.config"), []byte("[{rabbit, [{dead_letter_worker_publisher_confirm_timeout, 2000}]}].\n"), 0o600),
	)
}

func (b *Broker) choosePorts() error {
	var open []net.Listener
	defer func() {
		for _, l := range open {
			_ = l.Close()
		}
	}()
	for _, port := range []*int{&b.ports.amqp, &b.ports.dist, &b.ports.epmd} {
		l, err := listen()
		if err != nil {
			return err
		}
		open = append(open, l)
		*port = l.Addr().(*net.TCPAddr).Port
	}
	// The write-ahead log is small so that a node with little to keep stays small.
	conf := fmt.Sprintf(`listeners.tcp.1 = %s:%d
log.console = true
log.console.level = warning
log.file = false
vm_memory_high_watermark.absolute = %s
disk_free_limit.absolute = %s
raft.wal_max_size_bytes = 33554432
`, loopback, b.ports.amqp, memoryLimit, diskLimit)
	return os.WriteFile(b.path("rabbitmq.conf"), []byte(conf), 0o600)
}

// listen takes a free port that no system gives away by itself: those from
// 32768 up, that is. While the node is down its ports must stay free, and any
// connection that somebody opens could come from one of them.
func listen() (net.Listener, error) {
	var err error
	for range 100 {
		port := firstPort + mrand.N(lastPort-firstPort) //nolint:gosec // spread, not secret
		var l net.Listener
		if l, err = net.Listen("tcp", net.JoinHostPort(loopback, strconv.Itoa(port))); err == nil {
			return l, nil
		}
	}
	return nil, err
}

func (b *Broker) path(name string) string { return filepath.Join(b.dir, name) }

// run starts the port mapper, where it is not running, and the node, and waits
// until the node takes connections.
func (b *Broker) run() error {
	out, err := os.OpenFile(b.path("log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }() // the children have their own copies
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.epmd == nil || b.epmd.ended() {
		if b.epmd, err = spawn(b.environ(), out, "epmd"); err != nil {
			return err
		}
	}
	if b.node, err = spawn(b.environ(), out, b.server); err != nil {
		return err
	}
	return b.awaitReady()
}

// environ is all that the node and the tools see: nothing of the system's own node.
func (b *Broker) environ() []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8",
		"HOME=" + b.dir, // the cookie's place
		"ERL_CRASH_DUMP=" + b.path("crash.dump"),
		"ERL_EPMD_ADDRESS=" + loopback, "ERL_EPMD_PORT=" + strconv.Itoa(b.ports.epmd),
		"RABBITMQ_CONF_ENV_FILE=" + os.DevNull,
		"RABBITMQ_NODENAME=" + nodeName, "RABBITMQ_DIST_PORT=" + strconv.Itoa(b.ports.dist),
		"RABBITMQ_MNESIA_BASE=" + b.path("data"), "RABBITMQ_LOG_BASE=" + b.path("logs"), "RABBITMQ_LOGS=-",
		"RABBITMQ_CONFIG_FILE=" + b.path("rabbitmq.conf"), "RABBITMQ_ADVANCED_CONFIG_FILE=" + b.path("advanced.config"),
		"RABBITMQ_ENABLED_PLUGINS_FILE=" + b.path("plugins"), "RABBITMQ_PID_FILE=" + b.path("pid"),
		"RUNNING_UNDER_SYSTEMD=true", // the script becomes the node instead of waiting for it
		// Two schedulers that do not spin: the cores belong to the test as well.
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1} +S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none",
	}
}

// awaitReady waits until the node answers AMQP's greeting. The lock is held.
func (b *Broker) awaitReady() error {
	deadline := time.Now().Add(startTime)
	for !b.answers() {
		if b.node.ended() {
			return errors.New("rabbittest: the node ended while it started")
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("rabbittest: the node does not answer after %v", startTime)
		}
		<-time.After(50 * time.Millisecond) // real: a node that starts tells nobody when it listens
	}
	return nil
}

func (b *Broker) answers() bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", b.Addr())
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(2 * time.Second))
	if _, err := conn.Write([]byte("AMQP\x00\x00\x09\x01")); err != nil {
		return false
	}
	_, err = conn.Read(make([]byte, 1)) // connection.start
	return err == nil
}

// Addr is where the broker listens or, while it is down, will listen again.
func (b *Broker) Addr() string { return net.JoinHostPort(loopback, strconv.Itoa(b.ports.amqp)) }

// URL is Addr with the credentials of the broker's own user.
func (b *Broker) URL() string { return "amqp://guest:guest@" + b.Addr() + "/" }

// Log returns what the node wrote.
func (b *Broker) Log() string {
	text, err := os.ReadFile(b.path("log"))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// Stop ends the node in good order and returns when it is gone. What is
// durable is there after [Broker.Start].
func (b *Broker) Stop(t testing.TB) {
	t.Helper()
	b.signal(t, syscall.SIGTERM)
	b.awaitEnd(t)
}

// Kill ends the node as a power cut of its process does.
func (b *Broker) Kill(t testing.TB) {
	t.Helper()
	b.signal(t, syscall.SIGKILL)
	b.awaitEnd(t)
}

// Start starts the node again, with the same ports and data.
func (b *Broker) Start(t testing.TB) {
	t.Helper()
	if err := b.run(); err != nil {
		t.Fatalf("%v\n%s", err, b.Log())
	}
}

// Pause lets the node stand still: its connections stay open and nothing answers.
func (b *Broker) Pause(t testing.TB) {
	t.Helper()
	b.signal(t, syscall.SIGSTOP)
	testenv.Eventually(t, time.Minute, "all of the node stands still", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.node.still()
	})
}

// Resume ends a pause.
func (b *Broker) Resume(t testing.TB) { t.Helper(); b.signal(t, syscall.SIGCONT) }

func (b *Broker) signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.node == nil || b.node.ended() {
		t.Fatalf("rabbittest: no node runs that could be sent %v", s)
	}
	if err := b.node.signal(s); err != nil {
		t.Fatal(err)
	}
}

func (b *Broker) awaitEnd(t testing.TB) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.node.await(stopTime) {
		t.Fatalf("rabbittest: the node is still there after %v", stopTime)
	}
	b.node = nil
}

// Close kills the node and removes its directory. It may be called again.
func (b *Broker) Close() {
	b.end()
	_ = os.RemoveAll(b.dir)
}

func (b *Broker) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range []*process{b.node, b.epmd} {
		if p != nil && !p.ended() {
			_ = p.signal(syscall.SIGKILL)
			p.await(stopTime)
		}
	}
	b.node, b.epmd = nil, nil
}

// Eval runs an Erlang expression in the node and returns what it prints of its value.
func (b *Broker) Eval(t testing.TB, expression string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), evalTime)
	defer cancel()
	// rabbitmqctl does the same, and takes ten times as long to start.
	script := fmt.Sprintf(`
		{ok, Tokens, _} = erl_scan:string(%q),
		{ok, Parsed} = erl_parse:parse_exprs(Tokens),
		case rpc:call('%s', erl_eval, exprs, [Parsed, []], %d) of
			{value, Value, _} -> io:format("~0p", [Value]), halt(0);
			Bad -> io:format("~0p", [Bad]), halt(1)
		end.`, expression+".", nodeName, evalTime.Milliseconds())
	name := "eval" + strings.ToLower(rand.Text()) + "@localhost"
	//nolint:gosec // the test's own expression
	cmd := exec.CommandContext(ctx, "erl", "-noinput", "-hidden", "-sname", name, "-boot", "no_dot_erlang", "-eval", script)
	cmd.Env = b.environ()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("rabbittest: %s: %v: %s", expression, err, out.String())
	}
	return out.String()
}
