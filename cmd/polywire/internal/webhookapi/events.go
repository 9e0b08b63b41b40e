package webhookapi

import (
	"encoding/json"
	"time"

	"github.com/polywire/polywire/webhook"
	"github.com/polywire/polywire/webhook/dispatch"
)

// Event is what is published.
type Event struct {
	ID   string          `json:"id,omitempty" doc:"The same for every endpoint and every try; visible ASCII without a dot. Default: one is made."`
	Type string          `json:"type" doc:"What happened, as payment.approved."`
	Time time.Time       `json:"time,omitzero" doc:"When. Default: now."`
	Data json.RawMessage `json:"data,omitempty" doc:"Any JSON. Default: null."`
}

func (e Event) event() (webhook.Event, error) {
	if !webhook.ValidType(e.Type) {
		return webhook.Event{}, wrong("type: want letters, digits, _ and - in parts with dots between them, as payment.approved")
	}
	if len(e.Data) == 0 {
		e.Data = json.RawMessage("null")
	}
	return webhook.Event{ID: e.ID, Type: e.Type, Time: e.Time, Data: e.Data}, nil
}

// Accepted is the answer to an event that is durable.
type Accepted struct {
	ID        string `json:"id" doc:"The event's."`
	Endpoints int    `json:"endpoints" doc:"To how many endpoints it goes."`
}

// ReplayRequest picks what is delivered once more: one event to one endpoint,
// what has failed at an endpoint since a time, or the events of a range.
type ReplayRequest struct {
	Endpoint    string    `json:"endpoint,omitempty" doc:"Who gets it. Needed with event and failed_since; of a range the default is all that want the type."`
	Event       string    `json:"event,omitempty" doc:"The id of one event."`
	FailedSince time.Time `json:"failed_since,omitzero" doc:"All deliveries of the endpoint that were given up since then."`
	Types       string    `json:"types,omitempty" doc:"Events of a type or a pattern, as payment.* or *."`
	Since       time.Time `json:"since,omitzero" doc:"With types: accepted since then."`
	Until       time.Time `json:"until,omitzero" doc:"With types: accepted before then. Default: now."`
	Rate        float64   `json:"rate,omitempty" doc:"Deliveries a second at most. Default: 100."`
	Limit       int       `json:"limit,omitempty" doc:"Deliveries at most. Default: no bound."`
}

// Check says what is wrong with a request.
func (r ReplayRequest) Check() error {
	picked := 0
	for _, is := range []bool{r.Event != "", !r.FailedSince.IsZero(), r.Types != ""} {
		if is {
			picked++
		}
	}
	switch {
	case picked != 1:
		return wrong("give one of event, failed_since and types")
	case r.Types == "" && r.Endpoint == "":
		return wrong("event and failed_since need an endpoint")
	case r.Types == "" && !(r.Since.IsZero() && r.Until.IsZero()):
		return wrong("since and until go with types")
	case r.Types != "" && !webhook.ValidPattern(r.Types):
		return wrong("types: want an event type, or a pattern as payment.* or *")
	case !r.Until.IsZero() && !r.Since.Before(r.Until):
		return wrong("since is not before until")
	case r.Rate < 0 || r.Limit < 0:
		return wrong("rate and limit are not negative")
	}
	return nil
}

// Replay is a replay that was begun.
type Replay struct {
	ID      string    `json:"id" doc:"Names it."`
	State   string    `json:"state" enum:"running,done,failed,canceled" doc:"How far it is."`
	Queued  int       `json:"queued" doc:"Deliveries that are durable."`
	Error   string    `json:"error,omitempty" doc:"Why it failed."`
	Started time.Time `json:"started" doc:"When it began."`
	Ended   time.Time `json:"ended,omitzero" doc:"When it ended."`
}

// The states of a replay.
const (
	ReplayRunning  = "running"
	ReplayDone     = "done"
	ReplayFailed   = "failed"
	ReplayCanceled = "canceled"
)

// Problem is the body of an answer that is none of 2xx, as RFC 9457 and the
// rest of the HTTP API have it.
type Problem struct {
	Type   string `json:"type" doc:"about:blank: the status says it."`
	Title  string `json:"title" doc:"The status in words."`
	Status int    `json:"status"`
	Detail string `json:"detail" doc:"What went wrong, for people."`
	Code   string `json:"code" doc:"What went wrong, for programs."`
}

func (r ReplayRequest) options(done func(int)) dispatch.ReplayOptions {
	return dispatch.ReplayOptions{Rate: r.Rate, Limit: r.Limit, Done: done}
}
