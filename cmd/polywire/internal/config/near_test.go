package config_test

import (
	"strings"
	"testing"

	"github.com/polywire/polywire/cmd/polywire/internal/config"
)

func TestNear(t *testing.T) {
	names := []string{"listen", "log-level", "log-format", "max-connections", "max-connections-per-user", "ls", "é-ü"}
	for text, want := range map[string]string{
		"lisen": "listen", "lsiten": "listen", "listn": "listen", "log-levl": "log-level", "log": "", "log-f": "log-format",
		"max-conections": "max-connections", "max-connections": "max-connections", "lss": "ls", "l": "ls", "": "", "zzzz": "", "é-u": "é-ü",
		strings.Repeat("listen", 10_000): "", "\xff\xff": "",
	} {
		if got := config.Near(text, names); got != want {
			t.Errorf("%.40q is near %q, want %q", text, got, want)
		}
	}
	if got := config.Near("a", nil); got != "" {
		t.Errorf("near %q of nothing", got)
	}
}
