package sse

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

const (
	roomParam   = "room"
	lastEventID = "Last-Event-ID"
	eventStream = "text/event-stream"
)

// request is what a client asks for by opening a stream.
type request struct {
	rooms  []string          // each once
	header map[string]string // of the hello: the query's other parameters, and the Authorization header
	offset string            // the last event that arrived before
	places *places           // nil without rooms
}

var errBadPlace = fmt.Errorf("a Last-Event-ID of more than %d bytes, or with a NUL", maxPlaceBytes)

// parseRequest reads the query and the headers. It takes memory in proportion
// to what it reads.
func parseRequest(r *http.Request) (*request, error) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, fmt.Errorf("malformed query: %w", err)
	}
	ask := new(request)
	if ask.rooms = roomsOf(q); slices.Contains(ask.rooms, "") {
		return nil, errors.New("a room without a name")
	}
	places := r.Header.Values(lastEventID)
	if len(places) > 0 {
		ask.offset = places[0]
	}
	if len(places) > 1 || len(ask.offset) > maxPlaceBytes || strings.ContainsRune(ask.offset, 0) {
		return nil, errBadPlace
	}
	if len(ask.rooms) > 0 {
		ask.places = newPlaces(ask.rooms, ask.offset)
	}
	delete(q, roomParam)
	if credentials := r.Header.Get("Authorization"); credentials != "" {
		q["authorization"] = []string{credentials}
	}
	if len(q) > 0 {
		ask.header = make(map[string]string, len(q))
		for name, values := range q {
			ask.header[name] = values[0]
		}
	}
	return ask, nil
}

// roomsOf returns the rooms of a query, each once.
func roomsOf(q url.Values) []string {
	var rooms []string
	seen := make(map[string]struct{}, len(q[roomParam]))
	for _, name := range q[roomParam] {
		if _, twice := seen[name]; !twice {
			seen[name] = struct{}{}
			rooms = append(rooms, name)
		}
	}
	return rooms
}

// accepts reports whether a client takes event streams, as far as it says.
func accepts(r *http.Request) bool {
	all := r.Header.Values("Accept")
	if len(all) == 0 {
		return true
	}
	for _, list := range all {
		for one := range strings.SplitSeq(list, ",") {
			name, _, _ := strings.Cut(one, ";")
			switch strings.ToLower(strings.TrimSpace(name)) {
			case eventStream, "text/*", "*/*":
				return true
			}
		}
	}
	return false
}
