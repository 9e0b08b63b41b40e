// Command scale measures what a cluster costs: broadcasts over nodes against a
// single one, the time that the hop adds, the cost of a publish by the number
// of nodes, what history costs, and curves by connections and rooms.
// docs/scale.md has its tables. Nodes are servers in this process with one
// embedded NATS server between them; connections are real ones, on loopback.
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

	"github.com/polywire/polywire/bench/internal/tool"
)

func main() { os.Exit(tool.Main("scale", run)) }

// options are the flags.
type options struct {
	cases    string
	duration time.Duration
	rounds   int
	write    bool
	small    bool
}

// measure is one table of the document.
type measure struct {
	name string
	run  func(ctx context.Context, o options) (table, error)
}

// table is what a measure prints.
type table struct {
	title string
	head  []string
	rows  [][]string
	note  string
}

func measures() []measure {
	return []measure{
		{"broadcast", broadcast}, {"hop", hop}, {"nodes", perNodes}, {"history", history},
		{"connections", connections}, {"rooms", rooms},
	}
}

func run(ctx context.Context, args []string, out, progress io.Writer) error {
	var names []string
	for _, m := range measures() {
		names = append(names, m.name)
	}
	var o options
	f := flag.NewFlagSet("scale", flag.ContinueOnError)
	f.SetOutput(progress)
	f.StringVar(&o.cases, "cases", strings.Join(names, ","), "which to run, separated by commas")
	f.DurationVar(&o.duration, "duration", 3*time.Second, "how long to measure each figure")
	f.IntVar(&o.rounds, "rounds", 3, "rounds; medians count")
	f.BoolVar(&o.write, "write", false, "write the tables into docs/scale.md")
	f.BoolVar(&o.small, "small", false, "a few connections only: to see that it works")
	if err := f.Parse(args); err != nil {
		return err
	}
	if o.rounds < 1 || o.duration <= 0 {
		return errors.New("-rounds and -duration must be above zero")
	}
	var text strings.Builder
	for name := range strings.SplitSeq(o.cases, ",") {
		i := slices.Index(names, name)
		if i < 0 {
			return fmt.Errorf("no case %q, there are %s", name, strings.Join(names, ", "))
		}
		fmt.Fprintln(progress, "measuring", name)
		t, err := measures()[i].run(ctx, o)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		t.print(&text)
	}
	fmt.Fprint(out, text.String())
	if !o.write {
		return nil
	}
	return tool.WriteBetween(filepath.Join("..", "docs", "scale.md"), "measured", text.String())
}

func (t table) print(w io.Writer) {
	fmt.Fprintf(w, "### %s\n\n| %s |\n|%s\n", t.title, strings.Join(t.head, " | "), strings.Repeat("---|", len(t.head)))
	for _, r := range t.rows {
		fmt.Fprintf(w, "| %s |\n", strings.Join(r, " | "))
	}
	if t.note != "" {
		fmt.Fprintf(w, "\n%s\n", t.note)
	}
	fmt.Fprintln(w)
}

func num(v float64) string {
	switch {
	case v >= 10_000:
		return fmt.Sprintf("%.0fk", v/1000)
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}
