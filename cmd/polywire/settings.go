package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/polywire/polywire/cmd/polywire/internal/config"
	"github.com/polywire/polywire/wire/native"
	"github.com/polywire/polywire/wire/socketio"
	"github.com/polywire/polywire/wire/sse"
)

// The settings of polywire serve, each declared once: that makes its key in the
// file, its variable, its flag, and its line in docs/configuration.md, which
// make generate writes. A new one needs nothing more.

//go:generate go run . config reference -o ../../docs/configuration.md

// variablePrefix is what the names of variables begin with.
const variablePrefix = "POLYWIRE"

// configVariable names the file where --config does not.
const configVariable = variablePrefix + "_CONFIG"

// newServeFlags returns the settings with their defaults.
func newServeFlags() *serveFlags {
	f := new(serveFlags)
	f.set = config.New(variablePrefix)
	f.listenFlags.declare(f.set, "info", "127.0.0.1:8080")
	f.placeFlags.declare(f.set)
	f.wireFlags.declare(f.set)
	f.declareLimits(f.set)
	f.auth.declare(f.set)
	f.roomFlags.declare(f.set)
	f.clusterFlags.declare(f.set)
	f.queueRules.declare(f.set)
	f.hooks.declare(f.set)
	f.api.declare(f.set)
	f.backend.declare(f.set)
	f.adminFlags.declare(f.set)
	f.traces.declare(f.set)
	return f
}

// register gives a command all settings as flags, and --config.
func (f *serveFlags) register(c *cobra.Command) {
	c.Flags().StringVarP(&f.file, "config", "c", "", "`file` of settings (YAML), under variables and flags ("+configVariable+"); polywire config default writes one")
	f.set.Register(c.Flags())
	c.Flags().SetNormalizeFunc(otherNames)
}

// load reads the settings from all their places. The error has all mistakes.
func (f *serveFlags) load() error {
	in := config.Input{Lookup: os.LookupEnv, ReadFile: readSecretFile}
	name := f.file
	if name == "" {
		name = os.Getenv(configVariable)
	}
	if name != "" {
		content, err := readSettings(name)
		if err != nil {
			return fmt.Errorf("--config: %w", err)
		}
		in.FileName, in.File = filepath.Base(name), content
	}
	return f.set.Load(in)
}

// readSettings reads a file of settings, no more than one may have.
func readSettings(name string) ([]byte, error) {
	file, err := os.Open(name) //nolint:gosec // whoever starts the program names it
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // it was read
	if info, err := file.Stat(); err == nil && info.IsDir() {
		return nil, fmt.Errorf("%s is a directory", name)
	}
	return io.ReadAll(io.LimitReader(file, config.MaxFileBytes+1))
}

func readSecretFile(name string) ([]byte, error) {
	return os.ReadFile(name) //nolint:gosec // whoever starts the program names it
}

// warnStray tells of variables that look like mistyped settings.
func (f *serveFlags) warnStray(logger *slog.Logger) {
	stray := f.set.Stray(os.Environ())
	for _, name := range slices.Sorted(maps.Keys(stray)) {
		logger.Warn("a variable of the environment is no setting", "variable", name, "nearest", stray[name])
	}
}

func (f *listenFlags) declare(s *config.Set, level string, listen ...string) {
	s.Add(config.Setting{
		Key: "listen", Flag: "listen", Short: "l",
		Doc: "`address` to listen on: host:port, or a URL with ws, wss, tcp, tls, unix, drs+tcp, drs+tls or drs+unix",
	}, config.List(&f.listen, listen, "an address, or a list of them", false, checkAddress))
	s.Add(config.Setting{Key: "log.level", Flag: "log-level", Doc: "the least important `level` that is logged: debug, info, warn or error", Reload: true},
		config.Text(&f.logLevel, level, "debug, info, warn or error", func(text string) error {
			if new(slog.LevelVar).UnmarshalText([]byte(text)) != nil {
				return errors.New("want debug, info, warn or error")
			}
			return nil
		}))
	s.Add(config.Setting{Key: "log.format", Flag: "log-format", Doc: "`form` of the lines that are logged: text, or json"},
		config.OneOf(&f.logFormat, "text", "text", "json"))
	s.Add(config.Setting{
		Key: "shutdown.drain", Flag: "drain", Reload: true,
		Doc: "`time` for peers and handlers to finish at the end: peers are sent away in small groups,\nspread over three quarters of it where they are many",
	}, config.Duration(&f.drain, 10*time.Second, 0, time.Hour))
	s.Add(config.Setting{
		Key: "shutdown.delay", Flag: "drain-delay", Reload: true,
		Doc: "`time` between saying at /readyz that the server ends and the first peer that is sent away,\nfor load balancers to see it",
	}, config.Duration(&f.delay, 0, 0, time.Hour))
}

// checkAddress refuses what no server could listen on.
func checkAddress(text string) error {
	address := text
	if !strings.Contains(address, "://") {
		address = "ws://" + address
	}
	u, err := url.Parse(address)
	if err != nil || text == "" {
		return errors.New("want host:port, or a URL as tcp://127.0.0.1:7000")
	}
	_, base, plus := strings.Cut(u.Scheme, "+")
	if !plus {
		base = u.Scheme
	}
	switch {
	case !slices.Contains([]string{"ws", "wss", "http", "https", "tcp", "tls", "unix"}, base):
		return fmt.Errorf("unknown scheme %q", u.Scheme)
	case base == "unix" && u.Path == "":
		return errors.New("want a path, as unix:///run/polywire.sock")
	case base != "unix" && u.Port() == "":
		return errors.New("has no port")
	}
	return nil
}

func notEmpty(want string) config.Check {
	return func(text string) error {
		if text == "" {
			return errors.New(want)
		}
		return nil
	}
}

func (f *placeFlags) declare(s *config.Set) {
	s.Add(config.Setting{Key: "host", Flag: "host", Doc: "`name` or address to listen on, in place of --listen; empty is every address"},
		config.Text(&f.host, "127.0.0.1", "a name or an address", nil))
	s.Add(config.Setting{
		Key: "port", Flag: "port", Doc: "`port` to listen on, in place of --listen; 0 is any free one",
		Foreign: func(value string) bool { return strings.Contains(value, "://") }, // Kubernetes sets it for a service of this name
	}, config.Int(&f.port, 8080, 0, 65535))
	s.Add(config.Setting{Key: "secure", Flag: "secure", Doc: "with --host and --port: listen for wss rather than ws"}, config.Bool(&f.secure))
	s.Add(config.Setting{Key: "origins", Flag: "origin", Doc: "web `origins` whose pages may connect, besides the server's own; * is all (also --cors)", Reload: true},
		config.List(&f.origins, nil, "a list of origins, as https://app.example.com", true, nil))
	s.Add(config.Setting{Key: "hostnames", Flag: "hostname", Doc: "host `names` and addresses to answer to, refusing others; *.example.com is one label of any name", Reload: true},
		config.List(&f.hostnames, nil, "a list of host names and addresses", true, nil))
	s.Add(config.Setting{
		Key: "reject_invalid_hostnames", Flag: "reject-invalid-hostnames", Doc: "refuse requests and TLS clients for hosts that are not in the certificate",
	}, config.Bool(&f.rejectHostnames))
	s.Add(config.Setting{Key: "tls.cert", Flag: "tls-cert", Doc: "certificate `file` (PEM) for wss and tls (also --ssl-cert); read again on SIGHUP", Reload: true},
		config.Text(&f.tlsCert, "", "a file's name", nil))
	s.Add(config.Setting{Key: "tls.key", Flag: "tls-key", Doc: "key `file` (PEM) of the certificate (also --ssl-key); read again on SIGHUP", Reload: true},
		config.Text(&f.tlsKey, "", "a file's name", nil))
	s.Add(config.Setting{Key: "paths.socketio", Flag: "path", Doc: "HTTP `path` of the Socket.IO wire"},
		config.Text(&f.path, socketio.DefaultPath, wantPath, checkPath))
}

const wantPath = "a path that begins with a slash"

func checkPath(text string) error {
	if !isPath(text) {
		return errors.New("want " + wantPath)
	}
	return nil
}

func (f *wireFlags) declare(s *config.Set) {
	var names []string
	for _, w := range everyWire(wirePlaces{}) {
		names = append(names, w.Name())
	}
	s.Add(config.Setting{Key: "paths.native", Flag: "ws-path", Doc: "further HTTP `paths` of the native wire's WebSocket, such as /api/v1/ws, besides " + native.DefaultPath},
		config.List(&f.at.native, nil, "a list of paths that begin with a slash", true, checkPath))
	s.Add(config.Setting{Key: "paths.events", Flag: "events-path", Doc: "HTTP `path` of server-sent events"},
		config.Text(&f.at.events, sse.DefaultPath, wantPath, checkPath))
	s.Add(config.Setting{Key: "without", Flag: "without", Doc: "`wires` not to speak, of " + strings.Join(names, ", ")},
		config.List(&f.without, nil, "a list of "+strings.Join(names, ", "), true, func(text string) error {
			if !slices.Contains(names, text) {
				return errors.New("there is no such wire; there are " + strings.Join(names, ", "))
			}
			return nil
		}))
}

func (f *serveFlags) declareLimits(s *config.Set) {
	s.Add(config.Setting{Key: "allow", Flag: "allow", Doc: "what clients may do besides subscribing: `publish`, broadcast", Reload: true},
		config.List(&f.allow, nil, "a list of publish and broadcast", true, config.Words("publish", "broadcast")))
	s.Add(config.Setting{Key: "limits.message_bytes", Flag: "max-message-bytes", Doc: "largest inbound `size` of a message"},
		config.Bytes(&f.maxMessage, 1<<20, 1, 1<<30))
	s.Add(config.Setting{Key: "limits.outbox_bytes", Flag: "max-outbox-bytes", Doc: "the most `bytes` that may wait for one slow reader; over it the connection is closed"},
		config.Bytes(&f.maxOutbox, 1<<20, 1, 1<<30))
	s.Add(config.Setting{Key: "limits.connections", Flag: "max-connections", Doc: "most connections; 0 is no limit", Reload: true},
		config.Int(&f.maxConns, 0, 0, math.MaxInt))
	s.Add(config.Setting{Key: "limits.connections_per_address", Flag: "max-connections-per-address", Doc: "most connections from one address; 0 is no limit", Reload: true},
		config.Int(&f.maxPerAddr, 0, 0, math.MaxInt))
	s.Add(config.Setting{Key: "limits.connections_per_user", Flag: "max-connections-per-user", Doc: "most connections of one user; 0 is no limit", Reload: true},
		config.Int(&f.maxPerUser, 0, 0, math.MaxInt))
	s.Add(config.Setting{Key: "limits.opening", Flag: "max-opening", Doc: "most connections that are nobody's yet; 0 is no limit", Reload: true},
		config.Int(&f.maxOpening, 10_000, 0, math.MaxInt))
	s.Add(config.Setting{
		Key: "limits.message_rate", Flag: "message-rate", Reload: true,
		Doc: "`messages` a second that one connection may send in the long run; one more closes it; 0 is no limit",
	}, config.Float(&f.messageRate, 0, 0, 1e9))
	s.Add(config.Setting{
		Key: "limits.message_burst", Flag: "message-burst", Reload: true,
		Doc: "`messages` that one connection may send at once over --message-rate", Default: "twice the rate",
	}, config.Int(&f.messageBurst, 0, 0, math.MaxInt32))
	s.Add(config.Setting{Key: "limits.handler_timeout", Flag: "handler-timeout", Doc: "`time` to handle a message"},
		config.Duration(&f.handlerTimeout, 30*time.Second, 1, math.MaxInt64))
}

func (f *roomFlags) declare(s *config.Set) {
	s.Add(config.Setting{
		Key: "rooms.history", Flag: "history",
		Doc: "keep the latest messages of rooms, for who comes back: `pattern:size=100,age=5m,storage=memory`,\n" +
			"also bytes=64m for all rooms together, storage=disk; a pattern is a room's name, or its beginning and *",
	}, config.Rules(&f.kept, historyForm(), buildHistory))
	s.Add(config.Setting{Key: "rooms.presence", Flag: "presence", Doc: "tell the members of rooms who comes and goes; `pattern` as of --history"},
		config.Rules(&f.presence, oneWord("pattern", "a room's name, or its beginning and *", nil), theWord))
	s.Add(config.Setting{Key: "rooms.recovery", Flag: "recovery", Doc: "let Socket.IO clients resume their sessions with what they have missed, at any server of a cluster"},
		config.Bool(&f.recovery))
}

// oneWord is the form of rules that are a word each.
func oneWord(name, doc string, check config.Check) config.Form {
	return config.Form{
		Want:   name,
		Fields: []config.Field{{Name: name, Doc: doc, Required: true}},
		Split: func(line string) ([]config.Pair, error) {
			if check != nil {
				if err := check(line); err != nil {
					return nil, err
				}
			}
			return []config.Pair{{Name: name, Value: line}}, nil
		},
	}
}

func theWord(pairs []config.Pair) (string, error) {
	if pairs[0].Value == "" {
		return "", errors.New("want a name")
	}
	return pairs[0].Value, nil
}
