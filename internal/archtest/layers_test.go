package archtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/polywire/polywire/internal/testenv"
)

// ports are the packages of interfaces that the root package stands on.
var ports = []string{"codec", "wire", "transport", "cluster", "queue"}

// layer says what the packages of some folders may import of this module. A
// pattern is a folder, or a folder with /... for those below it; "." is the root package.
type layer struct {
	of    []string
	may   []string
	never []string // exceptions from may
}

// The first layer that names a folder is the one that holds for it. A package
// may always import what lies below its own folder.
var layers = []layer{
	{of: []string{"."}, may: []string{"codec", "wire", "transport", "cluster", "queue", "internal/..."}},
	{of: ports, may: []string{"codec", "wire", "transport", "internal/..."}},

	// A carrier of frames knows no message language.
	{of: []string{"transport/engineio"}, may: []string{"transport", "transport/websocket", "internal/..."}},
	{of: []string{"transport/transporttest"}, may: []string{"transport", "transport/stream", "internal/..."}},
	{of: []string{"transport/..."}, may: []string{"transport", "internal/..."}},
	{of: []string{"codec/..."}, may: []string{"codec", "internal/..."}},

	// A message language chooses its carriers, docs/adr/0002; the suite drives them all.
	{of: []string{"wire/..."}, may: []string{"codec", "wire", "transport/...", "cluster", "queue", "internal/..."}},
	{of: []string{"cluster/..."}, may: []string{"cluster", "codec", "wire", "internal/..."}},
	{of: []string{"queue/..."}, may: []string{"queue", "codec", "internal/..."}},
	{of: []string{"sdk/js"}}, // the embedded files, for programs that serve them
	{of: []string{"natsembed"}, may: []string{"internal/..."}},

	{of: []string{"internal/..."}, may: []string{"codec/...", "wire/...", "transport/...", "cluster/...", "queue/...", "internal/..."}},

	// The sender's side of webhooks stands on what receivers and others compile.
	{of: []string{"webhook/dispatch/dispatchtest"}, may: []string{"webhook", "webhook/dispatch", "queue", "internal/..."}},
	{of: []string{"webhook/dispatch"}, may: []string{"codec", "queue", "webhook", "internal/..."}},
	{of: []string{"webhook/natsstore"}, may: []string{"webhook", "webhook/dispatch", "internal/..."}},

	// Who watches webhooks stands above what sends them.
	{
		of: []string{"observe/prometheus", "observe/otel"},
		may: []string{
			".", "client", "codec", "wire", "cluster", "queue", "webhook", "webhook/dispatch", "internal/...",
		},
	},

	// What stands on the core. Nothing below may import these.
	{
		of: []string{
			"auth/...", "client/...", "middleware/...", "observe/...", "plugin/...", "polywiretest/...",
			"reply/...", "service/...", "webhook/...",
		},
		may: []string{
			".", "codec/...", "wire/...", "transport/...", "cluster/...", "queue/...", "internal/...",
			"auth/...", "client/...", "middleware/...", "plugin/...", "reply/...", "service/...",
		},
	},
	{of: []string{"cmd/...", "examples/..."}, may: []string{"..."}, never: []string{"examples/..."}},
}

// homes says which package keeps a dependency of others' making, so that users
// compile only what they import. Tests may import what they like.
var homes = map[string][]string{
	"connectrpc.com/connect":              {"cmd/..."},
	"github.com/failsafe-go/failsafe-go":  {"service", "webhook/dispatch", "cmd/..."},
	"github.com/go-jose/go-jose/v4":       {"auth"},
	"github.com/gobwas/ws":                {"transport/websocket"},
	"github.com/golang-jwt/jwt/v5":        {"auth"},
	"github.com/nats-io/nats-server/v2":   {"natsembed"},
	"github.com/nats-io/nats.go":          {"natsembed", "cluster/nats", "queue/jetstream", "webhook/natsstore", "internal/natsack", "cmd/...", "examples/..."},
	"github.com/prometheus/client_golang": {"observe/prometheus", "cmd/..."},
	"go.opentelemetry.io/contrib":         {"cmd/..."},
	"go.opentelemetry.io/otel":            {"observe/otel", "cmd/..."},
	"github.com/rabbitmq/amqp091-go":      {"queue/rabbitmq"},
	"github.com/rivo/uniseg":              {"cmd/..."},
	"github.com/schollz/progressbar/v3":   {"cmd/..."},
	"github.com/spf13/cobra":              {"cmd/..."},
	"github.com/spf13/pflag":              {"cmd/..."},
	"github.com/vmihailenco/msgpack/v5":   {"codec/msgpack"},
	"go.yaml.in/yaml/v3":                  {"cmd/..."},
	"golang.org/x/net":                    {"cmd/..."},
	"golang.org/x/sys":                    {"internal/load", "natsembed", "transport/...", "cmd/..."},
	"golang.org/x/term":                   {"cmd/..."},
	"google.golang.org/protobuf":          {"codec/protobuf", "wire/native/nativepb", "wire/goomerang/...", "examples/...", "cmd/..."},
	"go.uber.org/goleak":                  {"internal/testenv"},
}

func matches(patterns []string, folder string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		base, below := strings.CutSuffix(p, "...")
		if !below {
			return p == folder
		}
		return base == "" || folder+"/" == base || strings.HasPrefix(folder, base)
	})
}

// layerOf returns the layer that a folder is in.
func layerOf(folder string) (layer, bool) {
	for _, l := range layers {
		if matches(l.of, folder) {
			return l, true
		}
	}
	return layer{}, false
}

// checkImports returns what is wrong with a file's imports.
func checkImports(f file) []string {
	l, ok := layerOf(f.folder())
	if !ok {
		return []string{f.path + ": its folder is in no layer; give it one in internal/archtest/layers_test.go"}
	}
	var wrong []string
	for _, spec := range f.ast.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return []string{fmt.Sprintf("%s: %v", f.path, err)}
		}
		if why := refuse(f, l, imported); why != "" {
			wrong = append(wrong, fmt.Sprintf("%s:%d: imports %s: %s", f.path, f.line(spec.Pos()), imported, why))
		}
	}
	return wrong
}

// refuse says why a file may not import a package; empty when it may.
func refuse(f file, l layer, imported string) string {
	folder, ours := strings.CutPrefix(imported, module)
	if !ours {
		return refuseForeign(f, imported)
	}
	folder = strings.TrimPrefix(folder, "/")
	if folder == "" {
		folder = "."
	}
	switch {
	case f.folder() != "." && strings.HasPrefix(folder, f.folder()+"/"):
		return ""
	case forTests(folder) && !f.forTests():
		return "it is for tests"
	case f.isTest() || forTests(f.folder()) && forTests(folder):
		return ""
	case !matches(l.may, folder) || matches(l.never, folder):
		return "the layers do not allow it"
	}
	return ""
}

func refuseForeign(f file, imported string) string {
	first, _, _ := strings.Cut(imported, "/")
	if !strings.Contains(first, ".") { // the standard library
		if imported == "testing" && !f.forTests() {
			return "it is for tests"
		}
		return ""
	}
	if f.forTests() {
		return ""
	}
	for dependency, folders := range homes {
		if imported == dependency || strings.HasPrefix(imported, dependency+"/") {
			if matches(folders, f.folder()) {
				return ""
			}
			return fmt.Sprintf("its home is %v", folders)
		}
	}
	return "this dependency has no home; give it one in internal/archtest/layers_test.go"
}

func TestLayers(t *testing.T) {
	files, _ := load(t)
	for _, f := range files {
		if !f.inModule() {
			continue
		}
		for _, w := range checkImports(f) {
			t.Error(w)
		}
	}
}

func TestLayerRules(t *testing.T) {
	tests := []struct {
		path, imports string
		ok            bool
	}{
		{"server.go", module + "/wire", true},
		{"server.go", module + "/internal/netio", true},
		{"server.go", "net/http", true},
		{"server.go", module + "/wire/native", false},
		{"server.go", module + "/client", false},
		{"server.go", "golang.org/x/sys/unix", false},
		{"server.go", "testing", false},
		{"server_test.go", module + "/wire/native", true},
		{"transport/websocket/conn.go", module + "/transport", true},
		{"transport/websocket/conn.go", "github.com/gobwas/ws", true},
		{"transport/websocket/conn.go", module + "/transport/transporttest", false},
		{"transport/websocket/conn_test.go", module + "/transport/transporttest", true},
		{"transport/websocket/conn.go", module + "/transport/stream", false},
		{"transport/websocket/conn.go", module + "/wire", false},
		{"transport/engineio/poll.go", module + "/transport/websocket", true},
		{"transport/stream/conn.go", module, false},
		{"wire/native/session.go", module + "/transport/websocket", true},
		{"wire/native/session.go", module + "/wire/native/nativepb", true},
		{"wire/native/session.go", module + "/wire/drs", false},
		{"wire/native/session.go", module, false},
		{"wire/wiretest/suite.go", module + "/transport/transporttest", true},
		{"wire/wiretest/suite.go", module, false},
		{"wire/close.go", module + "/transport", true},
		{"wire/close.go", module + "/transport/websocket", false},
		{"codec/msgpack/msgpack.go", module + "/codec", true},
		{"codec/msgpack/msgpack.go", module + "/wire", false},
		{"internal/netio/pool.go", module, false},
		{"internal/netio/pool.go", module + "/client", false},
		{"client/client.go", module, true},
		{"client/client.go", module + "/cmd/polywire", false},
		{"cmd/polywire/main.go", module + "/client", true},
		{"cmd/polywire/main.go", module + "/observe/prometheus", true},
		{"cmd/polywire/main.go", "example.org/unheard/of", false},
		{"natsembed/server.go", "github.com/nats-io/nats-server/v2/server", true},
		{"natsembed/server.go", module, false},
		{"natsembed/server.go", module + "/cluster", false},
		{"cluster/nats/nats.go", "github.com/nats-io/nats.go/jetstream", true},
		{"cluster/nats/nats.go", "github.com/nats-io/nats-server/v2/server", false},
		{"cluster/nats/nats.go", module + "/natsembed", false},
		{"cluster/nats/nats_test.go", module + "/natsembed", true},
		{"client/client.go", module + "/natsembed", false},
		{"cmd/polywire/main.go", module + "/natsembed", true},
		{"webhook/client.go", module + "/queue", true},
		{"webhook/dispatch/publish.go", module + "/webhook", true},
		{"webhook/dispatch/publish.go", module + "/queue/jetstream", false},
		{"webhook/dispatch/publish.go", "github.com/nats-io/nats.go", false},
		{"webhook/natsstore/store.go", "github.com/nats-io/nats.go/jetstream", true},
		{"webhook/natsstore/store.go", module + "/queue/jetstream", false},
		{"nowhere/a.go", "fmt", false},
	}
	for _, tt := range tests {
		f := parse(t, tt.path, fmt.Sprintf("package p\n\nimport _ %q\n", tt.imports))
		if wrong := checkImports(f); (len(wrong) == 0) != tt.ok {
			t.Errorf("%s imports %s: got %q, want allowed: %v", tt.path, tt.imports, wrong, tt.ok)
		}
	}
}

// dependency is what go list says of a package that the root needs.
type dependency struct {
	ImportPath string
	Standard   bool
}

// heavy reports whether the root package may not depend on d.
func (d dependency) heavy() bool {
	folder, ours := strings.CutPrefix(d.ImportPath, module+"/")
	switch {
	case d.Standard, d.ImportPath == module:
		return false
	case ours:
		return !slices.Contains(ports, folder) && !strings.HasPrefix(folder, "internal/")
	}
	return true
}

// TestRootIsLight holds for everything that a user of the core compiles, down
// to the dependencies' dependencies.
func TestRootIsLight(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-deps", "-json=ImportPath,Standard", ".")
	cmd.Dir = testenv.Root(t)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for d := json.NewDecoder(strings.NewReader(string(out))); ; count++ {
		var dep dependency
		if err := d.Decode(&dep); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if dep.heavy() {
			t.Errorf("the root package depends on %s", dep.ImportPath)
		}
	}
	if count < 2 {
		t.Errorf("go list names %d packages; the root imports more than that", count)
	}
}

func TestHeavyRule(t *testing.T) {
	tests := []struct {
		dep  dependency
		want bool
	}{
		{dependency{"fmt", true}, false},
		{dependency{"vendor/golang.org/x/net/dns/dnsmessage", true}, false},
		{dependency{module, false}, false},
		{dependency{module + "/wire", false}, false},
		{dependency{module + "/internal/netio", false}, false},
		{dependency{module + "/wire/native", false}, true},
		{dependency{"golang.org/x/sys/unix", false}, true},
		{dependency{"google.golang.org/protobuf/proto", false}, true},
	}
	for _, tt := range tests {
		if got := tt.dep.heavy(); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.dep.ImportPath, got, tt.want)
		}
	}
}
