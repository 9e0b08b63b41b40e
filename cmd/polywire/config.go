package main

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/polywire/polywire/cmd/polywire/internal/cli"
	"github.com/spf13/cobra"
)

// errSettings is wrapped by the error of settings that are wrong.
var errSettings = errors.New("the settings are wrong")

//go:embed config_reference.md
var referenceHead string

func newConfig() *cobra.Command {
	c := &cobra.Command{
		Use:   "config",
		Short: "Check, show and explain the settings of polywire serve",
		Long: `Every setting of polywire serve is a key in a file (--config), a variable of the
environment and a flag. Flags are stronger than variables, and those than the
file. docs/configuration.md lists them all.

  polywire config default > polywire.yaml
  polywire config check polywire.yaml
  polywire config show polywire.yaml
  polywire serve --config polywire.yaml`,
	}
	c.AddCommand(newConfigCheck(), newConfigShow(), newConfigDefault(), newConfigReference())
	return c
}

// withSettings makes a command that takes what serve takes, and a file.
func withSettings(c *cobra.Command, do func(c *cobra.Command, f *serveFlags) error) *cobra.Command {
	f := newServeFlags()
	f.register(c)
	c.Args = cli.Args
	c.RunE = func(c *cobra.Command, args []string) error {
		if len(args) > 0 {
			if f.file != "" {
				return errors.New("the file is given twice: as an argument, and by --config")
			}
			f.file = args[0]
		}
		return do(c, f)
	}
	return c
}

func newConfigCheck() *cobra.Command {
	return withSettings(&cobra.Command{
		Use:   "check [FILE]",
		Short: "Say all that is wrong with the settings",
		Long: `Read the settings as polywire serve does, of a file, of variables and of flags,
and say all that is wrong with them, each with its line and column. It starts
nothing. Ends with status 2 when something is wrong.

  polywire config check polywire.yaml
  polywire config check polywire.yaml --port 9000`,
	}, func(c *cobra.Command, f *serveFlags) error {
		p, err := f.prepare(io.Discard)
		if err != nil {
			return settingsError{err}
		}
		p.logger, _ = f.logger(c.ErrOrStderr())
		f.warnStray(p.logger)
		fmt.Fprintln(c.OutOrStdout(), "the settings are right")
		return nil
	})
}

func newConfigShow() *cobra.Command {
	var asJSON bool
	c := withSettings(&cobra.Command{
		Use:   "show [FILE]",
		Short: "Show the settings that hold, and where each comes from",
		Long: `Show all settings as a file has them, each with where it comes from: the
default, a line of the file, a variable or a flag. Secrets are masked.

  polywire config show polywire.yaml
  POLYWIRE_PORT=9000 polywire config show --json`,
	}, func(c *cobra.Command, f *serveFlags) error {
		if err := f.load(); err != nil {
			return settingsError{err}
		}
		if asJSON {
			e := json.NewEncoder(c.OutOrStdout())
			e.SetIndent("", "  ")
			return e.Encode(f.set.Effective())
		}
		f.set.WriteEffective(c.OutOrStdout())
		return nil
	})
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON, for programs")
	return c
}

func newConfigDefault() *cobra.Command {
	return &cobra.Command{
		Use:   "default",
		Short: "Write a file of all settings, commented out",
		Long: `Write a file that has every setting with its description and its default, each
commented out: take the # away from those that are to be different.

  polywire config default > polywire.yaml`,
		Args: cli.Args,
		RunE: func(c *cobra.Command, _ []string) error {
			fmt.Fprint(c.OutOrStdout(), "# Settings of polywire serve. Take the # away from a line to change it.\n"+
				"# Flags and variables of the environment are stronger: docs/configuration.md.\n\n")
			newServeFlags().set.WriteDefault(c.OutOrStdout())
			return nil
		},
	}
}

func newConfigReference() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:    "reference",
		Short:  "Write docs/configuration.md",
		Hidden: true,
		Args:   cli.Args,
		RunE: func(c *cobra.Command, _ []string) error {
			if file == "" {
				_, err := c.OutOrStdout().Write(reference())
				return err
			}
			return os.WriteFile(file, reference(), 0o644) //nolint:gosec // a document
		},
	}
	c.Flags().StringVarP(&file, "output", "o", "", "`file` to write")
	return c
}

// reference is docs/configuration.md.
func reference() []byte {
	var out bytes.Buffer
	out.WriteString(referenceHead)
	newServeFlags().set.WriteReference(&out)
	return out.Bytes()
}

// settingsError makes the program end with status 2.
type settingsError struct{ error }

func (e settingsError) Unwrap() []error { return []error{errSettings, e.error} }
