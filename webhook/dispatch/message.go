package dispatch

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/queue"
	"github.com/polywire/polywire/webhook"
)

// The headers of a delivery's message. The endpoint is its key, the event's type
// its kind, the event's data its payload.
const (
	headerEvent    = "webhook-event"
	headerTime     = "webhook-time"
	headerAccepted = "webhook-accepted"
	headerTry      = "webhook-try"    // the next one's number; none: 1
	headerParked   = "webhook-parked" // how often it was put back; none: never
	headerReplay   = "webhook-replay"
)

const typeJSON = "application/json"

// delivery is an event on its way to one endpoint.
type delivery struct {
	endpoint string
	event    Stored
	try      int // from 1
	parked   int
	replay   string

	digest [16]byte // see key; all zeros: not made yet
}

// id is the same for whoever makes it of the same event, endpoint and replay, so
// that the queue knows a second one.
func (d *delivery) id() string {
	key := d.key()
	return hex.EncodeToString(key[:])
}

// key is the id in fewer bytes. No part of it has a line feed, and none changes once it
// was asked for.
func (d *delivery) key() [16]byte {
	if d.digest == ([16]byte{}) {
		b := make([]byte, 0, 640) // longer than ids are
		b = append(append(b, d.endpoint...), '\n')
		b = append(append(b, d.event.ID...), '\n')
		sum := sha256.Sum256(append(b, d.replay...))
		copy(d.digest[:], sum[:])
	}
	return d.digest
}

// message returns the message of a delivery.
func (d *delivery) message(queueName string) queue.Message {
	id := d.id() + "-" + strconv.Itoa(d.try)
	header := map[string]string{
		headerEvent:    d.event.ID,
		headerTime:     d.event.Time.UTC().Format(time.RFC3339Nano),
		headerAccepted: d.event.Accepted.UTC().Format(time.RFC3339Nano),
	}
	if d.try > 1 {
		header[headerTry] = strconv.Itoa(d.try)
	}
	if d.parked > 0 {
		header[headerParked] = strconv.Itoa(d.parked)
		id += "-" + strconv.Itoa(d.parked)
	}
	if d.replay != "" {
		header[headerReplay] = d.replay
	}
	copyTrace(header, d.event.Trace)
	return queue.Message{
		Queue: queueName, ID: id, Key: d.endpoint, Kind: d.event.Type, Header: header,
		Payload: codec.Payload{Type: typeJSON, Data: d.event.Data},
	}
}

// maxTraceBytes is what each field of a trace context may have; longer ones are left out.
const maxTraceBytes = 512

// traceOf returns the fields of a W3C trace context; nil: there is none.
func traceOf(header map[string]string) map[string]string { return copyTrace(nil, header) }

// copyTrace adds the fields of a trace context to a map, which is made if need be.
func copyTrace(to, from map[string]string) map[string]string {
	for _, name := range [...]string{"traceparent", "tracestate"} {
		v := from[name]
		if v == "" || len(v) > maxTraceBytes || !utf8.ValidString(v) {
			continue
		}
		if to == nil {
			to = make(map[string]string)
		}
		to[name] = v
	}
	return to
}

// errMessage says that a message of our queues is not one of ours.
var errMessage = errors.New("dispatch: the message is not a delivery")

// parseDelivery is the way back.
func parseDelivery(m *queue.Message) (*delivery, error) {
	d := &delivery{endpoint: m.Key, replay: m.Header[headerReplay], try: 1}
	d.event = Stored{ID: m.Header[headerEvent], Type: m.Kind, Data: m.Payload.Data, Trace: traceOf(m.Header)}
	var err error
	if d.event.Time, err = time.Parse(time.RFC3339Nano, m.Header[headerTime]); err != nil {
		return nil, fmt.Errorf("%w: its time", errMessage)
	}
	if d.event.Accepted, err = time.Parse(time.RFC3339Nano, m.Header[headerAccepted]); err != nil {
		return nil, fmt.Errorf("%w: when it was accepted", errMessage)
	}
	if text, ok := m.Header[headerTry]; ok {
		if d.try, err = strconv.Atoi(text); err != nil || d.try < 1 || d.try > webhook.MaxTries {
			return nil, fmt.Errorf("%w: its try", errMessage)
		}
	}
	if text, ok := m.Header[headerParked]; ok {
		if d.parked, err = strconv.Atoi(text); err != nil || d.parked < 0 {
			return nil, fmt.Errorf("%w: how often it was put back", errMessage)
		}
	}
	if !validID(d.endpoint) || strings.ContainsRune(d.replay, '\n') || checkStored(d.event) != nil {
		return nil, fmt.Errorf("%w: its endpoint or event", errMessage)
	}
	return d, nil
}

// body returns the body of the requests about an event. Its data is known to be JSON, and
// is sent as it is.
func (e *Stored) body(f webhook.Format) ([]byte, error) {
	const null, end = "null", "}"
	b, err := webhook.Event{ID: e.ID, Type: e.Type, Time: e.Time, Data: json.RawMessage(null)}.Body(f)
	if err != nil {
		return nil, err
	}
	frame := bytes.TrimSuffix(b, []byte(null+end))
	b = append(make([]byte, 0, len(frame)+len(e.Data)+len(end)), frame...)
	return append(append(b, e.Data...), end...), nil
}

// checkStored is for events that somebody else may have written.
func checkStored(e Stored) error {
	if err := checkNames(e); err != nil {
		return err
	}
	if !json.Valid(e.Data) {
		return fmt.Errorf("%w: the event's data is no JSON", ErrInvalid)
	}
	return nil
}

func checkNames(e Stored) error {
	switch {
	case !validID(e.ID):
		return fmt.Errorf("%w: %w", ErrInvalid, webhook.ErrID)
	case !webhook.ValidType(e.Type):
		return fmt.Errorf("%w: %w: %.150q", ErrInvalid, webhook.ErrType, e.Type)
	case e.Time.Year() < 1970 || e.Time.Year() > 9999:
		return fmt.Errorf("%w: the event's time", ErrInvalid)
	}
	return nil
}

// validID is package webhook's rule for ids.
func validID(s string) bool {
	if s == "" || len(s) > webhook.MaxIDBytes {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' || s[i] == '.' {
			return false
		}
	}
	return true
}

// fanout is an event on its way to several endpoints, in one message so that all
// of them or none get it.
type fanout struct {
	Event     Stored   `json:"event"`
	Endpoints []string `json:"endpoints"`
	Replay    string   `json:"replay,omitempty"`
}

// message returns the message of part n of an event's fan-out.
func (f *fanout) message(queueName string, n int) (queue.Message, error) {
	data, err := json.Marshal(f)
	if err != nil {
		return queue.Message{}, fmt.Errorf("%w: the event's data is no JSON", ErrInvalid)
	}
	first := delivery{event: f.Event, replay: f.Replay}
	return queue.Message{
		Queue: queueName, ID: first.id() + "-all-" + strconv.Itoa(n), Kind: f.Event.Type,
		Payload: codec.Payload{Type: typeJSON, Data: data},
	}, nil
}

func parseFanout(m *queue.Message) (*fanout, error) {
	var f fanout
	if err := json.Unmarshal(m.Payload.Data, &f); err != nil || checkStored(f.Event) != nil || len(f.Endpoints) > maxFanout {
		return nil, fmt.Errorf("%w: a fan-out", errMessage)
	}
	for _, id := range f.Endpoints {
		if !validID(id) {
			return nil, fmt.Errorf("%w: a fan-out", errMessage)
		}
	}
	return &f, nil
}

// maxFanout is how many endpoints one message of a fan-out has at most.
const maxFanout = 1000
