package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync/atomic"

	"github.com/polywire/polywire"
)

// policySwitch is what clients may do, as it is allowed now.
type policySwitch struct{ publish, broadcast atomic.Bool }

func (p *policySwitch) set(allow []string) {
	p.publish.Store(slices.Contains(allow, "publish"))
	p.broadcast.Store(slices.Contains(allow, "broadcast"))
}

func (p *policySwitch) options() []polywire.Option {
	allowed := func(yes *atomic.Bool) error {
		if yes.Load() {
			return nil
		}
		return polywire.Errorf(polywire.CodeForbidden, "not allowed on this server")
	}
	return []polywire.Option{
		polywire.WithPublishPolicy(func(context.Context, *polywire.Conn, string, string) error { return allowed(&p.publish) }),
		polywire.WithBroadcastPolicy(func(context.Context, *polywire.Conn, string) error { return allowed(&p.broadcast) }),
	}
}

// inbox receives webhooks by the rules that hold now.
type inbox struct{ mux atomic.Pointer[http.ServeMux] }

// ServeHTTP implements [http.Handler].
func (i *inbox) ServeHTTP(w http.ResponseWriter, r *http.Request) { i.mux.Load().ServeHTTP(w, r) }

// set puts rules in place of those before.
func (i *inbox) set(rules []inRule, handler func(inRule) http.Handler) error {
	mux, err := inboxMux(rules, handler)
	if err == nil {
		i.mux.Store(mux)
	}
	return err
}

func inboxMux(rules []inRule, handler func(inRule) http.Handler) (mux *http.ServeMux, err error) {
	defer func() { // ServeMux panics on paths that it does not take
		if p := recover(); p != nil {
			err = fmt.Errorf("--webhook-in: %v", p)
		}
	}()
	mux = http.NewServeMux()
	for _, r := range rules {
		mux.Handle(r.path, handler(r))
	}
	return mux, nil
}

// receive answers the webhooks of a rule.
func (r *running) receive(rule inRule) http.Handler {
	return rule.handler(r.srv, r.sender, r.seen, r.logger)
}

// reload reads the settings anew and changes what can be changed. What is wrong
// changes nothing.
func (r *running) reload(ctx context.Context) {
	notify("RELOADING=1")
	defer notify("READY=1")
	if err := r.change(ctx); err != nil {
		r.logger.Error("the settings were read again, and nothing was changed", "error", err)
	}
}

func (r *running) change(ctx context.Context) error {
	next := newServeFlags()
	next.file = r.f.file
	next.set.Inherit(r.f.set)
	if _, err := next.prepare(io.Discard); err != nil {
		return err
	}
	if slices.ContainsFunc(next.hooks.hooks, func(rule inRule) bool { return rule.queue != "" }) && r.srv.Queues() == nil && r.sender == nil {
		return errors.New("--webhook-in with a queue needs a restart, since there was no broker when the server started")
	}
	if (r.f.pair == nil) != (next.pair == nil) {
		return errors.New("--tls-cert: TLS begins or ends with a restart")
	}
	if r.seen == nil && len(next.hooks.hooks) > 0 {
		var err error
		if r.seen, err = next.hooks.remember(ctx, r.engine, &r.f.clusterFlags, r.logger); err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	changes := r.f.set.Changes(next.set)
	if err := r.f.set.Adopt(next.set); err != nil { // a secret that was there a moment ago
		return err
	}
	if err := r.apply(); err != nil {
		return err
	}
	for _, c := range changes {
		if c.Reload {
			r.logger.Info("a setting has changed", "key", c.Key)
		} else {
			r.logger.Warn("a setting has changed that needs a restart", "key", c.Key)
		}
	}
	r.logger.Info("the settings were read again", "changed", len(changes))
	return nil
}

// apply puts the settings that can be changed into effect.
func (r *running) apply() error {
	f := r.f
	if f.pair != nil {
		if err := f.pair.read(f.tlsCert, f.tlsKey); err != nil {
			return err
		}
	}
	places, err := f.placeFlags.liveOptions()
	if err != nil {
		return err
	}
	if err := r.srv.Reconfigure(slices.Concat(places, f.liveLimits())...); err != nil {
		return err
	}
	if err := r.inbox.set(f.hooks.hooks, r.receive); err != nil {
		return err
	}
	r.policies.set(f.allow)
	return r.level.UnmarshalText([]byte(f.logLevel))
}
