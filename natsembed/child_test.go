package natsembed_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/polywire/polywire/natsembed"
)

// What a child process does, see child.
const (
	childVariable = "NATSEMBED_TEST_CHILD"
	childStart    = "start"   // starts, meets a signal, stops, says nothing
	childPublish  = "publish" // publishes until it is killed, and says what was acknowledged
)

// child is the test's own program, which does something else.
func child(tb testing.TB, what, dir string) *exec.Cmd {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	tb.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, os.Args[0], dir)
	cmd.Env = append(os.Environ(), childVariable+"="+what)
	return cmd
}

func runChild(what string) int {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	do := map[string]func(context.Context, string) error{childStart: startChild, childPublish: publishChild}[what]
	if err := do(ctx, os.Args[1]); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

func startChild(ctx context.Context, dir string) error {
	s, err := natsembed.Start(ctx, natsembed.Options{Dir: dir})
	if err != nil {
		return err
	}
	nc, err := s.Connect()
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt)
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		return err
	}
	if err := self.Signal(os.Interrupt); err != nil {
		return err
	}
	select {
	case <-signals:
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := nc.FlushWithContext(ctx); err != nil { // the server did not take the signal for itself
		return err
	}
	return s.Shutdown(ctx)
}

func publishChild(ctx context.Context, dir string) error {
	s, err := natsembed.Start(ctx, natsembed.Options{Dir: dir})
	if err != nil {
		return err
	}
	nc, err := s.Connect()
	if err != nil {
		return err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	if _, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{Name: "kept"}); err != nil {
		return err
	}
	for i := 0; ; i++ {
		ack, err := js.Publish(ctx, "kept", []byte(strconv.Itoa(i)))
		if err != nil {
			return err
		}
		fmt.Println(ack.Sequence, i)
	}
}

func TestNothingOnStderrAndSignalsAreTheProgrammes(t *testing.T) {
	if out, err := child(t, childStart, t.TempDir()).CombinedOutput(); err != nil || len(out) != 0 {
		t.Errorf("%s %v", out, err)
	}
}

// TestKill shows that what was acknowledged is there after kill -9, and that
// the dead process keeps no lock. That the disk has it, too, is TestSyncAlways.
func TestKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	acked := make(map[uint64]string)
	for range 3 {
		killOne(t, dir, acked)
	}
	js := streams(t, start(t, natsembed.Options{Dir: dir}))
	str, err := js.Stream(within(t), "kept")
	if err != nil {
		t.Fatal(err)
	}
	for seq, want := range acked {
		if m, err := str.GetMsg(within(t), seq); err != nil || string(m.Data) != want {
			t.Fatalf("message %d, acknowledged as %q: %v, %v", seq, want, m, err)
		}
	}
	// One that was written may have been killed before its acknowledgement.
	if got := messages(t, js, "kept"); got < uint64(len(acked)) || got > uint64(len(acked))+3 {
		t.Errorf("%d messages, %d were acknowledged", got, len(acked))
	}
}

// killOne kills a process that publishes, after some acknowledgements.
func killOne(t *testing.T, dir string, acked map[uint64]string) {
	t.Helper()
	cmd := child(t, childPublish, dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for n := 0; lines.Scan(); n++ {
		number, value, _ := strings.Cut(lines.Text(), " ")
		seq, err := strconv.ParseUint(number, 10, 64)
		if err != nil {
			t.Fatal(lines.Text())
		}
		acked[seq] = value
		if n == 100 {
			cmd.Process.Kill()
		}
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != -1 {
		t.Fatalf("the process was to be killed: %v", err)
	}
	if len(acked) == 0 {
		t.Fatal("nothing was acknowledged")
	}
}
