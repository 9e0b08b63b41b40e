package e2ecluster_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/polywire/polywire/internal/testenv"
)

// patience is how long a test waits for what must come at some time.
const patience = 3 * time.Minute

// bound is a time that something was promised to take at most, from now on. A
// machine that is too busy for it breaks no promise.
type bound struct {
	began  time.Time
	within time.Duration
	idle   func() float64
}

func within(d time.Duration) bound { return bound{time.Now(), d, testenv.Idle()} }

// took is how long it has taken, and whether that was too long.
func (b bound) took() (d time.Duration, tooLong bool) {
	d = time.Since(b.began).Round(time.Millisecond)
	return d, d > b.within && b.idle() > 0.1
}

// keep fails the test if it has taken too long.
func (b bound) keep(t *testing.T, what string) {
	t.Helper()
	if d, tooLong := b.took(); tooLong {
		t.Errorf("%s took %v, want %v, and the machine had time left", what, d, b.within)
	}
}

// waitFor waits until f returns nil.
func waitFor(t *testing.T, within time.Duration, what string, f func() error) time.Duration {
	t.Helper()
	began := time.Now()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return time.Since(began)
		}
		if time.Since(began) > within {
			t.Fatalf("not within %v: %s: %v", within, what, err)
		}
		<-tick.C
	}
}

// process is a child that runs.
type process struct {
	child
	hello

	t     *testing.T
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string
	read  sync.WaitGroup
	ask   sync.Mutex
	over  bool
}

// spawn starts a child. It ends with the test, if not before.
func spawn(t *testing.T, c child) *process {
	t.Helper()
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	p := &process{child: c, t: t, cmd: exec.Command(os.Args[0]), lines: make(chan string, 16)}
	p.cmd.Env = append(os.Environ(), childVariable+"="+string(text))
	p.cmd.Stderr = t.Output()
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.read.Go(func() {
		defer close(p.lines)
		for in := bufio.NewScanner(out); in.Scan(); {
			p.lines <- in.Text()
		}
	})
	t.Cleanup(p.stop)
	return p
}

// next reads a line of JSON.
func (p *process) next(v any) {
	p.t.Helper()
	select {
	case line, ok := <-p.lines:
		if err := json.Unmarshal([]byte(line), v); err != nil {
			p.t.Fatalf("%s said %q (%v): %v", p.Name, line, ok, err)
		}
	case <-time.After(patience):
		p.t.Fatalf("%s says nothing", p.Name)
	}
}

func (p *process) report() (r report) {
	p.t.Helper()
	p.ask.Lock()
	defer p.ask.Unlock()
	if _, err := io.WriteString(p.in, "report\n"); err != nil {
		p.t.Fatalf("%s: %v", p.Name, err)
	}
	p.next(&r)
	return r
}

// kill ends the process without a word.
func (p *process) kill() {
	p.t.Helper()
	p.over = true
	if err := p.cmd.Process.Kill(); err != nil {
		p.t.Fatal(err)
	}
	p.read.Wait()
	_ = p.cmd.Wait() // it says how it was killed
}

// stop lets the process end, and looks whether it does so in order.
func (p *process) stop() {
	if p.over {
		return
	}
	p.over = true
	_ = p.in.Close() // it is told by that
	late := time.AfterFunc(patience, func() { _ = p.cmd.Process.Kill() })
	p.read.Wait()
	if err := p.cmd.Wait(); err != nil {
		p.t.Errorf("%s: %v", p.Name, err)
	}
	late.Stop()
}

// cluster are nodes that know each other.
type cluster struct {
	t *testing.T

	mu    sync.Mutex
	nodes []*process
}

// form starts a cluster.
func form(t *testing.T, names ...string) *cluster {
	t.Helper()
	peers := freeAddresses(t, len(names))
	c := &cluster{t: t}
	for i, name := range names {
		c.nodes = append(c.nodes, spawn(t, child{Name: name, Dir: t.TempDir(), At: peers[i], Peers: peers}))
	}
	for _, n := range c.nodes {
		n.next(&n.hello)
	}
	c.whole()
	return c
}

// whole waits until all nodes know each other.
func (c *cluster) whole() {
	c.t.Helper()
	waitFor(c.t, patience, "all nodes know each other", func() error {
		for _, n := range c.all() {
			if r := n.report(); r.Nodes != len(c.nodes) || r.Routed != len(c.nodes) || !r.Ready {
				return fmt.Errorf("%s: %+v", n.Name, r)
			}
		}
		return nil
	})
}

func (c *cluster) all() []*process {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.nodes)
}

func (c *cluster) node(name string) *process {
	c.t.Helper()
	all := c.all()
	i := slices.IndexFunc(all, func(n *process) bool { return n.Name == name })
	if i < 0 {
		c.t.Fatalf("there is no node %q", name)
	}
	return all[i]
}

// others returns the nodes but one.
func (c *cluster) others(but *process) []*process {
	return slices.DeleteFunc(c.all(), func(n *process) bool { return n == but })
}

// again starts a node that has ended.
func (c *cluster) again(gone *process) {
	c.t.Helper()
	back := c.spawnAgain(gone)
	back.next(&back.hello)
	c.whole()
}

func (c *cluster) spawnAgain(gone *process) *process {
	c.t.Helper()
	back := spawn(c.t, gone.child)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodes[slices.Index(c.nodes, gone)] = back
	return back
}

// freeAddresses are some that nobody has now, where outgoing connections take none.
func freeAddresses(t *testing.T, n int) (all []string) {
	t.Helper()
	for range n {
		var l net.Listener
		var err error
		for _, host := range []string{"127.77.77.79", "127.0.0.1"} { // the first where all of 127/8 is the loopback
			if l, err = net.Listen("tcp", host+":0"); err == nil {
				break
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		all = append(all, l.Addr().String())
	}
	return all
}

// scale is a number for full runs, and one for short ones.
func scale[T any](full, short T) T {
	if testenv.Full() {
		return full
	}
	return short
}
