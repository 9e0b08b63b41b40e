package natsstore

import (
	"encoding/base64"
	"encoding/json"
	"strconv"
	"time"

	"github.com/polywire/polywire/webhook/dispatch"
)

// What is written for each event and each attempt is put together here, as
// encoding/json would have it, which takes several times as long.

// appendStored appends an event.
func appendStored(b []byte, e dispatch.Stored) []byte {
	b = appendText(append(b, `{"id":`...), e.ID)
	b = appendText(append(b, `,"type":`...), e.Type)
	b = appendTime(append(b, `,"time":`...), e.Time)
	b = appendTime(append(b, `,"accepted":`...), e.Accepted)
	if len(e.Trace) > 0 {
		b = append(b, `,"trace":{`...)
		comma := false
		for name, value := range e.Trace {
			if comma {
				b = append(b, ',')
			}
			comma = true
			b = appendText(append(appendText(b, name), ':'), value)
		}
		b = append(b, '}')
	}
	b = append(b, `,"data":`...)
	if len(e.Data) == 0 {
		return append(b, "null}"...)
	}
	return append(append(b, e.Data...), '}')
}

// appendEntry appends an attempt.
func appendEntry(b []byte, e dispatch.Entry) ([]byte, error) {
	a := e.Attempt
	b = appendText(append(b, `{"endpoint":`...), e.Endpoint)
	b = appendText(append(b, `,"type":`...), e.Type)
	b = appendText(append(b, `,"attempt":{"id":`...), a.ID)
	b = strconv.AppendInt(append(b, `,"try":`...), int64(a.Try), 10)
	b = appendTime(append(b, `,"start":`...), a.Start)
	b = strconv.AppendInt(append(b, `,"duration":`...), int64(a.Duration), 10)
	class, err := a.Class.MarshalText()
	if err != nil {
		return nil, err
	}
	b = appendText(append(b, `,"class":`...), string(class))
	if a.Status != 0 {
		b = strconv.AppendInt(append(b, `,"status":`...), int64(a.Status), 10)
	}
	if len(a.Header) > 0 {
		b = append(b, `,"header":{`...)
		comma := false
		for name, values := range a.Header {
			if comma {
				b = append(b, ',')
			}
			comma = true
			b = append(appendText(b, name), ":["...)
			for i, value := range values {
				if i > 0 {
					b = append(b, ',')
				}
				b = appendText(b, value)
			}
			b = append(b, ']')
		}
		b = append(b, '}')
	}
	if len(a.Body) > 0 {
		b = base64.StdEncoding.AppendEncode(append(b, `,"body":"`...), a.Body)
		b = append(b, '"')
	}
	if a.Truncated {
		b = append(b, `,"truncated":true`...)
	}
	if a.Error != "" {
		b = appendText(append(b, `,"error":`...), a.Error)
	}
	if a.RetryAfter != 0 {
		b = strconv.AppendInt(append(b, `,"retry_after":`...), int64(a.RetryAfter), 10)
	}
	b = appendText(append(b, `},"state":`...), string(e.State))
	if !e.Next.IsZero() {
		b = appendTime(append(b, `,"next":`...), e.Next)
	}
	b = appendTime(append(b, `,"accepted":`...), e.Accepted)
	if e.Replay != "" {
		b = appendText(append(b, `,"replay":`...), e.Replay)
	}
	return append(b, '}'), nil
}

// appendTime appends a time. Those of events and attempts are of years with four digits.
func appendTime(b []byte, t time.Time) []byte {
	return append(t.AppendFormat(append(b, '"'), time.RFC3339Nano), '"')
}

// appendText appends a string.
func appendText(b []byte, s string) []byte {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' || s[i] == '"' || s[i] == '\\' {
			quoted, _ := json.Marshal(s) //nolint:errchkjson // a string can be encoded
			return append(b, quoted...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}
