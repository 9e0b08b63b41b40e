package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// Args takes the arguments that a command's Use names, as in "pub ROOM KIND
// [JSON | -]": in capitals those that it needs, in brackets those that it may
// have, and with dots those of which there may be several. In braces it names the
// words that an argument may be. Its errors say which one is missing or too many,
// and give the command's first example.
func Args(c *cobra.Command, args []string) error {
	_, usage, _ := strings.Cut(c.Use, " ")
	return ArgsAs(usage, c, args)
}

// ArgsAs is [Args] with another text than that in the command's Use.
func ArgsAs(usage string, c *cobra.Command, args []string) error {
	wanted := parseUsage(usage)
	problem := ""
	for i, w := range wanted {
		switch {
		case i >= len(args) && !w.optional:
			problem = w.name + " is missing"
		case i < len(args) && args[i] == "" && !w.optional:
			problem = w.name + " is empty"
		case i < len(args) && len(w.words) > 0 && !slices.Contains(w.words, args[i]):
			problem = fmt.Sprintf("%.100q is none of %s", args[i], strings.Join(w.words, ", "))
		}
		if problem != "" {
			break
		}
	}
	switch several := len(wanted) > 0 && wanted[len(wanted)-1].several; {
	case problem != "" || several || len(args) <= len(wanted):
	case len(wanted) == 0:
		problem = fmt.Sprintf("%s takes no arguments, and got %.100q", c.Name(), args[0])
	default:
		problem = fmt.Sprintf("%.100q is one argument too many", args[len(wanted)])
	}
	if problem == "" {
		return nil
	}
	return fmt.Errorf("%s\n\n%s", problem, howTo(c, usage))
}

// argument is one that a command takes.
type argument struct {
	name              string
	words             []string // that it may be; none: anything
	optional, several bool
}

// parseUsage reads the part of a Use behind the command's name. What belongs to
// flags ends it.
func parseUsage(usage string) (all []argument) {
	for usage = strings.TrimSpace(usage); usage != ""; usage = strings.TrimSpace(usage) {
		word, rest, _ := strings.Cut(usage, " ")
		var a argument
		switch usage[0] {
		case '[':
			word, rest, _ = strings.Cut(usage[1:], "]")
			a.optional = true
		case '{':
			word, rest, _ = strings.Cut(usage[1:], "}")
		}
		if strings.HasPrefix(word, "-") {
			break
		}
		usage = rest
		word, a.several = strings.CutSuffix(word, "...")
		if strings.ToUpper(word) != word {
			for w := range strings.SplitSeq(word, "|") {
				a.words = append(a.words, strings.TrimSpace(w))
			}
			word = "one of " + strings.Join(a.words, ", ")
		}
		a.name = word
		all = append(all, a)
	}
	return all
}

// howTo says how a command is used.
func howTo(c *cobra.Command, usage string) string {
	text := "usage: " + strings.TrimSpace(c.CommandPath()+" "+usage)
	if example := exampleOf(c, usage); example != "" && usage != "" {
		text += "\nas in: " + example
	}
	return text + "\n\n" + c.CommandPath() + " --help says more"
}

// exampleOf returns the first example in a command's help: of those with the
// flag in the usage, where it has one.
func exampleOf(c *cobra.Command, usage string) (first string) {
	_, flag, flagged := strings.Cut(usage, "--")
	flag, _, _ = strings.Cut(flag, " ")
	for line := range strings.Lines(c.Long) {
		example, indented := strings.CutPrefix(strings.TrimSpace(line), c.CommandPath())
		if !indented || !strings.HasPrefix(line, "  ") || strings.HasSuffix(example, `\`) {
			continue
		}
		example = c.CommandPath() + example
		if !flagged || strings.Contains(example, "--"+flag) {
			return example
		}
		if first == "" {
			first = example
		}
	}
	return first
}
