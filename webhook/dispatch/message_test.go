package dispatch

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/queue"
)

func someDelivery() *delivery {
	return &delivery{
		endpoint: "ep_1", try: 3, parked: 2, replay: "r",
		event: Stored{ID: "msg_1", Type: "payment.approved", Time: time.Unix(1, 5).UTC(), Accepted: time.Unix(2, 6).UTC(), Data: []byte(`{"a":1}`),
			Trace: map[string]string{"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}},
	}
}

// A trace that a queue could not carry is left out, and nothing but a trace is taken.
func TestTraceOf(t *testing.T) {
	long := strings.Repeat("x", maxTraceBytes+1)
	for name, header := range map[string]map[string]string{
		"none": nil, "empty": {"traceparent": ""}, "long": {"traceparent": long}, "no text": {"tracestate": "\xff"}, "others": {"webhook-event": "e"},
	} {
		if got := traceOf(header); got != nil {
			t.Errorf("%s: %v", name, got)
		}
	}
	if got := traceOf(map[string]string{"traceparent": "a", "tracestate": "b", "c": "d"}); len(got) != 2 || got["traceparent"] != "a" || got["tracestate"] != "b" {
		t.Errorf("%v", got)
	}
}

func TestDeliveryMessage(t *testing.T) {
	d := someDelivery()
	m := d.message("q")
	got, err := parseDelivery(&m)
	if err != nil || got.key() != d.key() || !reflect.DeepEqual(got, d) {
		t.Errorf("got %+v, %v, want %+v", got, err, d)
	}
	ids := map[string]string{}
	for name, change := range map[string]func(d *delivery){
		"same": func(*delivery) {}, "endpoint": func(d *delivery) { d.endpoint = "x" }, "event": func(d *delivery) { d.event.ID = "x" },
		"try": func(d *delivery) { d.try++ }, "parked": func(d *delivery) { d.parked++ }, "replay": func(d *delivery) { d.replay = "" },
		"moved": func(d *delivery) { d.endpoint, d.event.ID = "ep_1m", "sg_1" },
	} {
		d := someDelivery()
		change(d)
		id := d.message("q").ID
		if other, taken := ids[id]; taken || len(id) > queue.MaxIDBytes {
			t.Errorf("%s and %s have the id %s", name, other, id)
		}
		ids[id] = name
	}
}

func TestBadMessages(t *testing.T) {
	for name, change := range map[string]func(m *queue.Message){
		"no endpoint":    func(m *queue.Message) { m.Key = "" },
		"no event":       func(m *queue.Message) { delete(m.Header, headerEvent) },
		"event's id":     func(m *queue.Message) { m.Header[headerEvent] = "a b" },
		"no type":        func(m *queue.Message) { m.Kind = "" },
		"type":           func(m *queue.Message) { m.Kind = "a..b" },
		"no time":        func(m *queue.Message) { delete(m.Header, headerTime) },
		"time":           func(m *queue.Message) { m.Header[headerTime] = "yesterday" },
		"old time":       func(m *queue.Message) { m.Header[headerTime] = "0001-01-01T00:00:00Z" },
		"no acceptance":  func(m *queue.Message) { delete(m.Header, headerAccepted) },
		"try zero":       func(m *queue.Message) { m.Header[headerTry] = "0" },
		"try 101":        func(m *queue.Message) { m.Header[headerTry] = "101" },
		"try":            func(m *queue.Message) { m.Header[headerTry] = "x" },
		"parked":         func(m *queue.Message) { m.Header[headerParked] = "-1" },
		"no data":        func(m *queue.Message) { m.Payload = codec.Payload{} },
		"data":           func(m *queue.Message) { m.Payload.Data = []byte("{") },
		"data and more":  func(m *queue.Message) { m.Payload.Data = []byte("{}{}") },
		"nothing at all": func(m *queue.Message) { *m = queue.Message{} },
	} {
		m := someDelivery().message("q")
		change(&m)
		if d, err := parseDelivery(&m); !errors.Is(err, errMessage) {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
	}
	for _, data := range []string{
		"", "{", "[]", "{}", `{"event":{"id":"a","type":"b","time":"2000-01-01T00:00:00Z","data":1},"endpoints":["a.b"]}`,
		`{"event":{"id":"a","type":"b c","time":"2000-01-01T00:00:00Z","data":1},"endpoints":[]}`,
	} {
		if f, err := parseFanout(&queue.Message{Payload: codec.Payload{Data: []byte(data)}}); !errors.Is(err, errMessage) {
			t.Errorf("%s: %+v, %v", data, f, err)
		}
	}
}

func FuzzDelivery(f *testing.F) {
	f.Add("ep_1", "payment.approved", "msg_1", "2000-01-01T00:00:00Z", "2000-01-01T00:00:00.5Z", "3", "1", "r", []byte(`{"a":1}`))
	f.Add("", "", "", "", "", "", "", "", []byte(nil))
	f.Fuzz(func(t *testing.T, endpoint, eventType, event, at, accepted, try, parked, replay string, data []byte) {
		m := queue.Message{Key: endpoint, Kind: eventType, Payload: codec.Payload{Data: data}, Header: map[string]string{
			headerEvent: event, headerTime: at, headerAccepted: accepted, headerTry: try, headerParked: parked, headerReplay: replay,
		}}
		d, err := parseDelivery(&m)
		if err != nil {
			return
		}
		m = d.message("q")
		again, err := parseDelivery(&m)
		if err != nil || again.id() != d.id() || again.try != d.try || again.parked != d.parked || !again.event.Time.Equal(d.event.Time) {
			t.Errorf("%+v became %+v, %v", d, again, err)
		}
	})
}

func FuzzFanout(f *testing.F) {
	f.Add([]byte(`{"event":{"id":"a","type":"b","time":"2000-01-01T00:00:00Z","accepted":"2000-01-01T00:00:00Z","data":1},"endpoints":["e"],"replay":"r"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := parseFanout(&queue.Message{Payload: codec.Payload{Data: data}})
		if err != nil {
			return
		}
		m, err := got.message("q", 0)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := parseFanout(&m); err != nil || len(again.Endpoints) != len(got.Endpoints) {
			t.Errorf("%+v became %+v, %v", got, again, err)
		}
	})
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"endpoint":{"id":"a","url":"https://a.example/","types":["*"],"secrets":["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],"format":"standard","timeout":"20s","concurrency":8,"schedule":{"delays":["0s"],"jitter":0}},"retire":["2000-01-01T00:00:00Z"]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := UnmarshalRecord(data)
		if err != nil {
			return
		}
		b, err := MarshalRecord(r)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := UnmarshalRecord(b); err != nil || again.Endpoint.ID != r.Endpoint.ID {
			t.Errorf("%v became %v, %v", r, again, err)
		}
	})
}
