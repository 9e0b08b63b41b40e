package socketio_test

import (
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/wire"
	"github.com/polywire/polywire/wire/socketio"
	"github.com/polywire/polywire/wire/wiretest"
)

// engineID is that of the sessions here, which version 4 shows.
const engineID = "lv_VI97HAXpY6yYWAAAC"

// end is one end of a link: what its session is.
type end struct {
	version   int
	dialled   bool
	namespace string
	options   []socketio.Option
}

func (e end) session(kinds ...string) wire.Session {
	return socketio.New(e.options...).NewSession(wiretest.NewHost(kinds...), socketio.SessionOptions{
		Version: e.version, Dialled: e.dialled, Namespace: e.namespace, EngineID: engineID,
	})
}

func text(s string) transport.Frame { return transport.Frame{Type: transport.Text, Data: []byte(s)} }

func binary(s string) transport.Frame {
	return transport.Frame{Type: transport.Binary, Data: []byte(s)}
}

// framesOf reads frames as the tables have them: the text, and behind bars the
// attachments in hex.
func framesOf(t testing.TB, wire string) []transport.Frame {
	t.Helper()
	first, rest, more := strings.Cut(wire, " | ")
	frames := []transport.Frame{text(first)}
	for more {
		first, rest, more = strings.Cut(rest, " | ")
		data, err := hex.DecodeString(strings.ReplaceAll(first, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		frames = append(frames, binary(string(data)))
	}
	return frames
}

func wireOf(frames []transport.Frame) string {
	var all []string
	for i, f := range frames {
		if (f.Type == transport.Text) != (i == 0) {
			all = append(all, f.Type.String()+" instead")
		}
		if f.Type == transport.Text {
			all = append(all, string(f.Data))
		} else {
			all = append(all, hex.EncodeToString(f.Data))
		}
	}
	return strings.Join(all, " | ")
}

func json(s string) codec.Payload { return codec.Payload{Type: codec.TypeJSON, Data: []byte(s)} }

func raw(s string) codec.Payload { return codec.Payload{Type: codec.TypeBytes, Data: []byte(s)} }

func pack(s string) codec.Payload { return codec.Payload{Type: codec.TypeMsgpack, Data: []byte(s)} }

func parts(text string, attachments ...string) codec.Payload {
	var all [][]byte
	for _, a := range attachments {
		all = append(all, []byte(a))
	}
	return codec.Payload{Type: codec.TypeParts, Data: codec.AppendParts(nil, []byte(text), all...)}
}

// wantEnd checks that an error ends the link as the wire prescribes.
func wantEnd(t testing.TB, err error, reason string) {
	t.Helper()
	var violation *wire.ProtocolError
	if !errors.As(err, &violation) {
		t.Errorf("%v is not a *wire.ProtocolError", err)
		return
	}
	if violation.Code != wire.CloseBadRequest || violation.Reason != reason || violation.Err == nil {
		t.Errorf("code %d, reason %q, want %q; cause %v", violation.Code, violation.Reason, reason, violation.Err)
	}
}
