package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/polywire/polywire/auth"
	"github.com/polywire/polywire/cmd/polywire/internal/backend"
	"github.com/polywire/polywire/cmd/polywire/internal/config"
)

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
	return rule.handler(r.srv, r.sender, r.seen, r.tracer, r.logger)
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
	if o := next.auth.opened; o != nil {
		defer o.Tokens.Close() //nolint:errcheck // what is not taken over; it has no error
	}
	if err := r.restartOnly(next); err != nil {
		return next.set.Explain(err)
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
	changed := func(prefix string) bool {
		return slices.ContainsFunc(changes, func(c config.Change) bool { return c.Reload && strings.HasPrefix(c.Key, prefix) })
	}
	if at := next.auth.cfg.KeySet; at != "" && (changed("auth.jwks") || !strings.Contains(at, "://")) { // else everybody would be refused
		if err := next.auth.opened.Tokens.Ready(ctx); err != nil {
			return next.set.Explain(fmt.Errorf("--auth-jwks: %w", err))
		}
	}
	var b *backing
	if changed("backend.") {
		var err error
		if b, err = next.backend.open(r.logger); err != nil {
			return next.set.Explain(err)
		}
	}
	err := r.f.set.Adopt(next.set) // a secret may be gone that was there a moment ago
	if err == nil {
		err = r.apply()
	}
	if err != nil {
		b.end(0, r.logger)
		return err
	}
	r.changeBackend(b)
	r.changeTokens(ctx, next.auth.opened)
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

// restartOnly says what of the next settings cannot begin or end while the
// server runs.
func (r *running) restartOnly(next *serveFlags) error {
	f := r.f
	switch {
	case slices.ContainsFunc(next.hooks.hooks, func(rule inRule) bool { return rule.queue != "" }) && r.srv.Queues() == nil && r.sender == nil:
		return errors.New("--webhook-in with a queue needs a restart, since there was no broker when the server started")
	case (f.pair == nil) != (next.pair == nil):
		return errors.New("--tls-cert: TLS begins or ends with a restart")
	case (f.auth.opened == nil) != (next.auth.opened == nil):
		return errors.New("--auth-secret, --auth-public-keys and --auth-jwks: asking for tokens begins or ends with a restart")
	case (len(f.api.keys) == 0) != (len(next.api.keys) == 0):
		return errors.New("--api-access: the API begins or ends with a restart")
	case (f.backend.url == "") != (next.backend.url == ""):
		return errors.New("--backend-url: a backend begins or ends with a restart")
	case next.backend.url != "" && !r.doors.asksWho && slices.Contains(next.backend.events, string(backend.Connect)):
		return errors.New("--backend-event: connect begins with a restart, where nobody was asked before")
	}
	return r.otherKinds(&next.backend)
}

// apply puts the settings that can be changed into effect.
func (r *running) apply() error {
	f := r.f
	var level slog.Level
	places, err := f.placeFlags.liveOptions()
	err = errors.Join(err, level.UnmarshalText([]byte(f.logLevel)))
	mux, errMux := inboxMux(f.hooks.hooks, r.receive)
	if err := errors.Join(err, errMux); err != nil {
		return err
	}
	if f.pair != nil {
		if err := f.pair.read(f.tlsCert, f.tlsKey); err != nil {
			return err
		}
	}
	if err := r.srv.Reconfigure(slices.Concat(places, f.liveLimits())...); err != nil {
		return err
	}
	if r.api != nil {
		if err := r.api.handler.SetKeys(f.api.keys); err != nil {
			return err
		}
	}
	r.inbox.mux.Store(mux)
	r.doors.allow(f.allow)
	r.level.Set(level)
	return nil
}

// changeTokens has other tokens be taken, and other rules of rooms hold. Who is
// revoked ends.
func (r *running) changeTokens(ctx context.Context, next *auth.Opened) {
	if next == nil {
		return
	}
	t := r.f.auth.opened.Tokens
	t.Replace(next.Tokens)
	r.doors.change(func(d *doorway) { d.rooms = next.Rooms })
	if len(r.f.auth.cfg.Revoked) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, recheckWait)
	defer cancel()
	n, err := t.Recheck(ctx)
	if err != nil {
		r.logger.Warn("not all servers have ended the connections of who was revoked", "error", err)
	}
	if n > 0 {
		r.logger.Info("connections of who was revoked were ended", "connections", n)
	}
}

// recheckWait is for other servers to look for who was revoked.
const recheckWait = 5 * time.Second

// changeBackend has another backend be asked from now on, unless it is nil. The
// one before gets time to answer what it was asked.
func (r *running) changeBackend(b *backing) {
	if b == nil {
		return
	}
	for _, pattern := range b.kinds {
		if !slices.Contains(r.asked, pattern) {
			r.asked = append(r.asked, pattern)
			r.srv.Handle(pattern, r.doors.answer)
		}
	}
	var before *backing
	r.doors.change(func(d *doorway) { before, d.backing = d.backing, b })
	drain := r.f.drain
	r.leaving.Go(func() {
		grace := time.NewTimer(before.timeout)
		defer grace.Stop()
		select {
		case <-grace.C:
		case <-r.ended:
		}
		before.end(drain, r.logger)
	})
}

// otherKinds says which kinds the backend cannot begin or cease to answer.
func (r *running) otherKinds(next *backendRules) error {
	if next.url == "" {
		return nil
	}
	if err := next.check(&r.f.queueRules, &r.f.hooks); err != nil {
		return err
	}
	var others []string
	for _, rule := range r.f.takes {
		others = append(others, rule.pattern)
	}
	others = append(others, r.f.hooks.out...)
	for _, gone := range r.asked {
		for _, wider := range others {
			if !slices.Contains(next.kinds, gone) && covers(wider, gone) {
				return fmt.Errorf("--backend-kind: that %q is another rule's (%q) needs a restart", gone, wider)
			}
		}
	}
	return nil
}

// covers reports whether a kind, or the kinds of a pattern, are among those of another.
func covers(pattern, kind string) bool {
	prefix, wild := strings.CutSuffix(pattern, "*")
	return pattern == kind || wild && strings.HasPrefix(kind, prefix)
}
