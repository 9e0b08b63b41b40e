package websocket

import (
	"crypto/sha1" //nolint:gosec // RFC 6455 wants it, and not for security
	"encoding/base64"
	"strings"
	"time"
)

// DefaultHandshakeTimeout bounds the opening handshake on both sides where
// nothing else is said.
const DefaultHandshakeTimeout = 5 * time.Second

// guid is what RFC 6455 section 1.3 has the server append to the key.
const guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// version is the only one that RFC 6455 section 4.1 knows.
const version = "13"

// acceptKey answers a Sec-WebSocket-Key (RFC 6455 section 4.2.2).
func acceptKey(key string) string {
	sum := sha1.Sum([]byte(key + guid)) //nolint:gosec // the same
	return base64.StdEncoding.EncodeToString(sum[:])
}

// reservedHeader are the headers that the handshake itself writes.
func reservedHeader() map[string]bool {
	return map[string]bool{
		"Upgrade": true, "Connection": true, "Sec-Websocket-Accept": true, "Sec-Websocket-Key": true,
		"Sec-Websocket-Version": true, "Sec-Websocket-Protocol": true, "Sec-Websocket-Extensions": true,
		"Content-Length": true, "Transfer-Encoding": true, "Host": true,
	}
}

// isToken reports whether s is a token of RFC 9110 section 5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}

// timeoutOr returns d, or the default when that is not positive.
func timeoutOr(d time.Duration) time.Duration {
	if d <= 0 {
		return DefaultHandshakeTimeout
	}
	return d
}
