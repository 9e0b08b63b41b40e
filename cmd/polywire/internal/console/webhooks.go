package console

import (
	"net/http"
	"time"

	"github.com/polywire/polywire/cmd/polywire/internal/webhookapi"
	"github.com/polywire/polywire/webhook/dispatch"
)

// Bounds of what is asked about webhooks.
const (
	maxEndpoints  = 500
	usualAttempts = 50
	maxAttempts   = 200
)

type webhooksAnswer struct {
	Available bool           `json:"available"`
	Accepted  int64          `json:"accepted"`
	Refused   int64          `json:"refused"`
	Attempts  int64          `json:"attempts"`
	Delivered int64          `json:"delivered"`
	Retried   int64          `json:"retried"`
	Failed    int64          `json:"failed"`
	Dropped   int64          `json:"dropped"`
	Parked    int64          `json:"parked"`
	Disabled  int64          `json:"disabled"`
	Watching  string         `json:"watching,omitempty"`
	Endpoints []endpointView `json:"endpoints"`
	More      bool           `json:"more,omitempty"`
}

// endpointView has of the URL the host alone: the rest may be what lets somebody in.
type endpointView struct {
	ID             string    `json:"id"`
	Host           string    `json:"host"`
	Description    string    `json:"description,omitempty"`
	Types          []string  `json:"types"`
	Format         string    `json:"format"`
	Ordered        bool      `json:"ordered,omitempty"`
	Concurrency    int       `json:"concurrency"`
	Rate           float64   `json:"rate,omitempty"`
	Disabled       bool      `json:"disabled"`
	DisabledReason string    `json:"disabled_reason,omitempty"`
	Created        time.Time `json:"created"`
	Updated        time.Time `json:"updated"`
	FailingSince   time.Time `json:"failing_since,omitzero"`
	LastSuccess    time.Time `json:"last_success,omitzero"`
	Breaker        string    `json:"breaker,omitempty"`
	Running        int       `json:"running"`
	Waiting        int       `json:"waiting"`
	TookMS         float64   `json:"took_ms"`
	Attempts       int64     `json:"attempts"`
	Delivered      int64     `json:"delivered"`
	Failed         int64     `json:"failed"`
	Dropped        int64     `json:"dropped"`
}

func viewEndpoint(rec dispatch.Record, s dispatch.EndpointStats) endpointView {
	e := webhookapi.View(rec)
	v := endpointView{
		ID: e.ID, Host: rec.Endpoint.Host(), Description: clip(e.Description, 1024), Types: e.Types, Format: e.Format, Ordered: e.Ordered,
		Concurrency: e.Concurrency, Rate: e.Rate, Disabled: e.Disabled, DisabledReason: clip(e.DisabledReason, 1024), Created: e.Created.UTC(),
		Updated: e.Updated.UTC(), FailingSince: e.FailingSince.UTC(), LastSuccess: s.LastSuccess.UTC(), Running: s.Running, Waiting: s.Waiting,
		TookMS: rounded(float64(s.Took) / float64(time.Millisecond)), Attempts: s.Attempts, Delivered: s.Delivered, Failed: s.Failed, Dropped: s.Dropped,
	}
	if !s.FailingSince.IsZero() {
		v.FailingSince = s.FailingSince.UTC() // the record's may be a minute late
	}
	if s.Breaker != 0 {
		v.Breaker = s.Breaker.String()
	}
	return v
}

func (c *Console) webhooks(r *request) (any, error) {
	if r.Webhooks == nil {
		return webhooksAnswer{Endpoints: []endpointView{}}, nil
	}
	s := r.Webhooks.Stats()
	out := webhooksAnswer{
		Available: true, Accepted: s.Accepted, Refused: s.Refused, Attempts: s.Attempts, Delivered: s.Delivered, Retried: s.Retried, Failed: s.Failed,
		Dropped: s.Dropped, Parked: s.Parked, Disabled: s.Disabled, Watching: clip(s.Watching, maxTextBytes), Endpoints: []endpointView{},
	}
	all := r.Webhooks.Endpoints()
	if out.More = len(all) > maxEndpoints; out.More {
		all = all[:maxEndpoints]
	}
	for _, rec := range all {
		out.Endpoints = append(out.Endpoints, viewEndpoint(rec, s.Endpoints[rec.Endpoint.ID]))
	}
	return out, nil
}

// attempts lists those of an endpoint, or at an event.
func (c *Console) attempts(r *request) (any, error) {
	limit, err := r.limit(usualAttempts, maxAttempts)
	if err != nil {
		return nil, err
	}
	if r.Webhooks == nil {
		return nil, noWebhooks()
	}
	endpoint, event, before := r.values.Get("endpoint"), r.values.Get("event"), r.values.Get("before")
	switch {
	case (endpoint == "") == (event == ""):
		return nil, wrong("want endpoint, or event")
	case event != "" && before != "":
		return nil, wrong("before goes with endpoint")
	}
	var p dispatch.Page
	if event != "" {
		if p.Entries, err = r.Webhooks.AttemptsOf(r.Context(), event); len(p.Entries) > limit {
			p.Entries = p.Entries[len(p.Entries)-limit:]
		}
	} else {
		p, err = r.Webhooks.Attempts(r.Context(), endpoint, before, limit)
	}
	if err != nil {
		return nil, err
	}
	return webhookapi.Attempts{Attempts: webhookapi.ViewAttempts(p.Entries, false), Next: p.Next}, nil
}

func noWebhooks() error {
	return problem{http.StatusNotImplemented, codeUnsupported, "this server sends no webhooks", 0}
}

type replayRequest struct {
	Endpoint    string    `json:"endpoint"`
	Event       string    `json:"event,omitempty"`
	FailedSince time.Time `json:"failed_since,omitzero"`
}

type replayed struct {
	Queued int    `json:"queued"`
	More   bool   `json:"more,omitempty"`
	Error  string `json:"error,omitempty"`
}

// replayWebhooks delivers once more: one event, or what failed since a time.
func (c *Console) replayWebhooks(r *request) (any, error) {
	in, err := bind[replayRequest](r)
	switch {
	case err != nil:
		return nil, err
	case r.Webhooks == nil:
		return nil, noWebhooks()
	case len(in.Endpoint) > maxQueryBytes || len(in.Event) > maxQueryBytes:
		return nil, wrong("endpoint and event: at most %d bytes", maxQueryBytes)
	}
	if rec, err := r.Webhooks.Endpoint(r.Context(), in.Endpoint); err != nil {
		return nil, err
	} else if rec.Endpoint.Disabled {
		return nil, wrong("the endpoint is disabled")
	}
	q := webhookapi.ReplayRequest{Endpoint: in.Endpoint, Event: in.Event, FailedSince: in.FailedSince, Limit: maxDone}
	n, err := webhookapi.Run(r.Context(), r.Webhooks, q, func(int) {})
	c.o.Logger.Info("webhooks were replayed by the console", "endpoint", clip(in.Endpoint, maxTextBytes), "queued", n, "error", err, "from", r.RemoteAddr)
	switch {
	case n == 0 && err != nil:
		return nil, err
	case err != nil:
		return replayed{n, true, clip(err.Error(), maxTextBytes)}, nil
	}
	return replayed{Queued: n, More: n == maxDone}, nil
}
