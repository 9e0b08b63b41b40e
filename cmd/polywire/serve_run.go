package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/cmd/polywire/internal/admin"
	"github.com/polywire/polywire/cmd/polywire/internal/config"
	"github.com/polywire/polywire/cmd/polywire/internal/console"
	"github.com/polywire/polywire/middleware"
	"github.com/polywire/polywire/observe/health"
)

// running is a server that serves, and what it stands on.
type running struct {
	f        *serveFlags
	logger   *slog.Logger
	level    *slog.LevelVar
	doors    *doors
	checks   *health.Checks
	admin    *admin.Server    // nil: none
	adminURL string           // of its listener
	console  *console.Console // nil: none
	metrics  *metrics         // nil: none
	tracer   *tracer          // nil: none
	engine   *engine          // nil: alone
	sender   *sender          // nil: no webhooks go out
	seen     *seenHooks       // nil: each process by itself
	srv      *polywire.Server
	inbox    inbox       // webhooks that come in
	up       atomic.Bool // it listens
	app      *app        // nil: the server's own kinds are all
	api      *apiServer  // nil: none

	mu      sync.Mutex     // the settings: the one who reads them anew, and those who show them
	asked   []string       // kinds that the backend has ever answered
	ended   chan struct{}  // closed at the end
	leaving sync.WaitGroup // backends that were replaced
}

// app is a program that this one brings along, on a server of the settings.
type app struct {
	options  []polywire.Option
	register func(srv *polywire.Server)
	ready    func(ctx context.Context, r *running, urls []string)
}

func (f *serveFlags) serve(c *cobra.Command) error {
	p, err := f.prepare(c.ErrOrStderr())
	if err != nil {
		return err
	}
	f.warnStray(p.logger)
	return f.carryOut(c, p, nil)
}

// carryOut serves as planned; without an app it serves the settings' alone.
func (f *serveFlags) carryOut(c *cobra.Command, p *plan, a *app) error {
	if a != nil {
		p.options = append(p.options, a.options...)
	}
	r := &running{f: f, logger: p.logger, level: p.level, doors: p.doors, checks: health.New(health.Options{}), app: a, ended: make(chan struct{})}
	r.checks.Unready("the server is starting")
	return r.withAdmin(func() error { return r.withTraces(c, p.options) })
}

// withTraces has traces sent, until all that makes spans has ended.
func (r *running) withTraces(c *cobra.Command, opts []polywire.Option) (err error) {
	if r.tracer, err = r.f.traces.open(c.Context(), r.logger); err != nil {
		return err
	}
	defer r.tracer.close(r.f.drain, r.logger)
	r.f.queueRules.tracer, r.f.hooks.tracer = r.tracer, r.tracer
	return r.withEngine(c, slices.Concat(opts, r.metrics.options(), r.tracer.options(), r.watched()))
}

// withEngine starts what connects the servers, and ends it last.
func (r *running) withEngine(c *cobra.Command, opts []polywire.Option) error {
	e, err := r.f.start(c.Context(), r.logger)
	if err != nil {
		return err
	}
	r.engine = e
	return errors.Join(r.withSender(c, opts), e.close(r.f.drain))
}

// withSender starts what sends webhooks, which ends after the server.
func (r *running) withSender(c *cobra.Command, opts []polywire.Option) error {
	s, err := r.f.hooks.start(c.Context(), r.engine, r.logger)
	if err != nil {
		return err
	}
	r.sender = s
	if r.seen, err = r.f.hooks.remember(c.Context(), r.engine, &r.f.clusterFlags, r.logger); err != nil {
		return errors.Join(err, s.close(r.f.drain))
	}
	defer func() { r.seen.close() }() // a reload may have opened it
	return errors.Join(r.serve(c, opts), s.close(r.f.drain))
}

// serve makes the server, and serves until the end.
func (r *running) serve(c *cobra.Command, opts []polywire.Option) error {
	f := r.f
	b, err := f.backend.open(r.logger)
	if err != nil {
		return err
	}
	defer func() { // the backend may be another one then
		close(r.ended)
		r.leaving.Wait()
		r.doors.now.Load().backing.end(f.drain, r.logger)
	}()
	opts = append(opts, r.doors.ask(b, f.auth.authenticator())...)
	queues, err := f.open(c.Context(), r.engine, r.logger)
	if err != nil {
		return err
	}
	opts = slices.Concat(opts, r.engine.options(&f.clusterFlags))
	if queues != nil {
		opts = append(opts, polywire.WithQueues(queues))
	}
	srv, err := polywire.New(opts...)
	if err != nil {
		if queues != nil {
			err = errors.Join(err, queues.Close())
		}
		return err
	}
	r.srv = srv
	if err := r.handle(); err != nil {
		return errors.Join(err, srv.Close())
	}
	a, err := f.openAPI(c.Context(), apiParts{srv, r.engine, r.sender, r.tracer, c.OutOrStdout(), r.logger})
	if err != nil {
		return errors.Join(err, srv.Close())
	}
	defer a.end(f.drain, r.logger)
	r.api = a
	if err := r.show(a); err != nil {
		return errors.Join(err, srv.Close())
	}
	if err := r.engine.join(c.Context(), srv); err != nil {
		return err
	}
	again := make(chan os.Signal, 1)
	if r.app == nil { // whose settings are in no file
		signal.Notify(again, syscall.SIGHUP)
		defer signal.Stop(again)
	}
	return f.run(c.Context(), srv, course{
		ready: func(urls []string) {
			r.up.Store(true)
			r.checks.Unready("")
			notify("READY=1")
			if r.app != nil {
				r.app.ready(c.Context(), r, urls)
				return
			}
			for _, u := range urls {
				fmt.Fprintln(c.OutOrStdout(), "listening on", u)
			}
		},
		ending: func() {
			notify("STOPPING=1")
			r.checks.Unready("the server is ending")
			r.logger.Info("the server ends", "connections", srv.Stats().Connections, "delay", f.delay, "drain", f.drain)
		},
		again:  again,
		reload: func() { r.reload(c.Context()) },
	})
}

// handle registers everything that answers.
func (r *running) handle() error {
	srv, f := r.srv, r.f
	srv.Hook(middleware.LogHooks(r.logger))
	srv.Handle(kindEcho, echo)
	srv.Handle(kindTime, func(context.Context, *polywire.Message) (any, error) {
		return time.Now().UTC(), nil
	})
	handleRooms(srv, r.doors.subscribe)
	f.handle(srv)
	f.hooks.handle(srv, r.sender)
	if b := r.doors.now.Load().backing; b != nil {
		r.asked = slices.Sorted(slices.Values(b.kinds))
	}
	for _, pattern := range r.asked {
		srv.Handle(pattern, r.doors.answer)
	}
	if r.app != nil {
		r.app.register(srv)
		return r.check()
	}
	if err := r.inbox.set(f.hooks.hooks, r.receive); err != nil {
		return err
	}
	srv.HandleHTTP("/", &r.inbox)
	return r.check()
}

// effective returns the settings that hold.
func (r *running) effective() []config.Effective {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.f.set.Effective()
}
