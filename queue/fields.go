package queue

import (
	"strconv"
	"strings"
	"time"
)

// FieldPrefix begins the names of the headers in which drivers keep what is
// not the user's own header. Users' headers may not begin with it.
const FieldPrefix = "polywire-"

// The fields of an envelope and of a dead letter, as headers. A driver whose
// broker has a place of its own for one (a message id, a content type) may fill
// that as well.
const (
	FieldQueue     = FieldPrefix + "queue"
	FieldID        = FieldPrefix + "id"
	FieldKey       = FieldPrefix + "key"
	FieldKind      = FieldPrefix + "kind"
	FieldType      = FieldPrefix + "type" // of the payload's content
	FieldName      = FieldPrefix + "name" // of the payload's message type
	FieldAt        = FieldPrefix + "at"
	FieldPublished = FieldPrefix + "published"
	FieldAttempts  = FieldPrefix + "attempts"
	FieldError     = FieldPrefix + "error"
	FieldReason    = FieldPrefix + "dead-reason"
	FieldStack     = FieldPrefix + "dead-stack"
	FieldDied      = FieldPrefix + "dead-at"
)

// Fields calls put for each part of the envelope that is not empty, except the
// user's headers and the payload's data. Times are RFC 3339 in UTC, with
// nanoseconds. Values may have any characters; see [EscapeField].
func (e *Envelope) Fields(put func(name, value string)) {
	text(put, FieldQueue, e.Queue)
	text(put, FieldID, e.ID)
	text(put, FieldKey, e.Key)
	text(put, FieldKind, e.Kind)
	text(put, FieldType, e.Payload.Type)
	text(put, FieldName, e.Payload.Name)
	stamp(put, FieldAt, e.At)
	stamp(put, FieldPublished, e.Published)
	if e.Attempts > 0 {
		put(FieldAttempts, strconv.Itoa(e.Attempts))
	}
	text(put, FieldError, e.LastError)
}

// Fields calls put for each part of the letter that is not empty, the
// envelope's among them.
func (d *Dead) Fields(put func(name, value string)) {
	d.Envelope.Fields(put)
	text(put, FieldReason, string(d.Reason))
	text(put, FieldStack, d.Stack)
	stamp(put, FieldDied, d.Died)
}

func text(put func(name, value string), name, value string) {
	if value != "" {
		put(name, value)
	}
}

func stamp(put func(name, value string), name string, t time.Time) {
	if !t.IsZero() {
		put(name, t.UTC().Format(time.RFC3339Nano))
	}
}

// SetField is the way back: it takes a header that a driver found, and reports
// false for those that are not fields of an envelope. A value that cannot be
// read counts as empty: whoever else writes to a broker does no harm.
func (e *Envelope) SetField(name, value string) bool {
	switch name {
	case FieldQueue:
		e.Queue = value
	case FieldID:
		e.ID = value
	case FieldKey:
		e.Key = value
	case FieldKind:
		e.Kind = value
	case FieldType:
		e.Payload.Type = value
	case FieldName:
		e.Payload.Name = value
	case FieldAt:
		e.At = parseTime(value)
	case FieldPublished:
		e.Published = parseTime(value)
	case FieldAttempts:
		if n, err := strconv.ParseInt(value, 10, 32); err == nil && n >= 0 {
			e.Attempts = int(n)
		}
	case FieldError:
		e.LastError = value
	default:
		return false
	}
	return true
}

// SetField is that of the envelope, and takes the fields of dead letters too.
func (d *Dead) SetField(name, value string) bool {
	switch name {
	case FieldReason:
		d.Reason = Reason(value)
	case FieldStack:
		d.Stack = value
	case FieldDied:
		d.Died = parseTime(value)
	default:
		return d.Envelope.SetField(name, value)
	}
	return true
}

func parseTime(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return time.Time{}
	}
	return t
}

const upperHex = "0123456789ABCDEF"

// EscapeField makes a value fit for brokers whose headers are lines of text:
// what is not printable ASCII, '%', and spaces at either end become %XX, the
// bytes in hexadecimal. Most values stay as they are.
func EscapeField(s string) string {
	n := 0
	for i := range len(s) {
		if escaped(s, i) {
			n++
		}
	}
	if n == 0 {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + 2*n)
	for i := range len(s) {
		if !escaped(s, i) {
			b.WriteByte(s[i])
			continue
		}
		b.WriteByte('%')
		b.WriteByte(upperHex[s[i]>>4])
		b.WriteByte(upperHex[s[i]&15])
	}
	return b.String()
}

func escaped(s string, i int) bool {
	c := s[i]
	return c < ' ' || c > '~' || c == '%' || c == ' ' && (i == 0 || i == len(s)-1)
}

// UnescapeField is the way back. What is not an escape stays as it is.
func UnescapeField(s string) string {
	if strings.IndexByte(s, '%') < 0 {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			hi, lo := strings.IndexByte(upperHex, s[i+1]), strings.IndexByte(upperHex, s[i+2])
			if hi >= 0 && lo >= 0 {
				b.WriteByte(byte(hi<<4 | lo))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
