package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/polywire/polywire/cmd/polywire/internal/config"
)

// Explain has a command, and all below it, say what is wrong with a flag, and
// what an unknown subcommand or flag could have meant.
func Explain(c *cobra.Command) {
	c.SetFlagErrorFunc(flagError)
	for _, sub := range c.Commands() {
		Explain(sub)
	}
	if c.HasSubCommands() { // an unknown subcommand is a mistake, not a call for help
		c.Args = wantSubcommand
		if !c.Runnable() {
			c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
		}
	}
}

func wantSubcommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() || sub.Name() == "help" {
			names = append(append(names, sub.Name()), sub.Aliases...)
		}
	}
	hint := ""
	if near := config.Near(args[0], names); near != "" {
		hint = "; did you mean " + near + "?"
	}
	return fmt.Errorf("unknown command %.100q for %q%s\n\n%s --help says more", args[0], c.CommandPath(), hint, c.CommandPath())
}

// flagError says what is wrong with a flag, and of one that is unknown which
// could have been meant.
func flagError(c *cobra.Command, err error) error {
	hint := ""
	if unknown := (*pflag.NotExistError)(nil); errors.As(err, &unknown) {
		name := unknown.GetSpecifiedName()
		if letters := unknown.GetSpecifiedShortnames(); letters != "" {
			name = letters // -listen, perhaps
		}
		if near := nearFlag(c, name); near != "" {
			hint = "; did you mean --" + near + "?"
		}
	}
	if wrong := (*pflag.InvalidValueError)(nil); errors.As(err, &wrong) {
		err = fmt.Errorf("--%s %.100q: %s", wrong.GetFlag().Name, wrong.GetValue(), wantedValue(wrong))
	}
	return fmt.Errorf("%w%s\n\n%s --help says more", err, hint, c.CommandPath())
}

// wantedValue says what a flag takes. Flags with types of their own say so
// themselves.
func wantedValue(err *pflag.InvalidValueError) string {
	switch err.GetFlag().Value.Type() {
	case "bool":
		return "want true or false"
	case "int", "int64":
		return "want a whole number"
	case "intSlice":
		return "want whole numbers, with commas between them"
	case "float64":
		return "want a number"
	case "duration":
		return "want a time with its unit, as 500ms, 10s or 5m"
	}
	return err.Unwrap().Error()
}

// nearFlag returns the flag of a command that a name could have meant; a
// setting's key in the file is near to its flag.
func nearFlag(c *cobra.Command, name string) string {
	if len(name) < 2 {
		return ""
	}
	name = strings.ReplaceAll(name, "_", "-")
	var names []string
	c.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	})
	if near := config.Near(name, names); near != "" {
		return near
	}
	if _, base, ok := strings.Cut(name, "."); ok {
		return config.Near(base, names)
	}
	return ""
}
