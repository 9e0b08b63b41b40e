package transport

import (
	"encoding/binary"
	"strings"
	"unicode/utf8"
)

const maxReasonBytes = 123 // RFC 6455 section 5.5: a control frame has 125

// AppendClosePayload appends the payload of a close frame: the code in two
// bytes and the reason, cut to 123 bytes at the end of a character (RFC 6455
// section 5.5.1). CloseNoStatus, which is never sent, makes an empty payload.
func AppendClosePayload(dst []byte, code uint16, reason string) []byte {
	if code == CloseNoStatus {
		return dst
	}
	reason = strings.ToValidUTF8(reason, "\uFFFD")
	if len(reason) > maxReasonBytes {
		end := maxReasonBytes
		for !utf8.RuneStart(reason[end]) {
			end--
		}
		reason = reason[:end]
	}
	return append(binary.BigEndian.AppendUint16(dst, code), reason...)
}

// ParseClosePayload returns what a close frame from the peer says. When that
// breaks the rules of RFC 6455 sections 5.5.1 and 7.4 the result is Local, and
// has the code to answer with.
func ParseClosePayload(p []byte) *CloseError {
	switch {
	case len(p) == 0:
		return &CloseError{Code: CloseNoStatus}
	case len(p) == 1:
		return &CloseError{Code: CloseProtocolError, Reason: "close frame of one byte", Local: true}
	case len(p) > 2+maxReasonBytes:
		return &CloseError{Code: CloseProtocolError, Reason: "close reason too long", Local: true}
	}
	code, reason := binary.BigEndian.Uint16(p), p[2:]
	if !mayBeSent(code) {
		return &CloseError{Code: CloseProtocolError, Reason: "invalid close code", Local: true}
	}
	if !utf8.Valid(reason) {
		return &CloseError{Code: CloseInvalidPayload, Reason: "close reason is not UTF-8", Local: true}
	}
	return &CloseError{Code: code, Reason: string(reason)}
}

// mayBeSent reports whether a close frame may have the code: RFC 6455 section
// 7.4 and the codes that IANA has registered since.
func mayBeSent(code uint16) bool {
	switch {
	case code < 1000, code >= 5000:
		return false
	case code >= 3000:
		return true
	}
	return code <= 1003 || code >= 1007 && code <= 1014
}
