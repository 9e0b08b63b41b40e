package polywire_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/polywire/polywire"
)

// SECURITY.md and the options' own comments say the defaults that hold.
func TestDocumentedDefaults(t *testing.T) {
	srv, err := polywire.New()
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	c := srv.Configuration()
	bytes := func(n int64) string {
		switch {
		case n >= 1<<30:
			return fmt.Sprintf("%d GiB", n>>30)
		case n >= 1<<20:
			return fmt.Sprintf("%d MiB", n>>20)
		}
		return count(int(n))
	}
	seconds := func(d time.Duration) string { return fmt.Sprintf("%d s", d/time.Second) }
	defaults := map[string]string{
		"WithMaxMessageBytes":  bytes(int64(c.MaxMessageBytes)),
		"WithOutboxBytes":      bytes(int64(c.OutboxBytes)),
		"WithTotalOutboxBytes": bytes(c.TotalOutboxBytes),
		"WithHandshakeTimeout": seconds(c.HandshakeTimeout),
		"WithAuthTimeout":      seconds(c.AuthTimeout),
		"WithExpiryGrace":      seconds(c.ExpiryGrace),
		"WithWriteTimeout":     seconds(c.WriteTimeout),
		"WithHandlerTimeout":   seconds(c.HandlerTimeout),
		"WithCloseTimeout":     seconds(c.CloseTimeout),
		"WithInboxMessages":    count(c.InboxMessages),
		"WithMaxOpenCalls":     count(c.MaxOpenCalls),
		"WithMaxRoomNameBytes": count(c.MaxRoomNameBytes),
		"WithMaxSubscriptions": count(c.MaxSubscriptions),
		"WithMaxOpening":       count(c.MaxOpening),
		"WithMaxNamespaces":    fmt.Sprintf("%d and %d", c.MaxNamespaces, c.MaxConnecting),
		"WithHeartbeat":        seconds(c.HeartbeatInterval) + " and " + seconds(c.HeartbeatTimeout),
	}
	rows := make(map[string]string) // by option: what their rows say
	for line := range strings.Lines(read(t, "SECURITY.md")) {
		cells := strings.Split(line, "|")
		if len(cells) != 6 {
			continue
		}
		for option := range strings.SplitSeq(cells[3], ",") {
			option = strings.Trim(option, " `")
			rows[option] += cells[2] + " and "
		}
	}
	options := comments(read(t, "options.go") + "\n" + read(t, "identity.go"))
	for option, want := range defaults {
		if said := strings.Join(strings.Fields(rows[option]), " "); !strings.Contains(said, want) {
			t.Errorf("SECURITY.md says %q of %s, the default is %s", said, option, want)
		}
		if said := options[option]; !strings.Contains(said, want) {
			t.Errorf("the comment of %s says %q, the default is %s", option, said, want)
		}
	}
}

// count writes a number as documents do.
func count(n int) string {
	if n >= 1000 {
		return fmt.Sprintf("%d,%03d", n/1000, n%1000)
	}
	return fmt.Sprint(n)
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// comments are those of the functions in a file of Go, in one line each.
func comments(source string) map[string]string {
	found, text := make(map[string]string), ""
	for line := range strings.Lines(source) {
		switch comment, is := strings.CutPrefix(line, "//"); {
		case is:
			text += " " + comment
		case strings.HasPrefix(line, "func "):
			name, _, _ := strings.Cut(strings.TrimPrefix(line, "func "), "(")
			found[name] = strings.Join(strings.Fields(text), " ")
			text = ""
		default:
			text = ""
		}
	}
	return found
}
