package cli

import (
	"fmt"
	"net/netip"

	"github.com/polywire/polywire/webhook"
	"github.com/spf13/pflag"
)

// Reach is where webhooks may go, besides public addresses by https.
type Reach struct {
	HTTP     bool     // also by http
	Networks []string // inside networks, as prefixes
	Hosts    []string // names, wherever they lead
	Prefix   string   // of the flags' names; most have none
}

// Register adds its flags.
func (r *Reach) Register(flags *pflag.FlagSet) {
	flags.BoolVar(&r.HTTP, r.Prefix+"allow-http", false, "also URLs with http, which can be read and changed on their way")
	flags.StringSliceVar(&r.Networks, r.Prefix+"allow-network", nil, "inside `networks` that may be reached, as 10.1.0.0/16 or 127.0.0.1/32")
	flags.StringSliceVar(&r.Hosts, r.Prefix+"allow-host", nil, "`names` that may be reached wherever they lead")
}

// Given reports whether more than public addresses by https may be reached.
func (r *Reach) Given() bool { return r.HTTP || len(r.Networks) > 0 || len(r.Hosts) > 0 }

// Client makes a client that goes nowhere else.
func (r *Reach) Client() (*webhook.Client, error) {
	o := webhook.ClientOptions{AllowHTTP: r.HTTP, AllowHosts: r.Hosts}
	for _, n := range r.Networks {
		p, err := netip.ParsePrefix(n)
		if err != nil {
			return nil, fmt.Errorf("--%sallow-network %q: want a network, as 10.1.0.0/16", r.Prefix, n)
		}
		o.AllowNetworks = append(o.AllowNetworks, p)
	}
	return webhook.NewClient(o)
}
