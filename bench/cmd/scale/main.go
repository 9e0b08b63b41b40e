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
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
	default:
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
}

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
	return writeTables(filepath.Join("..", "docs", "scale.md"), text.String())
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

// The marks in the document between which the tables stand.
const (
	beginMark = "<!-- measured: begin -->"
	endMark   = "<!-- measured: end -->"
)

func writeTables(path, tables string) error {
	b, err := os.ReadFile(path) //nolint:gosec // the document
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(b), beginMark)
	_, after, ok2 := strings.Cut(rest, endMark)
	if !ok || !ok2 {
		return fmt.Errorf("%s has no marks for the tables", path)
	}
	return os.WriteFile(path, []byte(before+beginMark+"\n\n"+tables+endMark+after), 0o600) //nolint:gosec // the document
}

func median(figures []float64) float64 {
	slices.Sort(figures)
	return figures[len(figures)/2]
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
