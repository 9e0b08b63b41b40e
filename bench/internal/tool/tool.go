// Package tool has what the commands of this module have in common: how they
// begin and end, what they say of the machine, and how their tables come into
// the documents.
package tool

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/polywire/polywire/internal/load"
)

// Main runs a command with the arguments of the process, and returns the
// process's status: 1 when the command failed, after its error and its name on
// standard error. The context ends on SIGINT and SIGTERM. Results go to out, what people
// like to see meanwhile to progress.
func Main(name string, run func(ctx context.Context, args []string, out, progress io.Writer) error) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		return 1
	}
	return 0
}

// Median of an even number is the mean of the two in the middle; of none, 0.
func Median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	switch n := len(v); {
	case n == 0:
		return 0
	case n%2 == 1:
		return v[n/2]
	default:
		return (v[n/2-1] + v[n/2]) / 2
	}
}

// CPU returns how long this process has used the processors; 0 where that is
// not known.
func CPU() time.Duration {
	d, err := load.ProcessCPU(os.Getpid())
	if err != nil {
		return 0
	}
	return d
}

// Setting says on what, when and with which commit something was measured.
type Setting struct {
	Machine string `json:"machine"`
	Date    string `json:"date"`
	Commit  string `json:"commit,omitempty"`
}

// NewSetting looks at the machine, the clock and the checkout.
func NewSetting(ctx context.Context) Setting {
	s := Setting{Machine: machine(), Date: time.Now().UTC().Format(time.DateOnly)}
	if out, err := exec.CommandContext(ctx, "git", "describe", "--always").Output(); err == nil {
		s.Commit = strings.TrimSpace(string(out)) // else it was not cloned, and has none
	}
	// What is written into the documents does not change what is measured.
	if out, err := exec.CommandContext(ctx, "git", "status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)docs").Output(); err == nil && len(out) > 0 {
		s.Commit += "-dirty"
	}
	return s
}

// String has it in one line.
func (s Setting) String() string {
	text := s.Machine + "; " + s.Date
	if s.Commit != "" {
		text += "; commit " + s.Commit
	}
	return text
}

func machine() string {
	cpu := runtime.GOARCH
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range bytes.Lines(b) {
			if name, value, ok := bytes.Cut(line, []byte(":")); ok && string(bytes.TrimSpace(name)) == "model name" {
				cpu = string(bytes.TrimSpace(value))
				break
			}
		}
	}
	return fmt.Sprintf("%s, %d processors, %s, %s", cpu, runtime.NumCPU(), runtime.GOOS, runtime.Version())
}

// Marks returns the lines of a document between which generated text of a name
// stands.
func Marks(name string) (begin, end string) {
	return "<!-- " + name + ":begin -->", "<!-- " + name + ":end -->"
}

// Between returns what stands between the marks of a document.
func Between(path, name string) (string, error) {
	_, text, _, err := split(path, name)
	return text, err
}

// WriteBetween puts text between the marks of a document. There must be one
// pair of them.
func WriteBetween(path, name, text string) error {
	before, _, after, err := split(path, name)
	if err != nil {
		return err
	}
	begin, end := Marks(name)
	out := before + begin + "\n\n" + strings.TrimSpace(text) + "\n\n" + end + after
	return os.WriteFile(path, []byte(out), 0o644) //nolint:gosec // a document, for all to read
}

func split(path, name string) (before, text, after string, err error) {
	b, err := os.ReadFile(path) //nolint:gosec // our own document
	if err != nil {
		return "", "", "", err
	}
	begin, end := Marks(name)
	before, rest, ok := strings.Cut(string(b), begin)
	text, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 || strings.Contains(after, begin) {
		return "", "", "", fmt.Errorf("%s has not one pair of %s and %s", path, begin, end)
	}
	return before, strings.TrimSpace(text), after, nil
}
