package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/wire/socketio"
)

// placeFlags say where a server is to be reached and by which names: the
// address in parts, TLS, web origins and host names.
type placeFlags struct {
	host            string
	port            int
	path            string
	secure          bool
	tlsCert, tlsKey string
	origins         []string
	hostnames       []string
	rejectHostnames bool
}

func (f *placeFlags) register(c *cobra.Command) {
	flags := c.Flags()
	flags.StringVar(&f.host, "host", "127.0.0.1", "`name` or address to listen on, in place of --listen; empty is every address")
	flags.IntVar(&f.port, "port", 8080, "`port` to listen on, in place of --listen; 0 is any free one")
	flags.BoolVar(&f.secure, "secure", false, "with --host and --port: listen for wss rather than ws")
	flags.StringVar(&f.path, "path", socketio.DefaultPath, "HTTP `path` of the Socket.IO wire")
	flags.StringVar(&f.tlsCert, "tls-cert", "", "certificate `file` (PEM) for wss and tls (also --ssl-cert)")
	flags.StringVar(&f.tlsKey, "tls-key", "", "key `file` (PEM) of the certificate (also --ssl-key)")
	flags.StringSliceVar(&f.origins, "origin", nil,
		"web `origins` whose pages may connect, besides the server's own; * is all (also --cors)")
	flags.BoolVar(&f.rejectHostnames, "reject-invalid-hostnames", false,
		"refuse requests and TLS clients for hosts that are not in the certificate")
	flags.StringSliceVar(&f.hostnames, "hostname", nil,
		"host `names` and addresses to answer to, refusing others; *.example.com is one label of any name")
	flags.SetNormalizeFunc(otherNames)
}

// otherNames are flags by the names that they have in GOSF's configuration.
func otherNames(_ *pflag.FlagSet, name string) pflag.NormalizedName {
	switch name {
	case "ssl-cert":
		name = "tls-cert"
	case "ssl-key":
		name = "tls-key"
	case "cors", "enableCORS":
		name = "origin"
	case "rejectInvalidHostnames":
		name = "reject-invalid-hostnames"
	}
	return pflag.NormalizedName(name)
}

// address returns the URL that the parts make, empty if none was given.
func (f *placeFlags) address(c *cobra.Command) (string, error) {
	given := c.Flags().Changed
	switch {
	case !given("host") && !given("port") && !given("secure"):
		return "", nil
	case given("listen"):
		return "", errors.New("--host, --port and --secure say in parts what --listen says: use one or the other")
	case f.port < 0 || f.port > 65535:
		return "", fmt.Errorf("--port %d: want 0 to 65535", f.port)
	}
	host := strings.TrimSuffix(strings.TrimPrefix(f.host, "["), "]")
	if _, err := netip.ParseAddr(host); err != nil && strings.ContainsAny(host, ":/@[]? ") {
		return "", fmt.Errorf("--host %q: want a name or an address, without scheme and port", f.host)
	}
	scheme := "ws"
	if f.secure {
		scheme = "wss"
	}
	return scheme + "://" + net.JoinHostPort(host, strconv.Itoa(f.port)), nil
}

// options returns what the flags mean for a server on these addresses.
func (f *placeFlags) options(addresses []string) ([]polywire.Option, error) {
	opts := []polywire.Option{polywire.WithOrigins(f.origins...)}
	secure := false
	for _, a := range addresses {
		scheme, _, _ := strings.Cut(a, "://")
		_, base, plus := strings.Cut(scheme, "+")
		if !plus {
			base = scheme
		}
		secure = secure || base == "wss" || base == "https" || base == "tls"
	}
	switch {
	case !isPath(f.path):
		return nil, fmt.Errorf("--path %q: want a path that begins with a slash", f.path)
	case (f.tlsCert == "") != (f.tlsKey == ""):
		return nil, errors.New("--tls-cert and --tls-key go together")
	case f.secure && f.tlsCert == "":
		return nil, errors.New("--secure needs --tls-cert and --tls-key")
	case f.rejectHostnames && f.tlsCert == "" && len(f.hostnames) == 0:
		return nil, errors.New("--reject-invalid-hostnames needs --tls-cert, whose names it takes, or --hostname")
	}
	if len(f.hostnames) > 0 {
		opts = append(opts, polywire.WithHostnames(f.hostnames...))
	}
	if f.tlsCert == "" {
		return opts, nil
	}
	t, err := loadTLS(f.tlsCert, f.tlsKey)
	if err != nil {
		return nil, err
	}
	if !secure {
		return nil, errors.New("--tls-cert is given, but no address is wss or tls: add --secure, or listen on wss://")
	}
	if f.rejectHostnames {
		opts = append(opts, polywire.WithHostnames())
	}
	return append(opts, polywire.WithTLS(t)), nil
}
