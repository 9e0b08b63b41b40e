package rabbitmq

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/polywire/polywire/queue"
)

// Headers of our own beside the fields of package queue.
const (
	fieldRest   = queue.FieldPrefix + "rest"   // of a delay that is longer than one walk down the ladder
	fieldLetter = queue.FieldPrefix + "letter" // a dead letter's cursor
	fieldLong   = queue.FieldPrefix + "header" // JSON: headers whose names AMQP cannot carry
	escapedName = queue.FieldPrefix + "h."     // before the name of a header that means something to the broker
)

// maxShort is the length of AMQP's short strings.
const maxShort = 255

// publishing makes a message for the broker. Where AMQP has a place of its own
// for a field, it is there and nowhere else.
func publishing(e *queue.Envelope, fields func(put func(name, value string))) amqp.Publishing {
	p := amqp.Publishing{
		DeliveryMode: amqp.Persistent,
		MessageId:    e.ID,
		Body:         e.Payload.Data,
		Timestamp:    e.Published,
		Headers:      make(amqp.Table, len(e.Header)+2),
	}
	fields(func(name, value string) {
		switch {
		case name == queue.FieldQueue || name == queue.FieldID:
		case name == queue.FieldType && len(value) <= maxShort:
			p.ContentType = value
		case name == queue.FieldKind && len(value) <= maxShort:
			p.Type = value
		default:
			p.Headers[name] = value
		}
	})
	var long map[string]string
	for name, value := range e.Header {
		switch {
		case len(name) > maxShort-len(escapedName):
			if long == nil {
				long = make(map[string]string)
			}
			long[name] = value
		case ofBroker(name):
			p.Headers[escapedName+name] = value
		default:
			p.Headers[name] = value
		}
	}
	if long != nil {
		text, err := json.Marshal(long)
		if err == nil { // strings can always be written
			p.Headers[fieldLong] = string(text)
		}
	}
	return p
}

// ofBroker reports whether RabbitMQ reads or writes the header itself. "CC" as
// a text would cost the channel.
func ofBroker(name string) bool {
	switch name {
	case "CC", "BCC", "x-death", "x-delivery-count", "x-acquired-count", "x-delay", "x-match":
		return true
	}
	for _, start := range []string{"x-first-death-", "x-last-death-", "x-opt-", "x-stream-"} {
		if strings.HasPrefix(name, start) {
			return true
		}
	}
	return false
}

// received reads what the broker brought. It takes any message, whoever put it
// into the queue.
func received(q string, d *amqp.Delivery) queue.Dead {
	var dead queue.Dead
	e := &dead.Envelope
	e.Queue, e.ID, e.Kind = q, d.MessageId, d.Type
	e.Payload.Type, e.Payload.Data = d.ContentType, d.Body
	e.Published = d.Timestamp
	for name, value := range d.Headers {
		if ofBroker(name) {
			continue
		}
		s, ok := text(value)
		switch {
		case !ok, name == queue.FieldQueue, name == queue.FieldID, name == fieldRest, name == fieldLetter:
		case name == fieldLong:
			var long map[string]string
			if json.Unmarshal([]byte(s), &long) == nil {
				for name, value := range long {
					setHeader(e, name, value)
				}
			}
		case strings.HasPrefix(name, escapedName):
			setHeader(e, name[len(escapedName):], s)
		case !dead.SetField(name, s):
			setHeader(e, name, s)
		}
	}
	return dead
}

func setHeader(e *queue.Envelope, name, value string) {
	if e.Header == nil {
		e.Header = make(map[string]string)
	}
	e.Header[name] = value
}

// text returns a header's value in words; false: it is a table or a list.
func text(value any) (string, bool) {
	switch v := value.(type) {
	case string:
		return v, true
	case []byte:
		return string(v), true
	case bool:
		return strconv.FormatBool(v), true
	case int8:
		return strconv.FormatInt(int64(v), 10), true
	case uint8:
		return strconv.FormatUint(uint64(v), 10), true
	case int16:
		return strconv.FormatInt(int64(v), 10), true
	case uint16:
		return strconv.FormatUint(uint64(v), 10), true
	case int32:
		return strconv.FormatInt(int64(v), 10), true
	case uint32:
		return strconv.FormatUint(uint64(v), 10), true
	case int64:
		return strconv.FormatInt(v, 10), true
	case float32:
		return strconv.FormatFloat(float64(v), 'g', -1, 32), true
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64), true
	case time.Time:
		return v.UTC().Format(time.RFC3339), true
	default:
		return "", false
	}
}

// lost is how often the broker gave the message out before without an answer.
func lost(d *amqp.Delivery) int {
	switch n := d.Headers["x-delivery-count"].(type) {
	case int64:
		return int(max(n, 0))
	case int32:
		return int(max(n, 0))
	}
	if d.Redelivered {
		return 1
	}
	return 0
}

// rest is what is left of a delay when the message has walked down the ladder.
func rest(d *amqp.Delivery) time.Duration {
	s, _ := d.Headers[fieldRest].(string)
	left, err := time.ParseDuration(s)
	if err != nil || left < 0 || left > queue.MaxDelay {
		return 0
	}
	return left
}
