package cli

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func TestArgs(t *testing.T) {
	for _, c := range []struct{ use, args, want string }{
		{"sub ROOM...", "", "ROOM is missing"},
		{"sub ROOM...", "a b c", ""},
		{"pub ROOM KIND [JSON | -]", "", "ROOM is missing"},
		{"pub ROOM KIND [JSON | -]", "a", "KIND is missing"},
		{"pub ROOM KIND [JSON | -]", "a b", ""},
		{"pub ROOM KIND [JSON | -]", "a b -", ""},
		{"pub ROOM KIND [JSON | -]", "a b c d", `"d" is one argument too many`},
		{"pub ROOM KIND [JSON | -]", "a _", "KIND is empty"},
		{"ls [QUEUE...]", "", ""},
		{"ls [QUEUE...]", "a b", ""},
		{"show [FILE]", "a b", `"b" is one argument too many`},
		{"serve", "", ""},
		{"serve", "a", `serve takes no arguments, and got "a"`},
		{"add URL --type TYPE...", "a", ""},
		{"add URL --type TYPE...", "a b", `"b" is one argument too many`},
		{"attempts [ENDPOINT] [--event ID]", "a b", `"b" is one argument too many`},
		{"run {echo | idle}", "idle", ""},
		{"run {echo | idle}", "", "one of echo, idle is missing"},
		{"run {echo | idle}", "fly away", `"fly" is none of echo, idle`},
		{"run {echo | idle}", "echo idle", `"idle" is one argument too many`},
	} {
		args := strings.Fields(c.args)
		for i, a := range args {
			args[i] = strings.TrimPrefix(a, "_") // for an empty one
		}
		err := Args(&cobra.Command{Use: c.use}, args)
		if (err == nil) != (c.want == "") || err != nil && !strings.HasPrefix(err.Error(), c.want+"\n\nusage: "+c.use) {
			t.Errorf("%s, with %q: %v", c.use, args, err)
		}
	}
}

func TestArgsGiveAnExample(t *testing.T) {
	c := &cobra.Command{Use: "pub ROOM KIND", Long: `Words about
pub, and:

  pub --all news \
      far
  pub lobby news
  pub --all news`}
	for usage, want := range map[string]string{"ROOM KIND": "as in: pub lobby news\n", "KIND --all": "as in: pub --all news\n", "KIND --most": "as in: pub lobby news\n"} {
		if err := ArgsAs(usage, c, nil); err == nil || !strings.Contains(err.Error(), "usage: pub "+usage+"\n"+want) {
			t.Errorf("%s: %v", usage, err)
		}
	}
	if err := ArgsAs("", c, []string{"x"}); err == nil || strings.Contains(err.Error(), "as in") {
		t.Errorf("without arguments: %v", err)
	}
}
