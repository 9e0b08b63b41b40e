package main

import (
	"slices"
	"testing"

	"github.com/spf13/pflag"
)

// Without flags the demo is where docs/quickstart.md says.
func TestDemoByDefault(t *testing.T) {
	for name, row := range map[string]struct {
		flags         []string
		listen, admin string
	}{
		"no flags":       {nil, demoListen, demoAdmin},
		"another place":  {[]string{"--listen", "127.0.0.1:7777"}, "127.0.0.1:7777", demoAdmin},
		"another admin":  {[]string{"--admin", "127.0.0.1:7778"}, demoListen, "127.0.0.1:7778"},
		"no admin":       {[]string{"--admin", ""}, demoListen, ""},
		"a noisier demo": {[]string{"--log-level", "info"}, demoListen, demoAdmin},
	} {
		own := demoSet()
		flags := pflag.NewFlagSet("demo", pflag.ContinueOnError)
		own.RegisterOnly(flags)
		if err := flags.Parse(row.flags); err != nil {
			t.Fatal(err)
		}
		f, err := demoFlags(own, t.TempDir(), "key")
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(f.listen, []string{row.listen}) || f.adminAt != row.admin {
			t.Errorf("%s: %v, admin %q", name, f.listen, f.adminAt)
		}
	}
}
