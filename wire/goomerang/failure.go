package goomerang

import (
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/internal/content"
	"github.com/polywire/polywire/wire"
)

// A failed call is answered with an ordinary reply whose message is that of the
// native wire, polywire.v1.Error: a client that registers it sees what went
// wrong, and any other ignores it, as it does a kind that it does not know.
const failureKind = "polywire.v1.Error"

// Field numbers of polywire.v1.Error, and of polywire.v1.Argument, which its
// details are.
const (
	fieldCode    = 1
	fieldText    = 2
	fieldDetails = 3

	fieldData        = 1
	fieldContent     = 2
	fieldContentType = 3
)

// valid is s as protobuf can say it: an error is too good to be lost for a byte.
func valid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// appendFailure appends a polywire.v1.Error.
func appendFailure(dst []byte, e *wire.ErrorBody) []byte {
	dst = appendText(dst, fieldCode, valid(e.Code))
	dst = appendText(dst, fieldText, valid(e.Message))
	if e.Details.Empty() {
		return dst
	}
	var details []byte
	if len(e.Details.Data) > 0 {
		details = protowire.AppendBytes(protowire.AppendTag(details, fieldData, protowire.BytesType), e.Details.Data)
	}
	number := content.Of(e.Details)
	details = protowire.AppendVarint(protowire.AppendTag(details, fieldContent, protowire.VarintType), number)
	if number == content.Other {
		details = appendText(details, fieldContentType, valid(e.Details.Type))
	}
	return protowire.AppendBytes(protowire.AppendTag(dst, fieldDetails, protowire.BytesType), details)
}

// readFailure reads a polywire.v1.Error.
func readFailure(data []byte) (*wire.ErrorBody, error) {
	var code, text, details []byte
	for r := fields(data); len(r) > 0; {
		num, t, err := r.tag()
		if err != nil {
			return nil, err
		}
		switch num {
		case fieldCode:
			err = r.text(t, &code)
		case fieldText:
			err = r.text(t, &text)
		case fieldDetails:
			err = r.bytes(t, &details)
		default:
			err = r.skip(num, t)
		}
		if err != nil {
			return nil, inField(num, err)
		}
	}
	e := &wire.ErrorBody{Code: string(code), Message: string(text)}
	var err error
	e.Details, err = readDetails(details)
	return e, err
}

// readDetails reads a polywire.v1.Argument. The data stays in place.
func readDetails(data []byte) (p codec.Payload, err error) {
	var number uint64
	var contentType, payload []byte
	for r := fields(data); len(r) > 0; {
		num, t, err := r.tag()
		if err != nil {
			return p, err
		}
		switch num {
		case fieldData:
			err = r.bytes(t, &payload)
		case fieldContent:
			err = r.varint(t, &number)
		case fieldContentType:
			err = r.text(t, &contentType)
		default:
			err = r.skip(num, t)
		}
		if err != nil {
			return p, inField(num, err)
		}
	}
	p, _ = content.Payload(number, contentType, payload) // what nobody knows is bytes
	return p, nil
}
