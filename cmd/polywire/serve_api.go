package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/cmd/polywire/internal/api"
	"github.com/polywire/polywire/cmd/polywire/internal/webhookapi"
	"github.com/polywire/polywire/queue"
	"github.com/polywire/polywire/queue/jetstream"
)

// apiRules are who may use the HTTP API, and where it is.
type apiRules struct {
	keys   []api.Key
	listen string
}

// check says what does not fit; in are the paths of webhooks that come in.
func (f *apiRules) check(in []inRule) error {
	if len(f.keys) == 0 {
		if f.listen != "" {
			return errors.New("--api-listen is for the API, which needs a key: --api-access")
		}
		return nil
	}
	if f.listen != "" {
		if _, _, err := net.SplitHostPort(f.listen); err != nil {
			return fmt.Errorf("--api-listen %q: want host:port", f.listen)
		}
	}
	if f.listen == "" {
		for _, r := range in {
			if slices.ContainsFunc(api.Patterns(), func(p string) bool { return strings.HasPrefix(r.path+"/", p) }) {
				return fmt.Errorf("--webhook-in %q: this path is the API's", r.path)
			}
		}
	}
	return api.CheckKeys(f.keys)
}

// apiServer is the running half; nil: there is none.
type apiServer struct {
	handler  *api.Handler
	webhooks *webhookapi.Handler // nil: none
	queues   *queue.Broker       // nil: somebody else's, or none
	conn     *nats.Conn          // of the answers; nil: none
	http     *http.Server        // nil: it is on the server's own addresses
	done     chan struct{}       // closed when http has ended
	log      *slog.Logger
}

// apiParts are what the API stands on.
type apiParts struct {
	srv    *polywire.Server // that does not run yet
	engine *engine          // nil: none
	sender *sender          // nil: none
	tracer *tracer          // nil: none
	out    io.Writer
	logger *slog.Logger
}

// openAPI serves the API.
func (f *serveFlags) openAPI(ctx context.Context, r apiParts) (*apiServer, error) {
	if len(f.api.keys) == 0 {
		return nil, nil //nolint:nilnil // there need not be one
	}
	a := &apiServer{log: r.logger}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	place, replicas := f.nats != "" || f.dataDir != "", max(f.queueRules.replicas, f.hooks.keep.Replicas)
	if replicas == 0 && len(f.peers) >= 3 {
		replicas = 3
	}
	o := api.Options{Server: r.srv, Keys: f.api.keys, PublishWait: f.queueRules.wait, Version: buildVersion(), Around: r.tracer.handler, Logger: r.logger}
	h, err := a.make(ctx, o, r.engine, r.sender, place, replicas)
	if err == nil && f.api.listen != "" {
		err = a.listen(ctx, f.api.listen, h, r.out)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("API: %w", err), a.close(time.Second))
	}
	if f.api.listen == "" {
		for _, pattern := range api.Patterns() {
			r.srv.HandleHTTP(pattern, h)
		}
	}
	return a, nil
}

// make makes the API with what the server has. place: something can be kept.
func (a *apiServer) make(ctx context.Context, o api.Options, e *engine, s *sender, place bool, replicas int) (_ http.Handler, err error) {
	o.Queues = o.Server.Queues()
	if s != nil {
		if err := a.addWebhooks(&o, s); err != nil {
			return nil, err
		}
		if o.Queues == nil {
			o.Queues = s.broker
		}
	}
	if place {
		if err := a.remember(ctx, &o, e, replicas); err != nil {
			return nil, err
		}
	}
	if place && o.Queues == nil && a.conn != nil {
		d, err := jetstream.New(ctx, jetstream.Options{Connect: e.connect, Replicas: replicas, Logger: o.Logger})
		if err != nil {
			return nil, err
		}
		if a.queues, err = queue.New(d, queue.Options{PublishTimeout: publishWait}); err != nil {
			return nil, errors.Join(err, d.Shutdown(ctx))
		}
		o.Queues = a.queues
	}
	a.handler, err = api.New(o)
	return a.handler, err
}

// addWebhooks puts the API of the webhooks below this one. It has a key of its
// own, which nobody knows.
func (a *apiServer) addWebhooks(o *api.Options, s *sender) (err error) {
	key := rand.Text()
	a.webhooks, err = webhookapi.New(webhookapi.Options{Dispatcher: s.Dispatcher, Key: key, Base: api.DefaultBase + "/webhooks", Version: o.Version, Logger: o.Logger})
	if err != nil {
		return err
	}
	o.Webhooks = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Set("Authorization", "Bearer "+key)
		a.webhooks.ServeHTTP(w, r)
	})
	o.WebhooksDescription, err = webhookapi.Describe(api.DefaultBase+"/webhooks", o.Version)
	return err
}

// remember opens what tells repeated requests, for all servers of a cluster and
// for the next start.
func (a *apiServer) remember(ctx context.Context, o *api.Options, e *engine, replicas int) error {
	conn, err := e.connect(nats.Name("polywire API"), nats.MaxReconnects(-1))
	if err != nil {
		return err
	}
	shared, err := api.OpenShared(ctx, conn, replicas)
	if errors.Is(err, natsjs.ErrJetStreamNotEnabled) {
		conn.Close()
		o.Logger.Warn("the NATS server keeps nothing: requests to the API with an Idempotency-Key are known to this process alone, and there are no queues")
		return nil
	}
	if err != nil {
		conn.Close()
		return err
	}
	a.conn, o.Answers = conn, shared
	return nil
}

// Bounds of the API's own address.
const (
	apiHeaderTimeout = 10 * time.Second
	apiIdleTimeout   = 2 * time.Minute
	apiWriteTimeout  = 3 * time.Minute // of a whole request, the reading of its body among it
	apiHeaderBytes   = 32 << 10
)

func (a *apiServer) listen(ctx context.Context, address string, h http.Handler, out io.Writer) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return err
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	a.http = &http.Server{
		Handler: h, ReadHeaderTimeout: apiHeaderTimeout, IdleTimeout: apiIdleTimeout, WriteTimeout: apiWriteTimeout, MaxHeaderBytes: apiHeaderBytes,
		Protocols: protocols, ErrorLog: slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
	}
	a.done = make(chan struct{})
	go func() {
		defer close(a.done)
		if err := a.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			a.log.Error("API: its address is gone", "error", err)
		}
	}()
	fmt.Fprintln(out, "listening on", "http://"+l.Addr().String()+api.DefaultBase)
	return nil
}

// end is close, where nobody waits for its error.
func (a *apiServer) end(within time.Duration, logger *slog.Logger) {
	if err := a.close(within); err != nil {
		logger.Warn("at the end of the API", "error", err)
	}
}

// close ends it, after the server.
func (a *apiServer) close(within time.Duration) error {
	if a == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	var errs []error
	if a.http != nil {
		if a.http.Shutdown(ctx) != nil {
			errs = append(errs, a.http.Close())
		}
		<-a.done
	}
	if a.webhooks != nil {
		a.webhooks.Close()
	}
	if a.queues != nil {
		errs = append(errs, a.queues.Shutdown(ctx))
	}
	if a.conn != nil {
		a.conn.Close()
	}
	return errors.Join(errs...)
}
