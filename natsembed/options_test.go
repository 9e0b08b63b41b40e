package natsembed_test

import (
	"crypto/tls"
	"strings"
	"testing"

	"github.com/polywire/polywire/natsembed"
)

func TestOptionsRefused(t *testing.T) {
	cluster := func(c natsembed.Cluster) natsembed.Options {
		return natsembed.Options{NoJetStream: true, Cluster: &c}
	}
	tests := map[string]struct {
		o    natsembed.Options
		want string
	}{
		"zero":             {natsembed.Options{}, "choose one"},
		"two places":       {natsembed.Options{Dir: "x", TemporaryDir: true}, "choose one"},
		"negative store":   {natsembed.Options{NoJetStream: true, MaxStoreBytes: -1}, "negative"},
		"negative memory":  {natsembed.Options{NoJetStream: true, MaxMemoryBytes: -1}, "negative"},
		"negative payload": {natsembed.Options{NoJetStream: true, MaxPayloadBytes: -1}, "MaxPayloadBytes"},
		"large payload":    {natsembed.Options{NoJetStream: true, MaxPayloadBytes: 1 << 30}, "MaxPayloadBytes"},
		"spaces":           {natsembed.Options{NoJetStream: true, Name: "a b"}, "spaces"},
		"token and user": {natsembed.Options{
			NoJetStream: true, Listen: "127.0.0.1:0", Auth: natsembed.Auth{Token: "t", User: "u", Password: "p"},
		}, "not both"},
		"no password":       {natsembed.Options{NoJetStream: true, Listen: "127.0.0.1:0", Auth: natsembed.Auth{User: "u"}}, "a password"},
		"no user":           {natsembed.Options{NoJetStream: true, Listen: "127.0.0.1:0", Auth: natsembed.Auth{Password: "p"}}, "a user"},
		"auth for no port":  {natsembed.Options{NoJetStream: true, Auth: natsembed.Auth{Token: "t"}}, "there is none"},
		"TLS for no port":   {natsembed.Options{NoJetStream: true, TLS: &tls.Config{}}, "there is none"},
		"no port":           {natsembed.Options{NoJetStream: true, Listen: "127.0.0.1"}, "want host:port"},
		"bad port":          {natsembed.Options{NoJetStream: true, Listen: "127.0.0.1:65536"}, "65535"},
		"public":            {natsembed.Options{NoJetStream: true, Listen: ":0"}, "other machines"},
		"public too":        {natsembed.Options{NoJetStream: true, Listen: "0.0.0.0:0"}, "other machines"},
		"by name":           {natsembed.Options{NoJetStream: true, Listen: "example.org:0"}, "other machines"},
		"public, only TLS":  {natsembed.Options{NoJetStream: true, Listen: ":0", TLS: &tls.Config{}}, "other machines"},
		"nodes: no listen":  {cluster(natsembed.Cluster{}), "want host:port"},
		"nodes: public":     {cluster(natsembed.Cluster{Listen: ":0"}), "other machines"},
		"nodes: spaces":     {cluster(natsembed.Cluster{Listen: "127.0.0.1:0", Name: "a b"}), "spaces"},
		"nodes: user only":  {cluster(natsembed.Cluster{Listen: "127.0.0.1:0", User: "u"}), "password"},
		"nodes: advertise":  {cluster(natsembed.Cluster{Listen: "127.0.0.1:0", Advertise: "host"}), "advertise"},
		"nodes: peer":       {cluster(natsembed.Cluster{Listen: "127.0.0.1:0", Peers: []string{"host"}}), "peer"},
		"nodes: peer's URL": {cluster(natsembed.Cluster{Listen: "127.0.0.1:0", Peers: []string{"http://host:1"}}), "peer"},
		"nodes: port 0":     {cluster(natsembed.Cluster{Listen: "127.0.0.1:0", Peers: []string{"host:0"}}), "peer"},
		"nodes: secret":     {cluster(natsembed.Cluster{Listen: "127.0.0.1:0", Peers: []string{"nats://u:hidden@host:1"}}), "Cluster has them"},
		"nodes: no name": {natsembed.Options{
			TemporaryDir: true, Cluster: &natsembed.Cluster{Listen: "127.0.0.1:0"},
		}, "needs a Name"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s, err := natsembed.Start(within(t), tt.o)
			if err == nil {
				stop(t, s)
			}
			if err == nil || !strings.HasPrefix(err.Error(), "natsembed: ") || !strings.Contains(err.Error(), tt.want) ||
				strings.Contains(err.Error(), "hidden") {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
