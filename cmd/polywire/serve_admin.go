package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/polywire/polywire/cmd/polywire/internal/admin"
	"github.com/polywire/polywire/observe/health"
)

// adminFlags are the listener for those who run the server.
type adminFlags struct {
	adminAt    string // empty: none
	adminToken string
	adminNames []string
}

func (f *adminFlags) check() error {
	if f.adminAt == "" {
		return nil
	}
	if err := admin.Check(f.adminAt, f.adminToken); err != nil {
		return fmt.Errorf("--admin and --admin-token: %w", err)
	}
	return nil
}

func checkHostPort(text string) error {
	if text == "" {
		return nil
	}
	if _, port, err := net.SplitHostPort(text); err != nil || port == "" {
		return errors.New("want host:port, as 127.0.0.1:9090")
	}
	return nil
}

// withAdmin has the listener for those who run the server open while do runs:
// from before the server starts until after it has ended.
func (r *running) withAdmin(do func() error) error {
	f := &r.f.adminFlags
	if f.adminAt == "" {
		return do()
	}
	var err error
	r.admin, err = admin.New(admin.Options{Address: f.adminAt, Token: f.adminToken, Hostnames: f.adminNames, Checks: r.checks, Logger: r.logger})
	if err != nil {
		return err
	}
	r.metrics = newMetrics()
	r.f.queueRules.metrics, r.f.hooks.metrics = r.metrics, r.metrics
	if err := r.mount(r.admin); err != nil {
		return err
	}
	l, err := r.admin.Listen()
	if err != nil {
		return err
	}
	r.adminURL = "http://" + l.Addr().String()
	served := make(chan error, 1)
	go func() { served <- r.admin.Serve(l) }()
	r.logger.Info("the admin listener is there", "at", r.adminURL, "token", f.adminToken != "")
	err = do()
	r.console.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return errors.Join(err, r.admin.Shutdown(ctx), <-served)
}

// mount puts on the admin listener what it has besides health and profiles.
func (r *running) mount(a *admin.Server) error {
	figures, err := r.metrics.handler()
	if err != nil {
		return err
	}
	if err := r.openConsole(a); err != nil {
		return err
	}
	a.Handle("GET /metrics", figures)
	a.Handle("GET /settings", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(r.effective()) // the client may be gone
	}))
	return nil
}

// check adds what /readyz and /livez look at.
func (r *running) check() error {
	errs := []error{
		r.checks.Add("server", health.Server(r.srv)),
		r.checks.Add("listeners", func(context.Context) error {
			if !r.up.Load() {
				return errors.New("nothing is listened on yet")
			}
			return nil
		}),
		r.checkTokens(), r.checkDeliveries(),
	}
	if e := r.engine; e != nil && e.embedded != nil {
		errs = append(errs, r.checks.Add("nats", func(context.Context) error { return health.Degraded(e.embedded.Ready()) }))
	}
	if dir := r.f.dataDir; dir != "" {
		errs = append(errs, r.checks.Add("disk", func(context.Context) error { return writable(dir) }))
	}
	if b := r.srv.Queues(); b != nil {
		errs = append(errs, r.checks.Add("queues", health.Queue(b)), r.checks.AddLive("queues", health.QueueLive(b)))
	}
	if s := r.sender; s != nil {
		errs = append(errs, r.checks.Add("webhooks", health.Queue(s.broker)), r.checks.AddLive("webhooks", health.QueueLive(s.broker)))
	}
	return errors.Join(errs...)
}

// writable says why nothing can be written to a directory.
func writable(dir string) error {
	file, err := os.CreateTemp(dir, ".polywire-check-")
	if err != nil {
		return err
	}
	_, err = file.WriteString("x")
	return errors.Join(err, file.Close(), os.Remove(file.Name()))
}
