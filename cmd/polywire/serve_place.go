package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/cmd/polywire/internal/config"
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

	pair *keyPair // of tlsCert and tlsKey; nil: none
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

// address returns the URL that the parts make, empty if the listeners are
// given as addresses, or not at all. What is given in the stronger way holds.
func (f *placeFlags) address(s *config.Set) (string, error) {
	parts, whole := s.Strongest("host", "port", "secure"), s.Source("listen")
	switch {
	case parts == config.Default || whole > parts:
		return "", nil
	case whole == parts:
		return "", errors.New("--host, --port and --secure say in parts what --listen says: use one or the other")
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
	case (f.tlsCert == "") != (f.tlsKey == ""):
		return nil, errors.New("--tls-cert and --tls-key go together")
	case f.secure && f.tlsCert == "":
		return nil, errors.New("--secure needs --tls-cert and --tls-key")
	case f.rejectHostnames && f.tlsCert == "" && len(f.hostnames) == 0:
		return nil, errors.New("--reject-invalid-hostnames needs --tls-cert, whose names it takes, or --hostname")
	}
	if f.tlsCert == "" {
		return f.live()
	}
	f.pair = new(keyPair)
	if err := f.pair.read(f.tlsCert, f.tlsKey); err != nil {
		return nil, err
	}
	if !secure {
		return nil, errors.New("--tls-cert is given, but no address is wss or tls: add --secure, or listen on wss://")
	}
	opts, err := f.live()
	return append(opts, polywire.WithTLS(f.pair.config())), err
}

// live returns those options that can change at run time.
func (f *placeFlags) live() ([]polywire.Option, error) {
	return optionsOf(f.liveOptions())
}

func (f *placeFlags) liveOptions() ([]polywire.LiveOption, error) {
	opts := []polywire.LiveOption{polywire.WithOrigins(f.origins...), polywire.WithAnyHostname()}
	names := slices.Clone(f.hostnames)
	if f.rejectHostnames && f.pair != nil {
		own, err := f.pair.names()
		if err != nil {
			return nil, err
		}
		names = append(names, own...)
	}
	if len(names) > 0 {
		opts = append(opts, polywire.WithHostnames(names...))
	}
	return opts, nil
}

func optionsOf(live []polywire.LiveOption, err error) ([]polywire.Option, error) {
	opts := make([]polywire.Option, len(live))
	for i, o := range live {
		opts[i] = o
	}
	return opts, err
}
