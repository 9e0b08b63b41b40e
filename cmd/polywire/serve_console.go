package main

import (
	"cmp"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/cmd/polywire/internal/admin"
	"github.com/polywire/polywire/cmd/polywire/internal/console"
	"github.com/polywire/polywire/queue"
)

// openConsole puts the console on the admin listener.
func (r *running) openConsole(a *admin.Server) (err error) {
	r.console, err = console.New(console.Options{Admin: a, Settings: r.effective, Version: buildVersion(), Logger: r.logger})
	return err
}

// watched are the options by which the console sees what a server does.
func (r *running) watched() []polywire.Option {
	if r.console == nil {
		return nil
	}
	return []polywire.Option{polywire.WithHooks(r.console.Hooks())}
}

// show gives the console the server, before it runs, and lets those of other
// servers ask it. a has the API's broker.
func (r *running) show(a *apiServer) error {
	console.Answer(r.srv)
	if r.console == nil {
		return nil
	}
	p := console.Parts{Server: r.srv, Queues: r.srv.Queues()}
	var sending, asking *queue.Broker
	if r.sender != nil {
		p.Webhooks, sending = r.sender.Dispatcher, r.sender.broker
	}
	if a != nil {
		asking = a.queues
	}
	p.Queues = cmp.Or(p.Queues, sending, asking)
	return r.console.Attach(p)
}
