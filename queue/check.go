package queue

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// CheckQueue says what is wrong with the name of a queue; nil: nothing.
func CheckQueue(name string) error {
	bad := name == "" || len(name) > MaxNameBytes || !utf8.ValidString(name) ||
		strings.HasPrefix(name, " ") || strings.HasSuffix(name, " ") ||
		strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) })
	if bad {
		return fmt.Errorf("%w: queue name %.100q", ErrInvalid, name)
	}
	return nil
}

// visible reports whether a string has nothing but visible ASCII.
func visible(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

func (m *Message) check() error {
	if err := CheckQueue(m.Queue); err != nil {
		return err
	}
	var why string
	switch {
	case len(m.ID) > MaxIDBytes || !visible(m.ID):
		why = "its id"
	case len(m.Key) > MaxKeyBytes || !utf8.ValidString(m.Key):
		why = "its key"
	case len(m.Kind) > MaxKeyBytes || !utf8.ValidString(m.Kind):
		why = "its kind"
	case len(m.Payload.Type) > MaxKeyBytes || len(m.Payload.Name) > MaxKeyBytes ||
		!utf8.ValidString(m.Payload.Type) || !utf8.ValidString(m.Payload.Name):
		why = "its payload's type"
	case m.Delay < 0 || m.Delay > MaxDelay || m.Delay != 0 && !m.At.IsZero():
		why = "its delay"
	case !m.At.IsZero() && (m.At.Year() < 1970 || m.At.After(time.Now().Add(MaxDelay))):
		why = "its time"
	case len(m.Header) > MaxHeaders:
		why = "the number of its headers"
	default:
		why = checkHeader(m.Header)
	}
	if why != "" {
		return fmt.Errorf("%w: message for queue %q: %s", ErrInvalid, m.Queue, why)
	}
	return nil
}

func checkHeader(header map[string]string) string {
	size := 0
	for name, value := range header {
		size += len(name) + len(value)
		switch {
		case name == "" || len(name) > MaxKeyBytes || !visible(name) || strings.IndexByte(name, ':') >= 0:
			return fmt.Sprintf("the name of header %.100q", name)
		case len(name) >= len(FieldPrefix) && strings.EqualFold(name[:len(FieldPrefix)], FieldPrefix):
			return fmt.Sprintf("header %q, whose name is reserved", name)
		case !utf8.ValidString(value):
			return fmt.Sprintf("header %q, which is not UTF-8", name)
		}
	}
	if size > MaxHeaderBytes {
		return "the size of its headers"
	}
	return ""
}

// cut shortens a text to valid UTF-8 of at most n bytes.
func cut(s string, n int) string {
	if len(s) > n {
		s = s[:n]
	}
	return strings.ToValidUTF8(s, "")
}
