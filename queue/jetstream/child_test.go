package jetstream_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/polywire/polywire/internal/testenv"
	"github.com/polywire/polywire/natsembed"
	"github.com/polywire/polywire/queue"
	"github.com/polywire/polywire/queue/jetstream"
)

// What a child process does, see startChild.
const (
	childVariable = "JETSTREAM_TEST_CHILD"
	childWork     = "work"    // handles the queue of a server, and says what it has done
	childPublish  = "publish" // embeds a server, publishes to itself, and says what was accepted
)

const childPrefix = "child: " // of what it says

func runChild(what string) int {
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	do := map[string]func(context.Context, string) error{childWork: workChild, childPublish: publishChild}[what]
	if err := do(ctx, os.Args[1]); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// workChild handles until it is killed.
func workChild(ctx context.Context, url string) error {
	d, err := jetstream.New(ctx, jetstream.Options{URLs: []string{url}})
	if err != nil {
		return err
	}
	b, err := queue.New(d, queue.Options{})
	if err != nil {
		return err
	}
	err = b.Handle("q", func(ctx context.Context, d *queue.Delivery) error {
		select {
		case <-time.After(10 * time.Millisecond): // the work
			fmt.Println(childPrefix + d.ID)
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}, queue.HandleOptions{Concurrency: 8, Lease: time.Second})
	if err != nil {
		return err
	}
	<-ctx.Done()
	return errors.New("nobody killed it")
}

// publishChild publishes until it is killed: alone, in batches, and delayed.
func publishChild(ctx context.Context, dir string) error {
	s, err := natsembed.Start(ctx, natsembed.Options{Dir: dir})
	if err != nil {
		return err
	}
	d, err := jetstream.New(ctx, jetstream.Options{Connect: s.Connect})
	if err != nil {
		return err
	}
	b, err := queue.New(d, queue.Options{})
	if err != nil {
		return err
	}
	for round := 0; ; round++ {
		ms, ids := batch("q", fmt.Sprintf("%d-%d", os.Getpid(), round), 20)
		ms[0].Delay = time.Second
		ms[1].Delay = 5 * time.Second
		if err := b.PublishBatch(ctx, ms[1:]); err != nil {
			return err
		}
		if err := b.Publish(ctx, ms[0]); err != nil {
			return err
		}
		for _, id := range ids {
			fmt.Println(childPrefix + id)
		}
	}
}

// startChild starts the test's own program, which does something else.
func startChild(t *testing.T, what, arg string) (*exec.Cmd, io.Reader) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, os.Args[0], arg)
	cmd.Env = append(os.Environ(), childVariable+"="+what)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, out
}

// killed waits for a child that was killed.
func killed(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != -1 {
		t.Errorf("the process was to be killed: %v", err)
	}
}

// TestWorkerKilled kills the worker again and again, each after some hundred of
// 5,000 messages.
func TestWorkerKilled(t *testing.T) {
	t.Parallel()
	s := newBroker(t, natsembed.Options{Listen: "127.0.0.1:0"})
	b := s.open(jetstream.Options{})
	ms, ids := batch("q", "m", 5000)
	if err := b.PublishBatch(within(t), ms); err != nil {
		t.Fatal(err)
	}
	l := newLedger()
	kills := 0
	for ; l.size() < len(ids); kills++ {
		cmd, out := startChild(t, childWork, s.url())
		done := 0
		for lines := bufio.NewScanner(out); lines.Scan(); {
			id, found := strings.CutPrefix(lines.Text(), childPrefix)
			if !found {
				t.Fatal(lines.Text())
			}
			l.add(id)
			if done++; done == 400 || l.size() == len(ids) {
				cmd.Process.Kill()
			}
		}
		killed(t, cmd)
	}
	if n, one := l.missing(ids); n > 0 {
		t.Errorf("%d lost, %s for one", n, one)
	}
	t.Logf("%d kills, %d done more than once", kills, l.repeats())
	// What was done and not acknowledged by those killed comes once more.
	if err := b.Handle("q", func(context.Context, *queue.Delivery) error { return nil }, queue.HandleOptions{Concurrency: 8}); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, patience, "the queue is empty", func() bool {
		d, err := b.Inspect(within(t), "q")
		return err == nil && d.Waiting+d.Unacked+d.Delayed+d.Dead == 0
	})
}

// TestEmbedderKilled kills a process that embeds the server while it publishes.
func TestEmbedderKilled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var ids []string
	for range 3 {
		cmd, out := startChild(t, childPublish, dir)
		n := 0
		for lines := bufio.NewScanner(out); lines.Scan(); n++ {
			id, found := strings.CutPrefix(lines.Text(), childPrefix)
			if !found {
				t.Fatal(lines.Text())
			}
			ids = append(ids, id)
			if n == 200 {
				cmd.Process.Kill()
			}
		}
		killed(t, cmd)
	}
	s := newBroker(t, natsembed.Options{Dir: dir})
	b := s.open(jetstream.Options{})
	l := newLedger()
	err := b.Handle("q", func(_ context.Context, d *queue.Delivery) error {
		l.add(d.ID)
		return nil
	}, queue.HandleOptions{Concurrency: 20})
	if err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, patience, "the queue is empty", func() bool {
		d, err := b.Inspect(within(t), "q")
		return err == nil && d.Waiting+d.Unacked+d.Delayed == 0
	})
	if n, one := l.missing(ids); n > 0 {
		t.Errorf("%d of %d lost, %s for one", n, len(ids), one)
	}
	if l.repeats() > 0 {
		t.Errorf("%d were there more than once", l.repeats())
	}
	t.Logf("%d accepted, %d there", len(ids), l.size())
}
