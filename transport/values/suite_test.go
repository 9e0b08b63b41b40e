package values_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"testing"
	"unicode/utf8"

	"github.com/polywire/polywire/internal/conntest"
	"github.com/polywire/polywire/internal/msgscan"
	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/transport/transporttest"
	"github.com/polywire/polywire/transport/values"
)

// The suite sends messages of two types with any content, which are put into
// values here: {"t":1,"d":"base64"} in JSON, and in MessagePack an array of the
// bytes and the type, where the bytes stay in place.

type boxed struct {
	*values.Conn

	unbox func(data []byte) (transport.Frame, error)
	box   func(dst, payload []byte, t transport.FrameType) []byte
	typ   transport.FrameType
	limit int
}

func (c boxed) Next() (transport.Frame, bool, error) {
	f, ok, err := c.Conn.Next()
	if !ok || err != nil {
		return f, ok, err
	}
	f, err = c.unbox(f.Data)
	return f, err == nil, err
}

func (c boxed) Framer() transport.Framer { return boxFramer{c.Conn.Framer(), c} }

type boxFramer struct {
	transport.Framer

	c boxed
}

func (f boxFramer) End(dst []byte, start int, t transport.FrameType) ([]byte, error) {
	payload := append([]byte(nil), dst[start:]...)
	switch {
	case len(payload) > f.c.limit:
		return dst, errors.New("too long")
	case t == transport.Text && !utf8.Valid(payload):
		return dst, errors.New("not UTF-8")
	}
	return f.Framer.End(f.c.box(dst[:start], payload, t), start, f.c.typ)
}

type jsonBox struct {
	T transport.FrameType `json:"t"`
	D []byte              `json:"d"`
}

func boxJSON(dst, payload []byte, t transport.FrameType) []byte {
	dst = fmt.Appendf(dst, `{"t":%d,"d":"`, t)
	return append(base64.StdEncoding.AppendEncode(dst, payload), `"}`...)
}

func unboxJSON(data []byte) (transport.Frame, error) {
	var b jsonBox
	err := json.Unmarshal(data, &b)
	return transport.Frame{Type: b.T, Data: b.D}, err
}

func boxMsgpack(dst, payload []byte, t transport.FrameType) []byte {
	return append(msgscan.AppendBin(msgscan.AppendArrayHeader(dst, 2), payload), byte(t))
}

func unboxMsgpack(data []byte) (transport.Frame, error) {
	r := msgscan.Reader{Data: data, Pos: 1}
	value, err := r.Value()
	if err != nil {
		return transport.Frame{}, err
	}
	payload, _ := msgscan.Bytes(value, msgscan.Bin)
	return transport.Frame{Type: transport.FrameType(data[len(data)-1]), Data: payload}, nil
}

func TestConformance(t *testing.T) {
	lines, text, binary := values.JSON(), values.JSON(), values.Msgpack()
	text.Separator = "" // a frame without its last byte is whole otherwise
	for _, row := range []struct {
		name    string
		syntax  *values.Syntax
		network string
		limit   int
	}{
		{"JSON", &text, "tcp", 200},
		{"JSON", &text, "unix", 1 << 20},
		{"JSON", &text, "tls", 1 << 20},
		{"JSON lines", &lines, "tcp", 1 << 20},
		{"MessagePack", &binary, "tcp", 1 << 20},
		{"MessagePack", &binary, "unix", 200},
	} {
		t.Run(row.name+"/"+row.network, func(t *testing.T) {
			open := func(t *testing.T) (a, b transport.Conn) {
				client, server := conntest.Dial(t, row.network)
				box := func(nc net.Conn) transport.Conn {
					inner := values.New(nc, row.syntax, values.Options{MaxMessageBytes: 2*row.limit + 64})
					if row.syntax == &binary {
						return boxed{inner, unboxMsgpack, boxMsgpack, transport.Binary, row.limit}
					}
					return boxed{inner, unboxJSON, boxJSON, transport.Text, row.limit}
				}
				return box(client), box(server)
			}
			transporttest.Run(t, transporttest.Features{
				MaxMessageBytes: row.limit, SharedFormat: true, NoControl: true, NoCloseFrame: true,
				WholeFrames: row.syntax != &text, // a part of MessagePack may end like a close frame
			}, open)
		})
	}
}
