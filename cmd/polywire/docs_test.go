package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/polywire/polywire/internal/testenv"
)

// documents are all Markdown files of the repository, by their path.
func documents(t *testing.T) map[string]string {
	t.Helper()
	root, docs := testenv.Root(t), make(map[string]string)
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && name != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules" || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if filepath.Ext(name) == ".md" {
			text, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			docs[filepath.ToSlash(strings.TrimPrefix(name, root+string(filepath.Separator)))] = string(text)
		}
		return nil
	})
	if err != nil || len(docs) == 0 {
		t.Fatalf("%d documents: %v", len(docs), err)
	}
	return docs
}

var (
	shellSpan     = regexp.MustCompile("`([^`\n]+)`")
	variableNames = regexp.MustCompile(`\bPOLYWIRE_[A-Z0-9_]*[A-Z0-9]\b`)
	secretNames   = regexp.MustCompile(`\benv:([A-Z_]+)`)
	keySpan       = regexp.MustCompile(`^[a-z]+\.[a-z_]+$`)
	flagSpan      = regexp.MustCompile(`^--[a-z][a-z-]*`)
)

// shellText takes a document apart: command lines of its blocks, joined where
// they go on, and what stands in backquotes.
func shellText(text string) (lines, spans []string) {
	block, before := false, ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "```"):
			block, before = !block, ""
		case block || strings.HasPrefix(line, "polywire ") || strings.HasPrefix(line, "go run ./cmd/polywire "):
			if goesOn, found := strings.CutSuffix(line, `\`); found {
				before += goesOn
				continue
			}
			lines, before = append(lines, before+line), ""
		default:
			for _, m := range shellSpan.FindAllStringSubmatch(line, -1) {
				spans = append(spans, m[1])
			}
		}
	}
	return lines, spans
}

// shellWords returns the words of a line's first command that is polywire,
// without it; nil where there is none.
func shellWords(line string) []string {
	line = strings.ReplaceAll(strings.TrimPrefix(line, "$ "), "go run ./cmd/polywire", "polywire")
	words, word, inWord := []string(nil), strings.Builder{}, false
	var quote rune
	end := func() {
		if inWord {
			words = append(words, word.String())
		}
		word.Reset()
		inWord = false
	}
scan:
	for _, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			quote, inWord = r, true
		case r == ' ' || r == '\t':
			end()
		case r == '#' && !inWord:
			break scan
		case strings.ContainsRune("|;&<>", r):
			end()
			if slices.Contains(words, "polywire") {
				break scan
			}
			words = nil
		default:
			word.WriteRune(r)
			inWord = true
		}
	}
	end()
	for len(words) > 0 && words[0] != "polywire" && strings.Contains(words[0], "=") { // variables of the command
		words = words[1:]
	}
	if len(words) == 0 || words[0] != "polywire" {
		return nil
	}
	return words[1:]
}

// understood returns why the program would not take a command line as it is
// written; whole: with its values and arguments, not its flags' names alone.
func understood(words []string, whole bool) error {
	root := newRoot()
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	c, rest, err := root.Find(words)
	if err != nil {
		return err
	}
	if c.HasSubCommands() && len(rest) > 0 && !strings.HasPrefix(rest[0], "-") {
		return fmt.Errorf("%s has no command %s", c.CommandPath(), rest[0])
	}
	if !whole {
		for _, w := range rest {
			if name, _, _ := strings.Cut(w, "="); flagSpan.MatchString(name) && !hasFlag(c, strings.TrimPrefix(name, "--")) {
				return fmt.Errorf("%s has no flag %s", c.CommandPath(), name)
			}
		}
		return nil
	}
	for i, w := range rest {
		if strings.HasPrefix(w, "$") { // a variable of the shell: of a process, say
			rest[i] = "1"
		}
	}
	if err := c.ParseFlags(rest); err != nil {
		return err
	}
	if err := c.ValidateArgs(c.Flags().Args()); err != nil || c.Name() != "serve" || c.Parent() != root {
		return err
	}
	return settingsOf(rest)
}

// settingsOf returns what is wrong with the values of serve's flags.
func settingsOf(args []string) error {
	f, c := newServeFlags(), new(cobra.Command)
	f.register(c)
	if err := c.ParseFlags(args); err != nil {
		return err
	}
	f.file = "" // it is not here
	return f.load()
}

func hasFlag(c *cobra.Command, name string) bool {
	c.InitDefaultHelpFlag()
	normal := c.Flags().GetNormalizeFunc()(c.Flags(), name)
	return c.Flags().Lookup(string(normal)) != nil || c.InheritedFlags().Lookup(name) != nil
}

// everyFlag are the flags of all commands, and what their texts say of variables.
func everyFlag(c *cobra.Command) (names map[string]bool, variables map[string]bool) {
	names, variables = map[string]bool{"help": true}, make(map[string]bool)
	for _, other := range []string{"cors", "ssl-cert", "ssl-key"} { // the other names that serve takes
		names[other] = true
	}
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		c.Flags().VisitAll(func(f *pflag.Flag) {
			names[f.Name] = true
			for _, v := range variableNames.FindAllString(f.Usage, -1) {
				variables[v] = true
			}
		})
		c.PersistentFlags().VisitAll(func(f *pflag.Flag) { names[f.Name] = true })
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(c)
	return names, variables
}

// The documents name commands, flags, variables and settings that there are.
// What is changed in code has to be changed there, too.
func TestDocumentsSayWhatThereIs(t *testing.T) {
	flags, variables := everyFlag(newRoot())
	keys, sections := make(map[string]bool), make(map[string]bool)
	for _, e := range newServeFlags().set.Effective() {
		keys[e.Key], variables[e.Variable] = true, true
		if section, _, found := strings.Cut(e.Key, "."); found {
			sections[section] = true
		}
	}
	elsewhere := []string{"POLYWIRE_TEST_FULL", "POLYWIRE_NATS_TOKEN", configVariable} // in tests, and in Long texts
	commands := 0
	for doc, text := range documents(t) {
		if strings.HasPrefix(doc, "internal/") { // their tests have words of their own
			continue
		}
		for _, m := range secretNames.FindAllStringSubmatch(text, -1) {
			t.Setenv(m[1], "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYqr")
		}
		lines, spans := shellText(text)
		for _, line := range lines {
			if words := shellWords(line); words != nil {
				commands++
				if err := understood(words, true); err != nil {
					t.Errorf("%s: %s: %v", doc, line, err)
				}
			}
		}
		for _, span := range spans {
			if words := shellWords(span); words != nil {
				commands++
				if err := understood(words, false); err != nil {
					t.Errorf("%s: %s: %v", doc, span, err)
				}
			}
			if name := strings.TrimPrefix(flagSpan.FindString(span), "--"); name != "" && !flags[name] && !strings.HasSuffix(name, "-") {
				t.Errorf("%s: no command has --%s", doc, name)
			}
			section, _, _ := strings.Cut(span, ".")
			if keySpan.MatchString(span) && sections[section] && !keys[span] && !slices.Contains([]string{"auth.refresh"}, span) {
				t.Errorf("%s: there is no setting %s", doc, span)
			}
		}
		for _, v := range variableNames.FindAllString(text, -1) {
			if !variables[v] && !slices.Contains(elsewhere, v) {
				t.Errorf("%s: nothing reads %s", doc, v)
			}
		}
	}
	if commands < 50 {
		t.Errorf("only %d commands were found", commands)
	}
}

func TestDocumentRules(t *testing.T) {
	for line, want := range map[string]string{
		"$ polywire serve --port 9000":                        "",
		"polywire serve --prot 9000":                          "unknown flag: --prot",
		"polywire sevre":                                      "polywire has no command sevre",
		"polywire queue lst":                                  "polywire queue has no command lst",
		"go run ./cmd/polywire demo   # a chat":               "",
		"A=b C='d e' polywire serve --nosuch":                 "unknown flag: --nosuch",
		"echo '[1]' | polywire call":                          "KIND is missing",
		"polywire queue publish orders --lines < x.ndjson":    "",
		"polywire bench run echo --pid $!":                    "",
		"polywire serve --drain soon":                         "want a time",
		"other program --flag":                                "",
		`polywire call x '{"a": "polywire --nonsense; b"}' &`: "",
	} {
		words := shellWords(line)
		if (words == nil) != strings.HasPrefix(line, "other") {
			t.Errorf("%s: %q", line, words)
			continue
		}
		if words == nil {
			continue
		}
		err := understood(words, true)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", line, err, want)
		}
	}
	lines, spans := shellText("text `a` and `b c`\n\n```sh\nx \\\n  y\nz\n```\n    polywire demo\n")
	if fmt.Sprint(lines) != "[x y z polywire demo]" || fmt.Sprint(spans) != "[a b c]" {
		t.Errorf("%q %q", lines, spans)
	}
}
