// Command soak holds connections to `polywire serve` for a long time, with a
// message each so often, and looks whether the server stays as it was: nothing
// lost, memory flat. The server is a process of its own, with metrics and logs
// on; this process is the other end of all connections. docs/performance.md has
// its table.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/polywire/polywire/bench/internal/programs"
	"github.com/polywire/polywire/bench/internal/tool"
	"github.com/polywire/polywire/internal/load"
)

func main() { os.Exit(tool.Main("soak", run)) }

// options are the flags.
type options struct {
	conns        int
	duration     time.Duration
	every        time.Duration // between messages of a connection
	report       time.Duration // between samples
	settle       time.Duration // before memory counts
	payloadBytes int
	wires        []string
	write        bool
}

func parse(args []string, out io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("soak", flag.ContinueOnError)
	f.SetOutput(out)
	f.IntVar(&o.conns, "conns", 10_000, "connections, shared among the wires")
	f.DurationVar(&o.duration, "duration", 10*time.Minute, "how long to hold them once all are open")
	f.DurationVar(&o.every, "every", time.Second, "time between two messages of a connection")
	f.DurationVar(&o.report, "report", 10*time.Second, "time between two lines")
	f.DurationVar(&o.settle, "settle", time.Minute, "time after which memory may grow no more; at most half the duration")
	f.IntVar(&o.payloadBytes, "size", 100, "payload `bytes`")
	wires := f.String("wires", "native,native-json,socketio", "what the connections speak, of "+strings.Join(load.Wires(), ", "))
	f.BoolVar(&o.write, "write", false, "write the table into docs/performance.md")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	o.wires = strings.Split(*wires, ",")
	for _, w := range o.wires {
		if !slices.Contains(load.Wires(), w) {
			return o, fmt.Errorf("no wire %q", w)
		}
	}
	switch {
	case o.conns < len(o.wires), o.duration <= 0, o.every <= 0, o.report <= 0, o.payloadBytes <= 0:
		return o, errors.New("-conns, -duration, -every, -report and -size must be above zero, -conns one a wire at least")
	case o.settle < 0 || o.settle > o.duration/2:
		return o, errors.New("-settle must be half of -duration at most")
	}
	return o, nil
}

func run(ctx context.Context, args []string, out, progress io.Writer) error {
	o, err := parse(args, progress)
	if err != nil {
		return err
	}
	set, err := programs.Build(ctx)
	if err != nil {
		return err
	}
	defer set.Close()
	s := &soak{options: o, progress: progress, setting: tool.NewSetting(ctx)}
	if err := s.hold(ctx, set); err != nil {
		return err
	}
	if _, err := io.WriteString(out, s.markdown()); err != nil {
		return err
	}
	if o.write {
		err = tool.WriteBetween(filepath.Join(set.Root, "docs", "performance.md"), "soak", s.markdown())
	}
	if wrong := s.wrong(); len(wrong) > 0 {
		err = errors.Join(err, errors.New(strings.Join(wrong, "; ")))
	}
	return err
}
