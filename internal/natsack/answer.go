package natsack

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// ErrAnswer is a confirmation that says nothing.
var ErrAnswer = errors.New("natsack: a confirmation that is none")

// check reads an answer to a message that was to be stored.
func check(m *nats.Msg) error {
	switch {
	case bytes.HasPrefix(m.Data, []byte(`{"stream":"`)) && !bytes.Contains(m.Data, []byte(`"error"`)):
		return nil // without being read further
	case len(m.Data) == 0 && m.Header.Get("Status") == "503":
		return nats.ErrNoResponders
	}
	var ack struct {
		Error  *jetstream.APIError `json:"error"`
		Stream string              `json:"stream"`
	}
	switch err := json.Unmarshal(m.Data, &ack); {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrAnswer, err)
	case ack.Error != nil:
		return ack.Error
	case ack.Stream == "":
		return ErrAnswer
	}
	return nil
}

// unique reports whether no other message's answer can be the same: it has the
// sequence of this one.
func unique(answer []byte) bool {
	return bytes.HasPrefix(answer, []byte(`{"stream":"`)) &&
		!bytes.Contains(answer, []byte(`"error"`)) && !bytes.Contains(answer, []byte(`"duplicate"`))
}
