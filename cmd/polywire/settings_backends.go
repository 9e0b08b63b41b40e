package main

import (
	"errors"
	"math"
	"time"

	"github.com/polywire/polywire/cmd/polywire/internal/config"
	"github.com/polywire/polywire/webhook"
)

func (f *clusterFlags) declare(s *config.Set) {
	s.Add(config.Setting{Key: "data.dir", Flag: "data-dir", Doc: "`directory` of the NATS server inside: histories and what is on disk; one process at a time"},
		config.Text(&f.dataDir, "", "a directory", nil))
	s.Add(config.Setting{Key: "data.no_sync", Flag: "no-sync", Doc: "with --data-dir: faster, and a power cut may lose the last two minutes of what is on disk"},
		config.Bool(&f.noSync))
	s.Add(config.Setting{
		Key: "nats.url", Flag: "nats", Secret: config.SecretInURL,
		Doc: "`URL` of a NATS server that connects the servers, or several with commas", Default: "the one inside",
	}, config.Text(&f.nats, "", "a URL, as nats://127.0.0.1:4222", nil))
	s.Add(config.Setting{Key: "nats.credentials", Flag: "nats-creds", Doc: "credentials `file` for --nats"},
		config.Text(&f.natsCreds, "", "a file's name", nil))
	s.Add(config.Setting{
		Key: "nats.listen", Flag: "nats-listen",
		Doc: "`host:port` at which other programs, such as polywire queue, reach the NATS server inside; they show the --nats-token, if there is one",
	}, config.Text(&f.natsAt, "", "host:port", nil))
	s.Add(config.Setting{Key: "nats.token", Flag: "nats-token", Secret: config.Secret, Doc: "`token` that clients of --nats-listen must show; needed where other machines reach it"},
		config.Text(&f.natsToken, "", "a text", nil))
	s.Add(config.Setting{
		Key: "cluster.node_name", Flag: "node-name",
		Doc: "`name` of this server in a cluster, for people", Default: "made once, kept in --data-dir",
	}, config.Text(&f.nodeName, "", "a name without spaces", nil))
	s.Add(config.Setting{
		Key: "cluster.peers", Flag: "cluster-peers",
		Doc: "`addresses` of all servers of the cluster, host:port; the same list for all, itself among them. Port " + clusterPort + " unless given",
	}, config.List(&f.peers, nil, "a list of addresses, host:port", true, nil))
	s.Add(config.Setting{
		Key: "cluster.listen", Flag: "cluster-listen",
		Doc: "`host:port` for the other servers", Default: "that of --cluster-peers which is this machine's",
	}, config.Text(&f.clusterAt, "", "host:port", nil))
	s.Add(config.Setting{
		Key: "cluster.advertise", Flag: "cluster-advertise",
		Doc: "`host:port` at which the other servers reach this one, where that is another: behind a NAT, in a container",
	}, config.Text(&f.advertise, "", "host:port", nil))
	s.Add(config.Setting{Key: "cluster.secret", Flag: "cluster-secret", Secret: config.Secret, Doc: "`password` among the servers; needed where other machines reach --cluster-listen"},
		config.Text(&f.secret, "", "a text", nil))
}

func (f *queueRules) declare(s *config.Set) {
	s.Add(config.Setting{
		Key: "queues.in", Flag: "queue-in",
		Doc: "put messages of a kind into a queue: `kind=queue`; a call is answered when the queue has it for good.\n" +
			"A kind may be a beginning and *: 'order.*=orders'",
	}, config.Rules(&f.takes, takeForm(), buildTake))
	s.Add(config.Setting{
		Key: "queues.out", Flag: "queue-out",
		Doc: "send the messages of a queue to a room: `queue=room`, or queue=room,kind=news,reach,ordered,concurrency=8;\n" +
			"without kind it is the message's own, with reach they wait until somebody is in the room,\n" +
			"with ordered those of one connection stay in order",
	}, config.Rules(&f.sends, sendForm(), buildSend))
	s.Add(config.Setting{
		Key: "queues.amqp", Flag: "amqp", Secret: config.SecretInURL,
		Doc: "`URLs` of a RabbitMQ for the queues", Default: "the JetStream of --data-dir or --nats",
	}, config.List(&f.amqp, nil, "a list of URLs, as amqp://user:password@host", true, nil))
	s.Add(config.Setting{Key: "queues.amqp_optional", Flag: "amqp-optional", Doc: "start without the RabbitMQ, and connect when it comes"},
		config.Bool(&f.optional))
	s.Add(config.Setting{
		Key: "queues.replicas", Flag: "queue-replicas",
		Doc: "on how many servers of a cluster messages are kept", Default: "3 of three or more --cluster-peers, else 1",
	}, config.OneOfInts(&f.replicas, 0, 0, 1, 3, 5))
	s.Add(config.Setting{Key: "queues.wait", Flag: "queue-wait", Doc: "how long a message may wait for a broker that is away, before its sender is told"},
		config.Duration(&f.wait, 5*time.Second, 1, math.MaxInt64))
}

func (f *webhookRules) declare(s *config.Set) {
	s.Add(config.Setting{
		Key: "webhooks.enabled", Flag: "webhooks",
		Doc: "deliver outgoing webhooks, which --data-dir or --nats keeps; with a key, an API at " + webhookAPIPath,
	}, config.Bool(&f.on))
	s.Add(config.Setting{Key: "webhooks.api_key", Flag: "api-key", Secret: config.Secret, Doc: "`key` of the webhooks' API, at least 16 characters; without one there is no API"},
		config.Text(&f.apiKey, "", "at least 16 characters", nil))
	s.Add(config.Setting{
		Key: "webhooks.out", Flag: "webhook-out",
		Doc: "send messages of a `kind` out as webhook events of that type; a call is answered when every delivery is durable.\n" +
			"A kind may be a beginning and .*: 'order.*'; needs --webhooks",
	}, config.Rules(&f.out, oneWord("kind", "kind of the messages, or its beginning and .*", nil), buildOut))
	s.Add(config.Setting{
		Key: "webhooks.in", Flag: "webhook-in", Reload: true, Secret: config.Secret,
		Doc: "receive webhooks: `/path=room:name,secret=env:NAME`, or queue:name; also kind=..., format=gost, tolerance=5m.\n" +
			"Answered 2xx when the room's servers, or the queue, have the message; without kind it is the event's type",
	}, config.Rules(&f.hooks, inForm(), buildIn))
	s.Add(config.Setting{
		Key: "webhooks.replicas", Flag: "webhook-replicas",
		Doc: "on how many servers of a cluster webhooks are kept", Default: "3 of three or more --cluster-peers, else as they are",
	}, config.OneOfInts(&f.keep.Replicas, 0, 0, 1, 3, 5))
	f.declareKept(s)
	f.reach.Prefix = "webhook-"
	s.Add(config.Setting{Key: "webhooks.allow_http", Flag: "webhook-allow-http", Doc: "also URLs with http, which can be read and changed on their way"},
		config.Bool(&f.reach.HTTP))
	s.Add(config.Setting{Key: "webhooks.allow_networks", Flag: "webhook-allow-network", Doc: "inside `networks` that may be reached, as 10.1.0.0/16 or 127.0.0.1/32"},
		config.List(&f.reach.Networks, nil, "a list of networks, as 10.1.0.0/16", true, nil))
	s.Add(config.Setting{Key: "webhooks.allow_hosts", Flag: "webhook-allow-host", Doc: "`names` that may be reached wherever they lead"},
		config.List(&f.reach.Hosts, nil, "a list of names", true, nil))
}

// declareKept declares for how long, and how much, of webhooks is kept.
func (f *webhookRules) declareKept(s *config.Set) {
	const asIs = "as they are; 168h where there are none yet"
	s.Add(config.Setting{
		Key: "webhooks.attempt_age", Flag: "webhook-attempt-age", Default: asIs,
		Doc: "`time` for which attempts are kept, to look at and to replay from: no less than an endpoint's tries take together",
	}, keptFor(&f.keep.AttemptAge))
	s.Add(config.Setting{
		Key: "webhooks.event_age", Flag: "webhook-event-age", Default: asIs,
		Doc: "`time` for which events are kept, to deliver them and to replay them; a delivery whose event has gone is lost",
	}, keptFor(&f.keep.EventAge))
	const noBound = "as they are; no bound but the NATS server's where there are none yet"
	s.Add(config.Setting{
		Key: "webhooks.attempt_bytes", Flag: "webhook-attempt-bytes", Default: noBound,
		Doc: "`size` of all attempts that are kept; beyond it the oldest go",
	}, config.Bytes(&f.keep.AttemptBytes, 0, 0, math.MaxInt))
	s.Add(config.Setting{
		Key: "webhooks.event_bytes", Flag: "webhook-event-bytes", Default: noBound,
		Doc: "`size` of all events that are kept; beyond it no event is accepted, until some are older than --webhook-event-age",
	}, config.Bytes(&f.keep.EventBytes, 0, 0, math.MaxInt))
}

// keptFor is a time for which webhooks are kept; zero is as it is.
func keptFor(p *time.Duration) config.Value {
	return config.Duration(p, 0, 0, math.MaxInt64)
}

func buildOut(pairs []config.Pair) (string, error) {
	if kind := pairs[0].Value; webhook.ValidPattern(kind) {
		return kind, nil
	}
	return "", errors.New("want a type of events, as order.paid, order.* or *")
}

func (f *adminFlags) declare(s *config.Set) {
	s.Add(config.Setting{
		Key: "admin.listen", Flag: "admin",
		Doc: "`host:port` for those who run the server: health, metrics, profiles; off unless given, and never on the public addresses",
	}, config.Text(&f.adminAt, "", "host:port", checkHostPort))
	s.Add(config.Setting{
		Key: "admin.token", Flag: "admin-token", Secret: config.Secret,
		Doc: "`token` that everything at --admin but /livez and /readyz asks for, at least 16 characters; needed where other machines reach it",
	}, config.Text(&f.adminToken, "", "at least 16 characters", nil))
	s.Add(config.Setting{
		Key: "admin.hostnames", Flag: "admin-hostname",
		Doc: "`names` by which --admin may be asked, besides localhost and addresses",
	}, config.List(&f.adminNames, nil, "a list of host names", true, nil))
}
