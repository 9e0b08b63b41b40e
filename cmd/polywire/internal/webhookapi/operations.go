package webhookapi

import (
	"net/http"
	"reflect"
	"strconv"

	"github.com/polywire/polywire/webhook/dispatch"
)

// operation is one thing that can be done: what serves it and what describes
// it come from here.
type operation struct {
	id, method, path string
	summary          string
	query            []parameter
	in               any   // the zero value of the body; nil: none
	optional         bool  // whether there may be none
	maxBody          int64 // zero: maxBodyBytes
	status           int
	out              any   // the zero value of the answer; nil: none
	errs             []int // statuses that are not every operation's
	do               func(r *request) (any, error)
}

// parameter is one of the query.
type parameter struct {
	name, about string
	kind        string // of JSON schema
}

// common are the statuses that every operation may answer.
func common() []int {
	return []int{http.StatusUnauthorized, http.StatusUnprocessableEntity, http.StatusInternalServerError, http.StatusServiceUnavailable}
}

func operations() []operation {
	return append(endpointOperations(), deliveryOperations()...)
}

func endpointOperations() []operation {
	full := parameter{"full", "true: with the header and the body of each answer", "boolean"}
	return []operation{
		{
			id: "listEndpoints", method: http.MethodGet, path: "/endpoints", summary: "List all endpoints",
			status: http.StatusOK, out: Endpoints{}, do: listEndpoints,
		},
		{
			id: "addEndpoint", method: http.MethodPost, path: "/endpoints", summary: "Add an endpoint; the answer has a made secret, once",
			in: NewEndpoint{}, status: http.StatusCreated, out: Created{}, errs: []int{http.StatusConflict}, do: addEndpoint,
		},
		{
			id: "readEndpoint", method: http.MethodGet, path: "/endpoints/{id}", summary: "Read an endpoint",
			status: http.StatusOK, out: Endpoint{}, do: readEndpoint,
		},
		{
			id: "changeEndpoint", method: http.MethodPatch, path: "/endpoints/{id}", summary: "Change an endpoint",
			in: EndpointChange{}, status: http.StatusOK, out: Endpoint{}, do: changeEndpoint,
		},
		{
			id: "removeEndpoint", method: http.MethodDelete, path: "/endpoints/{id}", summary: "Remove an endpoint; what waits for it is given up",
			status: http.StatusNoContent, do: removeEndpoint,
		},
		{
			id: "disableEndpoint", method: http.MethodPost, path: "/endpoints/{id}/disable", summary: "Keep events from an endpoint",
			in: Reason{}, optional: true, status: http.StatusOK, out: Endpoint{}, do: disableEndpoint,
		},
		{
			id: "enableEndpoint", method: http.MethodPost, path: "/endpoints/{id}/enable", summary: "Let an endpoint get events again, from now on",
			status: http.StatusOK, out: Endpoint{}, do: enableEndpoint,
		},
		{
			id: "rotateSecret", method: http.MethodPost, path: "/endpoints/{id}/rotate", summary: "Replace the secret; the answer has a made one, once",
			in: Rotation{}, optional: true, status: http.StatusOK, out: NewSecret{}, do: rotateSecret,
		},
		{
			id: "listAttempts", method: http.MethodGet, path: "/endpoints/{id}/attempts", summary: "List the attempts of an endpoint, newest first",
			query:  []parameter{{"limit", "1 to 1000; default 50", "integer"}, {"before", "next of the page before", "string"}, full},
			status: http.StatusOK, out: Attempts{}, do: listAttempts,
		},
	}
}

func deliveryOperations() []operation {
	return []operation{
		{
			id: "publishEvent", method: http.MethodPost, path: "/events", summary: "Publish an event; the answer comes when every delivery is durable",
			in: Event{}, maxBody: maxEventBytes, status: http.StatusAccepted, out: Accepted{}, do: publishEvent,
		},
		{
			id: "listAttemptsOfEvent", method: http.MethodGet, path: "/events/{id}/attempts", summary: "List the attempts at an event by all endpoints, oldest first",
			query:  []parameter{{"full", "true: with the header and the body of each answer", "boolean"}},
			status: http.StatusOK, out: Attempts{}, do: attemptsOf,
		},
		{
			id: "beginReplay", method: http.MethodPost, path: "/replays", summary: "Deliver once more: the same ids, new timestamps",
			in: ReplayRequest{}, status: http.StatusAccepted, out: Replay{},
			errs: []int{http.StatusNotFound, http.StatusTooManyRequests}, do: beginReplay,
		},
		{
			id: "readReplay", method: http.MethodGet, path: "/replays/{id}", summary: "Read how far a replay is; it is known to the server that began it",
			status: http.StatusOK, out: Replay{}, do: readReplay,
		},
		{
			id: "endReplay", method: http.MethodDelete, path: "/replays/{id}", summary: "End a replay; what it has queued is delivered",
			status: http.StatusOK, out: Replay{}, do: endReplay,
		},
	}
}

// statuses returns all that the operation may answer, but for success.
func (op operation) statuses() []int {
	all := append(common(), op.errs...)
	if op.path != "/endpoints" && op.path != "/events" && op.path != "/replays" && op.id != "listAttemptsOfEvent" && op.id != "listAttempts" {
		all = append(all, http.StatusNotFound)
	}
	if op.in != nil {
		all = append(all, http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType)
	}
	return all
}

func listEndpoints(r *request) (any, error) {
	list := Endpoints{Endpoints: []Endpoint{}}
	for _, rec := range r.h.d.Endpoints() {
		list.Endpoints = append(list.Endpoints, View(rec))
	}
	return list, nil
}

func addEndpoint(r *request) (any, error) {
	in, err := bind[NewEndpoint](r)
	if err != nil {
		return nil, err
	}
	return Add(r.Context(), r.h.d, in)
}

func readEndpoint(r *request) (any, error) {
	rec, err := r.h.d.Endpoint(r.Context(), r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	return View(rec), nil
}

func changeEndpoint(r *request) (any, error) {
	in, err := bind[EndpointChange](r)
	if err != nil {
		return nil, err
	}
	rec, err := r.h.d.Update(r.Context(), r.PathValue("id"), in.Apply)
	if err != nil {
		return nil, err
	}
	return View(rec), nil
}

func removeEndpoint(r *request) (any, error) {
	return nil, r.h.d.Remove(r.Context(), r.PathValue("id"))
}

func disableEndpoint(r *request) (any, error) {
	in, err := bind[Reason](r)
	if err == nil {
		err = r.h.d.Disable(r.Context(), r.PathValue("id"), in.Reason)
	}
	if err != nil {
		return nil, err
	}
	return readEndpoint(r)
}

func enableEndpoint(r *request) (any, error) {
	if err := r.h.d.Enable(r.Context(), r.PathValue("id")); err != nil {
		return nil, err
	}
	return readEndpoint(r)
}

func rotateSecret(r *request) (any, error) {
	in, err := bind[Rotation](r)
	if err != nil {
		return nil, err
	}
	return Rotate(r.Context(), r.h.d, r.PathValue("id"), in)
}

// flag reads a boolean of the query.
func (r *request) flag(name string) (bool, error) {
	switch r.URL.Query().Get(name) {
	case "true":
		return true, nil
	case "false", "":
		return false, nil
	}
	return false, wrong("%s: want true or false", name)
}

func listAttempts(r *request) (any, error) {
	full, err := r.flag("full")
	if err != nil {
		return nil, err
	}
	limit := defaultPageLimit
	if text := r.URL.Query().Get("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > dispatch.MaxPage {
			return nil, wrong("limit: want 1 to %d", dispatch.MaxPage)
		}
	}
	p, err := r.h.d.Attempts(r.Context(), r.PathValue("id"), r.URL.Query().Get("before"), limit)
	if err != nil {
		return nil, err
	}
	return Attempts{ViewAttempts(p.Entries, full), p.Next}, nil
}

func publishEvent(r *request) (any, error) {
	in, err := bind[Event](r)
	if err != nil {
		return nil, err
	}
	return Publish(r.Context(), r.h.d, in)
}

func attemptsOf(r *request) (any, error) {
	full, err := r.flag("full")
	if err != nil {
		return nil, err
	}
	entries, err := r.h.d.AttemptsOf(r.Context(), r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	return Attempts{Attempts: ViewAttempts(entries, full)}, nil
}

func beginReplay(r *request) (any, error) {
	in, err := bind[ReplayRequest](r)
	if err != nil {
		return nil, err
	}
	return r.h.replays.begin(r.Context(), in)
}

func readReplay(r *request) (any, error) {
	job, err := r.h.replays.find(r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	return r.h.replays.show(job), nil
}

func endReplay(r *request) (any, error) { return r.h.replays.end(r.Context(), r.PathValue("id")) }

// bodies returns the types of all bodies.
func bodies() []reflect.Type {
	types := []reflect.Type{reflect.TypeFor[Problem]()}
	for _, op := range operations() {
		for _, v := range []any{op.in, op.out} {
			if v != nil {
				types = append(types, reflect.TypeOf(v))
			}
		}
	}
	return types
}
