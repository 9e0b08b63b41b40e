package webhook

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// MaxTypeBytes is the longest type of an event.
const MaxTypeBytes = 128

// ErrType is in errors about an event's type or a pattern of types.
var ErrType = errors.New("webhook: the event type cannot be used")

// Event is something that happened, to be told to endpoints.
type Event struct {
	// ID is the same for every endpoint and every try; receivers know repeated
	// ones by it. Nobody untrusted may choose it. Make one with [NewID].
	ID string
	// Type is what happened, as "payment.approved".
	Type string
	// Time is when it happened.
	Time time.Time
	// Data is encoded as JSON; a json.RawMessage is taken as it is.
	Data any
	// Trace is the W3C trace context ("traceparent" and "tracestate") of what
	// caused it, for those who observe its deliveries; receivers do not get it.
	Trace map[string]string
}

// Body returns the body of the requests about an event. It depends on the event
// and the format alone, so that every try sends the same bytes. Errors: one that
// wraps [ErrType]; that the data or the time cannot be encoded; an unknown format.
func (e Event) Body(f Format) ([]byte, error) {
	if !ValidType(e.Type) {
		return nil, fmt.Errorf("%w: %.150q", ErrType, e.Type)
	}
	if f != FormatStandard && f != FormatGost {
		return nil, errors.New("webhook: no such format")
	}
	room := 256
	raw, ok := e.Data.(json.RawMessage)
	if ok {
		room = len(raw)
	}
	b := make([]byte, 0, len(e.Type)+room+96)
	if f == FormatGost {
		b = append(append(b, `{"event":"`...), e.Type...) // a type needs no escapes
		b = strconv.AppendInt(append(b, `","timestamp":`...), e.Time.Unix(), 10)
	} else {
		b = append(append(b, `{"type":"`...), e.Type...)
		at := e.Time.UTC()
		if at.Year() < 0 || at.Year() > 9999 {
			return nil, fmt.Errorf("webhook: the event's time %v cannot be encoded", at)
		}
		b = append(at.AppendFormat(append(b, `","timestamp":"`...), time.RFC3339Nano), '"')
	}
	b, err := appendData(append(b, `,"data":`...), e.Data)
	if err != nil {
		return nil, fmt.Errorf("webhook: the event's data cannot be encoded: %w", err)
	}
	return append(b, '}'), nil
}

// appendData appends data as compact JSON. Letters that mean something in HTML stay.
func appendData(to []byte, v any) ([]byte, error) {
	b := bytes.NewBuffer(to)
	if raw, ok := v.(json.RawMessage); ok && raw != nil {
		err := json.Compact(b, raw)
		return b.Bytes(), err
	}
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// ValidType reports whether a type of events can be used: parts of ASCII
// letters, digits, "_" and "-", with dots between them, at most 128 bytes.
func ValidType(t string) bool {
	if t == "" || len(t) > MaxTypeBytes {
		return false
	}
	dot := true // a part must begin
	for i := range len(t) {
		switch ch := t[i]; {
		case ch == '.' && dot:
			return false
		case ch == '.':
			dot = true
		case ch >= 'a' && ch <= 'z', ch >= 'A' && ch <= 'Z', ch >= '0' && ch <= '9', ch == '_', ch == '-':
			dot = false
		default:
			return false
		}
	}
	return !dot
}

// ValidPattern reports whether a pattern of types can be used: a type, "*", or
// a type and ".*". As for kinds of messages, "*" may only stand at the end.
func ValidPattern(p string) bool {
	return p == "*" || ValidType(strings.TrimSuffix(p, ".*"))
}

// MatchType reports whether a pattern has a type: "payment.*" has every type
// that begins with "payment.", "*" has all, any other pattern itself. Letters
// are compared as they are.
func MatchType(pattern, t string) bool {
	prefix, wild := strings.CutSuffix(pattern, "*")
	if !wild {
		return pattern == t
	}
	return strings.HasPrefix(t, prefix) && len(t) > len(prefix) && (prefix == "" || strings.HasSuffix(prefix, "."))
}
