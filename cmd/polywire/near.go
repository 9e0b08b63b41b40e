package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/polywire/polywire/cmd/polywire/internal/config"
)

// nameNear has a command, and all below it, say what an unknown subcommand
// or flag could have meant.
func nameNear(c *cobra.Command) {
	c.SetFlagErrorFunc(flagError)
	for _, sub := range c.Commands() {
		nameNear(sub)
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

// flagError adds to what is wrong with a flag which one could have been meant.
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
	return fmt.Errorf("%w%s\n\n%s --help says more", err, hint, c.CommandPath())
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
