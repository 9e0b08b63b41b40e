package rabbitmq

import (
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/queue"
)

// delivered is what the broker makes of a publishing.
func delivered(p *amqp.Publishing) *amqp.Delivery {
	return &amqp.Delivery{
		Headers: maps.Clone(p.Headers), ContentType: p.ContentType, MessageId: p.MessageId, Type: p.Type,
		Timestamp: p.Timestamp.Truncate(time.Second), Body: p.Body,
		CorrelationId: p.CorrelationId, ReplyTo: p.ReplyTo, AppId: p.AppId, Priority: p.Priority,
	}
}

func TestMessageThereAndBack(t *testing.T) {
	now := time.Unix(1_700_000_000, 123_456_789).UTC()
	want := queue.Dead{
		Envelope: queue.Envelope{
			Message: queue.Message{
				Queue: "q", ID: "id-1", Key: "ключ", Kind: "order.created", At: now.Add(time.Hour),
				Header: map[string]string{
					"traceparent": "00-aa-bb-01", "CC": "not a route", "x-death": "mine", "x-request-id": "7",
					strings.Repeat("n", 300): "long", "x-first-death-queue": "mine", "empty": "",
				},
				Payload: codec.Payload{Type: "application/x-protobuf", Name: "shop.Order", Data: []byte{0, 1}},
			},
			Published: now, Attempts: 3, LastError: "no\nluck ✗",
		},
		Reason: queue.ReasonAttempts, Stack: "main.go:1", Died: now,
	}
	p := publishing(&want.Envelope, want.Fields)
	if p.MessageId != "id-1" || p.ContentType != "application/x-protobuf" || p.Type != "order.created" || p.DeliveryMode != amqp.Persistent {
		t.Errorf("AMQP's own places: %+v", p)
	}
	if err := p.Headers.Validate(); err != nil {
		t.Error(err)
	}
	for name := range p.Headers {
		if ofBroker(name) || len(name) > maxShort {
			t.Errorf("header %.60q is sent", name)
		}
	}
	m := delivered(&p)
	m.Headers["x-death"] = []any{amqp.Table{"queue": "q"}}
	m.Headers["x-delivery-count"] = int64(4)
	if got := received("q", m); !reflect.DeepEqual(got, want) {
		t.Errorf("it came back as\n%+v, want\n%+v", got, want)
	}
	if lost(m) != 4 {
		t.Errorf("lost %d times, want 4", lost(m))
	}
}

func TestForeignMessage(t *testing.T) {
	got := received("q", &amqp.Delivery{
		MessageId: "m", Type: "kind", ContentType: "text/plain", Body: []byte("hi"), Redelivered: true,
		Timestamp: time.Unix(5, 0),
		Headers: amqp.Table{
			"n": int32(7), "b": true, "f": 1.5, "bytes": []byte("raw"), "table": amqp.Table{"x": 1}, "nil": nil,
			"t": time.Unix(0, 0), queue.FieldAttempts: "many", queue.FieldQueue: "other", queue.FieldID: "other", fieldLong: "{",
		},
	})
	want := queue.Envelope{
		Message: queue.Message{
			Queue: "q", ID: "m", Kind: "kind", Payload: codec.Payload{Type: "text/plain", Data: []byte("hi")},
			Header: map[string]string{"n": "7", "b": "true", "f": "1.5", "bytes": "raw", "t": "1970-01-01T00:00:00Z"},
		},
		Published: time.Unix(5, 0),
	}
	if !reflect.DeepEqual(got.Envelope, want) {
		t.Errorf("it is read as\n%+v, want\n%+v", got.Envelope, want)
	}
	if n := lost(&amqp.Delivery{Redelivered: true}); n != 1 {
		t.Errorf("a redelivery without a count counts %d", n)
	}
	if n := lost(&amqp.Delivery{Headers: amqp.Table{"x-delivery-count": int64(-3)}}); n != 0 {
		t.Errorf("a negative count counts %d", n)
	}
}

func TestRest(t *testing.T) {
	for _, c := range []struct {
		value any
		want  time.Duration
	}{
		{"1h0m0s", time.Hour}, {"-1h", 0}, {"", 0}, {"soon", 0}, {int64(5), 0}, {"9000000h", 0}, {nil, 0},
	} {
		if got := rest(&amqp.Delivery{Headers: amqp.Table{fieldRest: c.value}}); got != c.want {
			t.Errorf("%v leaves %v, want %v", c.value, got, c.want)
		}
	}
}

// FuzzReceived reads headers that strangers wrote. What it makes is no larger
// than what it read, and can be published again.
func FuzzReceived(f *testing.F) {
	f.Add("traceparent", "00-aa", "n", int64(7), []byte("{}"))
	f.Add(queue.FieldAttempts, "99999999999999999999", fieldLong, int64(-1), []byte(`{"a":"b"}`))
	f.Add(escapedName+"CC", "x", fieldRest, int64(0), []byte("[1"))
	f.Add(queue.FieldAt, "2024-01-01T00:00:00Z", "", int64(1), []byte(nil))
	f.Fuzz(func(t *testing.T, name, value, other string, n int64, long []byte) {
		d := &amqp.Delivery{Headers: amqp.Table{name: value, other: n, fieldLong: long, "x-death": value, "x-delivery-count": n}}
		got := received("q", d)
		size := 0
		for k, v := range got.Header {
			size += len(k) + len(v)
		}
		// A byte that is not UTF-8 becomes one of three in JSON's reading.
		if limit := len(name) + len(value) + len(other) + 20 + 3*len(long); size > limit {
			t.Errorf("%d bytes of headers from %d", size, limit)
		}
		if lost(d) < 0 || rest(d) < 0 {
			t.Error("negative")
		}
		p := publishing(&got.Envelope, got.Fields)
		if err := p.Headers.Validate(); err != nil {
			t.Error(err)
		}
		_ = again(d)
	})
}

// FuzzDifference reads a broker's complaint.
func FuzzDifference(f *testing.F) {
	f.Add("PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue 'q' in vhost '/': received 'quorum' but current is 'classic'")
	f.Add("inequivalent arg '' for a '' in vhost '': received  but current is ")
	f.Fuzz(func(t *testing.T, reason string) {
		if got, _ := difference(reason); len(got) > 8*len(reason)+200 {
			t.Errorf("%d bytes become %d", len(reason), len(got))
		}
	})
}
