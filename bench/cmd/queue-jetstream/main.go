// Command queue-jetstream measures package queue on JetStream beside bare
// loops on nats.go that do the same confirmed work: published messages with an
// id are acknowledged by the server, handled ones to it. The server is embedded
// in this process, for both. `compare` prints a line of JSON for each setting;
// `start` fills a queue, and measures how soon a new process handles it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/polywire/polywire/bench/internal/tool"
)

func main() { os.Exit(tool.Main("queue-jetstream", run)) }

// config says what to measure.
type config struct {
	messages int // of a round
	size     int // bytes of a payload
	rounds   int
	inFlight int // unconfirmed publishes, and messages in hand
	workers  int
	dir      string
}

func run(ctx context.Context, args []string, out, _ io.Writer) error {
	if len(args) == 0 {
		return errors.New("want compare or start")
	}
	f := flag.NewFlagSet(args[0], flag.ContinueOnError)
	var c config
	f.IntVar(&c.size, "size", 1024, "payload `bytes`")
	f.StringVar(&c.dir, "dir", "", "`directory` for the server's data; default: a temporary one")
	switch args[0] {
	case "compare":
		f.IntVar(&c.messages, "messages", 20_000, "messages of a round; a quarter of them when each waits for the disk")
		f.IntVar(&c.rounds, "rounds", 4, "rounds of each, by turns, the other first each time: an even number; the median counts")
		f.IntVar(&c.inFlight, "in-flight", 512, "unconfirmed publishes, and messages in hand")
		f.IntVar(&c.workers, "workers", 1, "handlers at a time, of package queue; the bare loop has one")
		if err := f.Parse(args[1:]); err != nil {
			return err
		}
		if c.messages < 10 || c.size < 0 || c.rounds < 1 || c.inFlight < 1 || c.workers < 1 || c.workers > c.inFlight {
			return errors.New("nothing to do: see -messages, -rounds, -in-flight and -workers")
		}
		return compare(ctx, c, json.NewEncoder(out))
	case "start":
		f.IntVar(&c.messages, "messages", 100_000, "messages that wait")
		if err := f.Parse(args[1:]); err != nil {
			return err
		}
		if c.messages < 1 || c.size < 0 {
			return errors.New("nothing to do: see -messages")
		}
		return started(ctx, c, json.NewEncoder(out))
	case "worker": // started's child
		if err := f.Parse(args[1:]); err != nil {
			return err
		}
		return worker(ctx, c.dir, json.NewEncoder(out))
	}
	return fmt.Errorf("%q: want compare or start", args[0])
}

// comparison is a line of compare.
type comparison struct {
	SyncAlways bool    `json:"sync_always"`
	Work       string  `json:"work"`
	Bare       float64 `json:"bare_per_second"`
	Ours       float64 `json:"queue_per_second"`
	Ratio      float64 `json:"ratio"`
	BareCPU    float64 `json:"bare_cpu_us"` // of a message, the embedded server's part included
	OursCPU    float64 `json:"queue_cpu_us"`
}

// compare runs bare loop and package by turns, in the same process.
func compare(ctx context.Context, c config, out *json.Encoder) error {
	for _, sync := range []bool{true, false} {
		rounds := c
		if sync {
			rounds.messages /= 4
		}
		l, err := newLab(ctx, rounds, sync)
		if err != nil {
			return err
		}
		lines, err := l.compare(ctx, sync)
		if err := errors.Join(err, l.close()); err != nil {
			return err
		}
		for _, line := range lines {
			if err := out.Encode(line); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *lab) compare(ctx context.Context, sync bool) ([]comparison, error) {
	type side struct{ publish, consume figures }
	var bare, ours side
	sides := []struct {
		to               *side
		publish, consume func(context.Context) error
	}{
		{&bare, l.publishBare, l.consumeBare},
		{&ours, l.publish, l.consume},
	}
	for range l.c.rounds {
		for _, s := range sides {
			for _, step := range []struct {
				to *figures
				do func(context.Context) error
			}{{&s.to.publish, s.publish}, {&s.to.consume, s.consume}} {
				if err := step.to.round(ctx, l.c.messages, step.do); err != nil {
					return nil, err
				}
			}
		}
		// The server remembers the ids of both, and the collector looks at more of
		// them with every step: nobody shall always come second.
		slices.Reverse(sides)
	}
	line := func(work string, bare, ours figures) comparison {
		b, o := tool.Median(bare.rate), tool.Median(ours.rate)
		return comparison{SyncAlways: sync, Work: work, Bare: b, Ours: o, Ratio: o / b, BareCPU: tool.Median(bare.cpu), OursCPU: tool.Median(ours.cpu)}
	}
	return []comparison{line("publish", bare.publish, ours.publish), line("consume", bare.consume, ours.consume)}, nil
}

// figures are those of all rounds: messages a second, and microseconds of the
// processor for a message, which tell more than the first where others are at work.
type figures struct{ rate, cpu []float64 }

func (f *figures) round(ctx context.Context, messages int, do func(context.Context) error) error {
	runtime.GC() // what the step before left is not this one's
	start, busy := time.Now(), tool.CPU()
	if err := do(ctx); err != nil {
		return err
	}
	f.rate = append(f.rate, float64(messages)/time.Since(start).Seconds())
	f.cpu = append(f.cpu, float64((tool.CPU()-busy).Nanoseconds())/1e3/float64(messages))
	return nil
}
