package jetstream

import (
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/polywire/polywire/queue"
)

// Headers of our own beside the fields of package queue.
const (
	fieldEscaped = queue.FieldPrefix + "escaped" // values are escaped
	escapedName  = queue.FieldPrefix + "h-"      // before a name that means something to NATS
)

// Headers of the server.
const (
	headerMsgID        = nats.MsgIdHdr
	headerSchedule     = "Nats-Schedule"
	headerTarget       = "Nats-Schedule-Target"
	headerScheduler    = "Nats-Scheduler"
	headerScheduleNext = "Nats-Schedule-Next"
	headerExpectSeq    = "Nats-Expected-Last-Subject-Sequence"
	headerPending      = "Nats-Pending-Messages"
	headerStatus       = "Status"
	headerDescription  = "Description"
)

// maxHeaderBytes is what a cluster takes as one message's headers, with room
// for what the server adds.
const maxHeaderBytes = 60 << 10

// header makes headers of an envelope, or of a dead letter by fields. dedup is
// what the server tells duplicates by; it is the ID, too, where none is written.
func header(e *queue.Envelope, fields func(put func(name, value string)), dedup string) nats.Header {
	h := make(nats.Header, len(e.Header)+4)
	esc := false
	put := func(name, value string) {
		v := queue.EscapeField(value)
		esc = esc || len(v) != len(value)
		h[name] = []string{v}
	}
	fields(func(name, value string) {
		switch {
		case name == queue.FieldQueue: // the subject says it
		case name == queue.FieldID && value == dedup && e.At.IsZero(): // the server takes it from a schedule
		default:
			put(name, value)
		}
	})
	for name, value := range e.Header {
		if ofServer(name) || !token(name) {
			name = escapedName + escapeName(name)
		}
		put(name, value)
	}
	if esc {
		h[fieldEscaped] = []string{"1"}
	}
	if dedup != "" {
		h[headerMsgID] = []string{dedup}
	}
	return h
}

// ofServer reports whether a header means something to NATS.
func ofServer(name string) bool {
	return len(name) >= 5 && strings.EqualFold(name[:5], "nats-") || name == headerStatus || name == headerDescription
}

// token reports whether NATS takes the name of a header (RFC 9110, 5.6.2).
func token(name string) bool {
	for i := range len(name) {
		if !tokenByte(name[i]) {
			return false
		}
	}
	return name != ""
}

func tokenByte(c byte) bool {
	return plain(c) || strings.IndexByte("!#$%&'*+.^`|~", c) >= 0
}

// escapeName makes a token of a name; [queue.UnescapeField] is the way back.
func escapeName(name string) string {
	var b strings.Builder
	for i := range len(name) {
		if c := name[i]; c == '%' || !tokenByte(c) {
			b.WriteByte('%')
			b.WriteByte(upperHex[c>>4])
			b.WriteByte(upperHex[c&15])
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// size is how many bytes the headers are on their way.
func size(h nats.Header) int {
	n := 16
	for name, values := range h {
		for _, v := range values {
			n += len(name) + len(v) + 4
		}
	}
	return n
}

// received reads what the server brought, whoever published it.
func received(name string, h nats.Header, data []byte) queue.Dead {
	var d queue.Dead
	e := &d.Envelope
	escaped := h[fieldEscaped] != nil
	for name, values := range h {
		if len(values) == 0 {
			continue
		}
		value := values[0]
		if escaped {
			value = queue.UnescapeField(value)
		}
		if d.SetField(name, value) || ofServer(name) || name == fieldEscaped {
			continue
		}
		if e.Header == nil {
			e.Header = make(map[string]string, len(h))
		}
		if was, ours := strings.CutPrefix(name, escapedName); ours {
			name = queue.UnescapeField(was)
		}
		e.Header[name] = value
	}
	if id := h[headerMsgID]; e.ID == "" && len(id) > 0 {
		e.ID = id[0]
	}
	e.Queue, e.Payload.Data = name, data
	return d
}

// dated turns a message into a schedule that sends it, unless its time is near.
func (d *Driver) dated(m *nats.Msg, q string, at time.Time) {
	m.Subject = d.names.now(q)
	now := time.Now()
	if !at.After(now) {
		return
	}
	if d.spread.exact(at, now) {
		if at = at.Add(-early); !at.After(now) {
			return
		}
	}
	m.Header[headerSchedule] = []string{"@at " + at.UTC().Format(time.RFC3339Nano)}
	m.Header[headerTarget] = []string{m.Subject}
	m.Subject = d.names.at(q, at)
}

// first is a message as it is published first.
func (d *Driver) first(e *queue.Envelope) *nats.Msg {
	m := &nats.Msg{Header: header(e, e.Fields, e.ID), Data: e.Payload.Data}
	d.dated(m, e.Queue, e.At)
	return m
}

// again is a message that was there before, under an id that cannot be a user's.
func (d *Driver) again(e *queue.Envelope, dedup string) *nats.Msg {
	m := &nats.Msg{Header: header(e, e.Fields, dedup), Data: e.Payload.Data}
	d.dated(m, e.Queue, e.At)
	return m
}

// letter is a dead letter.
func (n names) letter(d *queue.Dead, dedup string) *nats.Msg {
	m := &nats.Msg{Subject: n.dead(d.Queue), Header: header(&d.Envelope, d.Fields, dedup), Data: d.Payload.Data}
	if size(m.Header) > maxHeaderBytes {
		short := *d
		short.Stack = ""
		m.Header = header(&short.Envelope, short.Fields, dedup)
	}
	return m
}

func itoa(n uint64) string { return strconv.FormatUint(n, 10) }
