package queuecmd

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/polywire/polywire/cmd/polywire/internal/cli"
	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/queue"
)

// Shown is a message of a queue as JSON.
type Shown struct {
	Queue       string            `json:"queue"`
	ID          string            `json:"id"`
	Kind        string            `json:"kind,omitempty"`
	Key         string            `json:"key,omitempty"`
	Headers     map[string]string `json:"headers,omitempty"`
	ContentType string            `json:"contentType,omitempty"` // of what was published
	Payload     json.RawMessage   `json:"payload,omitempty"`     // what is no JSON is translated, or Base64
	Published   *time.Time        `json:"published,omitempty"`
	At          *time.Time        `json:"at,omitempty"`
	Attempts    int               `json:"attempts,omitempty"`
	LastError   string            `json:"lastError,omitempty"`

	// Of a dead letter.
	Reason queue.Reason `json:"reason,omitempty"`
	Died   *time.Time   `json:"died,omitempty"`
	Stack  string       `json:"stack,omitempty"`
}

func show(e *queue.Envelope) (Shown, error) {
	s := Shown{
		Queue: e.Queue, ID: e.ID, Kind: e.Kind, Key: e.Key, Headers: e.Header, ContentType: e.Payload.Type,
		Published: known(e.Published), At: known(e.At), Attempts: e.Attempts, LastError: e.LastError,
	}
	p := e.Payload
	if p.Type == "" && json.Valid(p.Data) { // of a program without package queue
		p.Type = codec.TypeJSON
	}
	if p.Empty() {
		return s, nil
	}
	if p.Type == codec.TypeJSON && !json.Valid(p.Data) { // nor is everything what it says
		p.Type = codec.TypeBytes
	}
	text, err := cli.PayloadJSON(p)
	if err != nil {
		return s, err
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, text); err != nil {
		return s, fmt.Errorf("message %s: %w", e.ID, err)
	}
	s.Payload = compact.Bytes()
	return s, nil
}

func showDead(d *queue.Dead) (Shown, error) {
	s, err := show(&d.Envelope)
	s.Reason, s.Died, s.Stack = d.Reason, known(d.Died), d.Stack
	return s, err
}

func known(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// line is a message for people: when, id, kind, what is special, payload.
func (s *Shown) line() string {
	when := s.Published
	if s.Died != nil {
		when = s.Died
	}
	words := []string{"-", visible(s.ID), "-"}
	if when != nil {
		words[0] = when.Local().Format(time.DateTime)
	}
	if s.Kind != "" {
		words[2] = visible(s.Kind)
	}
	if s.Key != "" {
		words = append(words, "key="+visible(s.Key))
	}
	if s.At != nil {
		words = append(words, "at="+s.At.Local().Format(time.RFC3339))
	}
	if s.Reason != "" {
		words = append(words, string(s.Reason))
	}
	if s.Attempts > 0 {
		words = append(words, fmt.Sprintf("attempts=%d", s.Attempts), "error="+strconv.Quote(s.LastError))
	}
	return strings.Join(append(words, visible(string(s.Payload))), " ")
}

// details is a message for people, at length.
func (s *Shown) details(w io.Writer) error {
	var b strings.Builder
	field := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%-10s %s\n", name, visible(value))
		}
	}
	moment := func(name string, t *time.Time) {
		if t != nil {
			field(name, t.Local().Format(time.RFC3339Nano))
		}
	}
	field("queue", s.Queue)
	field("id", s.ID)
	field("kind", s.Kind)
	field("key", s.Key)
	moment("published", s.Published)
	moment("died", s.Died)
	field("reason", string(s.Reason))
	field("attempts", strconv.Itoa(s.Attempts))
	field("error", s.LastError)
	for name, value := range s.Headers {
		field("header", name+"="+value)
	}
	field("type", s.ContentType)
	field("payload", string(s.Payload))
	if s.Stack != "" {
		b.WriteString("stack\n")
		for line := range strings.Lines(s.Stack) {
			b.WriteString("  " + visible(strings.ReplaceAll(strings.TrimSuffix(line, "\n"), "\t", "    ")) + "\n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// visible writes what could move a terminal's cursor as JSON would.
func visible(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r > 0xffff:
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// print writes a message as a line.
func (f *brokerFlags) print(w io.Writer, s *Shown) error {
	if f.json {
		return cli.JSONLine(w, s)
	}
	_, err := fmt.Fprintln(w, s.line())
	return err
}
