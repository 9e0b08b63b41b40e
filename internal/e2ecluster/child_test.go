package e2ecluster_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"runtime/pprof"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/polywire/polywire"
	natscluster "github.com/polywire/polywire/cluster/nats"
	"github.com/polywire/polywire/codec/msgpack"
	"github.com/polywire/polywire/codec/protobuf"
	"github.com/polywire/polywire/natsembed"
	"github.com/polywire/polywire/wire"
	"github.com/polywire/polywire/wire/drs"
	"github.com/polywire/polywire/wire/goomerang"
	"github.com/polywire/polywire/wire/native"
	"github.com/polywire/polywire/wire/socketio"
	"github.com/polywire/polywire/wire/sse"
)

// childVariable has a child in JSON, for a process that is to be one.
const childVariable = "POLYWIRE_E2ECLUSTER_CHILD"

// child says what a process does.
type child struct {
	Name, Dir string
	At        string   // where other nodes connect; empty: it is a NATS server and nothing else
	Peers     []string // of At
	Listen    string   // of a NATS server
}

// hello is the first line that a child prints.
type hello struct {
	HTTP, DRS string // where clients connect
	NATS      string // where clients of NATS connect
	Node      string // ID
}

// report is what a node says of itself when it is asked.
type report struct {
	Goroutines, Connections int
	Nodes                   int // that the server knows
	Routed                  int // that its NATS is connected with
	Ready                   bool
	Leader                  string            // of the NATS cluster's streams, by name
	Streams                 map[string]string // the leader of each, by the stream's name
}

// Rooms by what is kept and told of them.
const (
	kept  = "kept"
	hall  = "hall"
	mixed = "mixed"
)

// kindText is what is said; a protobuf message that all programs have linked in.
const kindText = "google.protobuf.StringValue"

func runChild(text string) int {
	var c child
	err := json.Unmarshal([]byte(text), &c)
	switch {
	case err != nil:
	case c.At == "":
		err = c.runNATS()
	default:
		err = c.runNode()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, c.Name, err)
		return 1
	}
	return 0
}

// startTime bounds the coming and the going of a child.
const startTime = 2 * time.Minute

func (c *child) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})).With("child", c.Name)
}

// runNATS runs a NATS server until standard input ends.
func (c *child) runNATS() error {
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	ns, err := natsembed.Start(ctx, natsembed.Options{Dir: c.Dir, Name: c.Name, Listen: c.Listen, Logger: c.logger()})
	if err != nil {
		return err
	}
	print(hello{NATS: ns.ClientURL()})
	for in := bufio.NewScanner(os.Stdin); in.Scan(); { // nothing to say
	}
	stop, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	return ns.Shutdown(stop)
}

// print writes a line of JSON.
func print(v any) {
	b, err := json.Marshal(v)
	if err != nil {
		b = []byte(err.Error())
	}
	fmt.Printf("%s\n", b)
}

// wires are those of all servers here.
func wires() []wire.Protocol {
	return []wire.Protocol{
		native.New(), socketio.New(socketio.WithRoomEvents()), drs.New(drs.WithRoomActions()), goomerang.New(), sse.New(),
	}
}

func codecs() polywire.Option { return polywire.WithCodecs(protobuf.Codec{}, msgpack.Codec{}) }

// server makes a node's server.
func server(name string, connect natscluster.Options, opts ...polywire.Option) (*polywire.Server, error) {
	srv, err := polywire.New(append([]polywire.Option{
		polywire.WithWires(wires()...), codecs(),
		polywire.WithCluster(natscluster.New(connect)), polywire.WithNodeName(name),
		polywire.WithPublishPolicy(polywire.AllowPublish),
		polywire.WithPresence(hall),
		polywire.WithHooks(polywire.Hooks{Connect: func(c *polywire.Conn) {
			if w := c.Wire(); w != "native" && w != "sse" { // those subscribe
				_ = c.Join(mixed) // or it has gone
			}
		}}),
	}, opts...)...)
	if err != nil {
		return nil, err
	}
	srv.Handle(kindText, func(ctx context.Context, m *polywire.Message) (any, error) {
		return nil, m.Conn().Others(mixed).Send(ctx, m.Kind(), m.Payload())
	})
	srv.Handle("who", func(ctx context.Context, m *polywire.Message) (any, error) {
		return srv.Room(hall).Presence(ctx)
	})
	return srv, nil
}

// runNode runs a server with a NATS inside until standard input ends, and
// answers each line with a report.
func (c *child) runNode() error {
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	ns, err := natsembed.Start(ctx, natsembed.Options{
		Dir: c.Dir, Name: c.Name, Logger: c.logger(),
		Cluster: &natsembed.Cluster{Listen: c.At, Peers: c.Peers},
	})
	if err != nil {
		return err
	}
	stop := func() error {
		end, cancel := context.WithTimeout(context.Background(), startTime)
		defer cancel()
		return ns.Shutdown(end)
	}
	srv, err := server(c.Name, natscluster.Options{Connect: ns.Connect, Logger: c.logger()},
		polywire.WithLogger(c.logger()),
		polywire.WithHistory(kept, polywire.History{Size: 50_000, Age: 10 * time.Minute}),
		polywire.WithSessions(polywire.Sessions{}))
	if err != nil {
		return errors.Join(err, stop())
	}
	if err := srv.Start(); err != nil {
		return errors.Join(err, stop())
	}
	h := hello{Node: srv.Nodes().ID()}
	served := make(chan error, 2)
	for scheme, address := range map[string]*string{"http": &h.HTTP, "drs+tcp": &h.DRS} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return errors.Join(err, srv.Close(), stop())
		}
		*address = l.Addr().String()
		go func() { served <- srv.Serve(l, scheme) }()
	}
	print(h)
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		switch in.Text() {
		case "report":
			print(reportOf(srv, ns))
		case "goroutines":
			_ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 1)
		}
	}
	end, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	return errors.Join(srv.Shutdown(end), <-served, <-served, stop())
}

func reportOf(srv *polywire.Server, ns *natsembed.Server) report {
	r := report{
		Goroutines: runtime.NumGoroutine(), Connections: srv.Stats().Connections,
		Nodes: len(srv.Nodes().List()), Ready: ns.Ready() == nil, Streams: make(map[string]string),
	}
	if st, err := ns.Stats(); err == nil {
		r.Leader, r.Routed = st.Leader, st.Nodes
	}
	nc, err := ns.Connect()
	if err != nil {
		return r
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return r
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for info := range js.ListStreams(ctx).Info() {
		replicas := []string{info.Cluster.Leader}
		for _, p := range info.Cluster.Replicas {
			replicas = append(replicas, p.Name)
		}
		slices.Sort(replicas[1:])
		r.Streams[info.Config.Name] = info.Cluster.Leader
	}
	return r
}
