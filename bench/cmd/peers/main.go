// Command peers puts this server beside its peers, under one load on one
// machine, and prints what came of it as ratios: docs/performance.md says how
// and why. It builds all programs, starts each server in turn on a free
// loopback port, and stops only what it has started.
package main

import (
	"context"
	"encoding/json"
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
)

func main() { os.Exit(tool.Main("peers", run)) }

// options are the flags.
type options struct {
	cases            string
	duration, warmup time.Duration
	rounds           int
	write, asJSON    bool
	strict           bool
	charts           bool
}

func parse(args []string, out io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("peers", flag.ContinueOnError)
	f.SetOutput(out)
	f.StringVar(&o.cases, "cases", "", "which to run, separated by commas: "+strings.Join(ids(comparisons(fullSize())), ", ")+"; empty is all")
	f.DurationVar(&o.duration, "duration", 4*time.Second, "how long to measure each server in each round")
	f.DurationVar(&o.warmup, "warmup", time.Second, "how long to drive load before measuring")
	f.IntVar(&o.rounds, "rounds", 3, "rounds; medians count")
	f.BoolVar(&o.write, "write", false, "write the tables into docs/performance.md, and draw their charts")
	f.BoolVar(&o.charts, "charts", false, "measure nothing: draw the charts of the tables that are in docs/performance.md")
	f.BoolVar(&o.asJSON, "json", false, "print JSON in place of tables")
	f.BoolVar(&o.strict, "strict", false, "fail when a bar is missed")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if o.rounds < 1 || o.duration <= 0 || o.warmup < 0 {
		return o, errors.New("-rounds and -duration must be above zero, -warmup not below")
	}
	return o, nil
}

// choose returns the comparisons that -cases names.
func choose(all []comparison, names string) ([]comparison, error) {
	if names == "" {
		return all, nil
	}
	var chosen []comparison
	for name := range strings.SplitSeq(names, ",") {
		i := slices.Index(ids(all), strings.TrimSpace(name))
		if i < 0 {
			return nil, fmt.Errorf("no case %q, there are %s", name, strings.Join(ids(all), ", "))
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

func run(ctx context.Context, args []string, out, progress io.Writer) error {
	o, err := parse(args, progress)
	if err != nil {
		return err
	}
	chosen, err := choose(comparisons(fullSize()), o.cases)
	if err != nil {
		return err
	}
	if o.charts {
		root, err := programs.Root(ctx)
		if err != nil {
			return err
		}
		return draw(root)
	}
	l, err := newLab(ctx, progress)
	if err != nil {
		return err
	}
	defer l.Close()
	l.duration, l.warmup = o.duration, o.warmup
	rep, err := l.compare(ctx, chosen, o.rounds)
	if err != nil {
		return err
	}
	if o.asJSON {
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		err = enc.Encode(rep)
	} else {
		_, err = io.WriteString(out, rep.markdown())
	}
	if err == nil && o.write {
		err = tool.WriteBetween(filepath.Join(l.Root, "docs", "performance.md"), "bench", rep.markdown())
		if err == nil {
			err = draw(l.Root)
		}
	}
	if missed := rep.missed(); err == nil && o.strict && len(missed) > 0 {
		err = fmt.Errorf("missed: %s", strings.Join(missed, ", "))
	}
	return err
}
