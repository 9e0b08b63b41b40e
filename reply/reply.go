// Package reply is an envelope for answers: success or failure, a text, and
// data, with the ids of the request that it answers. In JSON it is the message
// of GOSF, the Go Socket.IO Framework, so that clients of that go on as they
// are; docs/migrate/gosf.md says how its functions are called here.
package reply

import (
	"maps"
	"math"
	"reflect"

	"github.com/polywire/polywire"
)

// Message is the envelope, of requests and of answers. What is empty is left
// out of its JSON, but for success. All methods work on nil. A Message may be
// shared once nobody changes it any more.
type Message struct {
	// ID, GUID and UUID are the sender's own, by which it knows the answer.
	ID   int    `json:"id,omitempty"`
	GUID string `json:"guid,omitempty"`
	UUID string `json:"uuid,omitempty"`
	// Success says whether the request was done.
	Success bool `json:"success"`
	// Text is a short word on that, an error's code for example.
	Text string `json:"text,omitempty"`
	// Meta is about the data, Body the data.
	Meta map[string]any `json:"meta,omitempty"`
	Body map[string]any `json:"body,omitempty"`
}

// Success returns a message that says that all went well; the text may be
// empty. Of several bodies, the later ones' entries replace the earlier ones'.
func Success(text string, body ...map[string]any) *Message {
	return &Message{Success: true, Text: text, Body: merged(body)}
}

// Failure returns a message that says that the request failed; see [Success].
// A handler returns it as its result: its error would be the wire's own form.
func Failure(text string, body ...map[string]any) *Message {
	return &Message{Text: text, Body: merged(body)}
}

// merged returns a single body as it is, nil without any.
func merged(bodies []map[string]any) map[string]any {
	if len(bodies) <= 1 {
		if len(bodies) == 0 {
			return nil
		}
		return bodies[0]
	}
	all := make(map[string]any)
	for _, b := range bodies {
		maps.Copy(all, b)
	}
	return all
}

// WithoutMeta returns a copy without Meta, which shares the Body; nil of nil.
func (m *Message) WithoutMeta() *Message {
	if m == nil {
		return nil
	}
	c := *m
	c.Meta = nil
	return &c
}

// Answer returns a copy that has the id, guid and uuid of the request, where it
// has some. It implements [polywire.Answerer], so that a handler need only
// return the message. A nil Message is no answer.
func (m *Message) Answer(request *polywire.Message) any {
	if m == nil {
		return nil
	}
	c := *m
	if request != nil {
		c.take(idsOf(request))
	}
	return &c
}

// ids are those of a request.
type ids struct {
	ID   int    `json:"id"`
	GUID string `json:"guid"`
	UUID string `json:"uuid"`
}

func (m *Message) take(i ids) {
	if i.ID != 0 {
		m.ID = i.ID
	}
	if i.GUID != "" {
		m.GUID = i.GUID
	}
	if i.UUID != "" {
		m.UUID = i.UUID
	}
}

// idsOf reads the ids of a request. Those of a wrong type are not there.
func idsOf(request *polywire.Message) ids {
	var found ids
	if request.Bind(&found) == nil {
		return found
	}
	var loose struct {
		ID   any `json:"id"`
		GUID any `json:"guid"`
		UUID any `json:"uuid"`
	}
	if request.Bind(&loose) != nil {
		return ids{}
	}
	found = ids{ID: integer(loose.ID)}
	found.GUID, _ = loose.GUID.(string)
	found.UUID, _ = loose.UUID.(string)
	return found
}

// integer returns a whole number of any type, zero for all else.
func integer(v any) int {
	switch n := reflect.ValueOf(v); {
	case n.CanInt():
		return int(n.Int())
	case n.CanUint() && n.Uint() <= math.MaxInt:
		return int(n.Uint())
	case n.CanFloat() && n.Float() == math.Trunc(n.Float()) && math.Abs(n.Float()) < 1<<53:
		return int(n.Float())
	}
	return 0
}
