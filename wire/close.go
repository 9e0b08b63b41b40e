package wire

import "strconv"

// CloseCode says why a link ends, and whether to come back: 3000 to 3499 and
// 4000 to 4499 are for reconnecting, 3500 to 3999 and 4500 to 4999 are final,
// but for [CloseStale]. Codes below 3000 are those of RFC 6455 section 7.4.1;
// applications use 4000 to 4999.
type CloseCode uint16

// Close codes after which a client comes back.
const (
	CloseConnectionClosed  CloseCode = 3000 // the connection broke without a word
	CloseShutdown          CloseCode = 3001 // the server is going down
	CloseServerError       CloseCode = 3004 // an internal fault
	CloseExpired           CloseCode = 3005 // the identity's time is over
	CloseSlow              CloseCode = 3008 // slow consumer: the outbox was full
	CloseWriteError        CloseCode = 3009 // a write failed or took too long
	CloseInsufficientState CloseCode = 3010 // a hole in a room's history
	CloseForceReconnect    CloseCode = 3011 // please come back, perhaps elsewhere
	CloseNoPong            CloseCode = 3012 // no answer to a heartbeat
	CloseTooManyRequests   CloseCode = 3013 // over a rate or the limit of open calls
)

// CloseStale is for no opening within the handshake timeout. Its number is of
// the final ones, but a client that meant to open comes back: it, the line or
// the server was only slow.
const CloseStale CloseCode = 3502

// Close codes after which a client stays away.
const (
	CloseUnauthorized    CloseCode = 3500 // credentials missing or not accepted
	CloseBadRequest      CloseCode = 3501 // malformed or against the protocol
	CloseForceDisconnect CloseCode = 3503 // the application ended it
	CloseConnectionLimit CloseCode = 3504 // too many connections
	CloseRoomLimit       CloseCode = 3505 // too many rooms
	CloseProtocol        CloseCode = 3506 // no protocol in common
	CloseForbidden       CloseCode = 3507 // not allowed
)

// Reconnect reports whether a client that was closed with this code should
// come back by itself. An orderly end (1000) and protocol faults (1002, 1003,
// 1007 to 1010) are final, other codes below 3000 are not. See also [CloseStale].
func (c CloseCode) Reconnect() bool {
	switch {
	case c == 1000, c == 1002, c == 1003, c >= 1007 && c <= 1010:
		return false
	case c == CloseStale:
		return true
	case c >= 3500 && c <= 3999, c >= 4500 && c <= 4999:
		return false
	}
	return true
}

// String returns the code in digits.
func (c CloseCode) String() string { return strconv.Itoa(int(c)) }
