package transport

import (
	"encoding/binary"
	"unicode/utf8"
)

// maxReasonBytes is what a control frame of 125 bytes leaves beside the code.
const maxReasonBytes = 123

// AppendClosePayload appends the payload of a close frame (RFC 6455 section
// 5.5.1). The reason is cut to 123 bytes of valid UTF-8; [CloseNoStatus] and
// zero make an empty payload.
func AppendClosePayload(dst []byte, code uint16, reason string) []byte {
	if code == 0 || code == CloseNoStatus {
		return dst
	}
	dst = binary.BigEndian.AppendUint16(dst, code)
	n := 0
	for n < len(reason) {
		r, size := utf8.DecodeRuneInString(reason[n:])
		if r == utf8.RuneError && size == 1 || n+size > maxReasonBytes {
			break
		}
		n += size
	}
	return append(dst, reason[:n]...)
}

// ParseClosePayload returns what the payload of a close frame says: the peer's
// code and reason, or a Local error when it is not a valid one.
func ParseClosePayload(payload []byte) *CloseError {
	switch {
	case len(payload) == 0:
		return &CloseError{Code: CloseNoStatus}
	case len(payload) == 1:
		return &CloseError{Code: CloseProtocolError, Reason: "close frame of one byte", Local: true}
	}
	code, reason := binary.BigEndian.Uint16(payload), payload[2:]
	switch {
	case !validCloseCode(code):
		return &CloseError{Code: CloseProtocolError, Reason: "invalid close code", Local: true}
	case !utf8.Valid(reason):
		return &CloseError{Code: CloseInvalidPayload, Reason: "close reason is not UTF-8", Local: true}
	}
	return &CloseError{Code: code, Reason: string(reason)}
}

// validCloseCode reports whether a code may be in a close frame: RFC 6455
// section 7.4.2 and the IANA registry, which has 1012 to 1014 beside the RFC's.
func validCloseCode(code uint16) bool {
	switch {
	case code >= 1000 && code <= 1003, code >= 1007 && code <= 1014:
		return true
	}
	return code >= 3000 && code <= 4999
}
