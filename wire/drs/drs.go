// Package drs is the wire of DRS: commands {key, action, body} over TCP, TLS,
// unix sockets and WebSockets, as JSON or as MessagePack. Its Fire is a message,
// its Call a call, its On a handler; both sides are alike.
// docs/wire-drs.md has the mapping word by word.
//
// Every command that is not an answer is answered, since its receiver cannot
// tell whether the sender waits. Answers to what was only fired are dropped.
//
// # Heartbeats
//
// On a stream there is nothing beside commands. A quiet peer is asked the
// time (drs.ping) as any DRS peer may be, and whatever it answers, drs.exception
// included, shows that it lives. On WebSockets there are pings for that.
//
// # The end
//
// A stream ends without a word: codes and reasons of closing are not told, and
// clients come back until they are closed themselves, as DRS clients do.
package drs

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/polywire/polywire/transport/values"
	"github.com/polywire/polywire/wire"
)

// DefaultPath is the HTTP path of the WebSocket door.
const DefaultPath = "/socket"

// Encoding is how commands are written. Both sides must use the same one.
type Encoding uint8

// The encodings.
const (
	// JSON is what DRS peers use unless told otherwise.
	JSON Encoding = iota + 1
	// Msgpack says the same commands in MessagePack. The application's codecs
	// need it.
	Msgpack
)

// String returns the encoding's name in lower case.
func (e Encoding) String() string {
	switch e {
	case JSON:
		return "json"
	case Msgpack:
		return "msgpack"
	}
	return fmt.Sprintf("encoding %d", uint8(e))
}

// Protocol is the wire. It implements [wire.Protocol] and [wire.Dialer];
// methods may be called from many goroutines at once.
type Protocol struct {
	name        string
	path        string
	encoding    Encoding
	roomActions bool
	keys        keys
	syntax      values.Syntax
}

var (
	_ wire.Protocol = (*Protocol)(nil)
	_ wire.Dialer   = (*Protocol)(nil)
)

// Option changes what [New] makes.
type Option func(*Protocol)

// New returns the wire. The keys of the commands that it sends begin with the
// present time and a random number.
func New(o ...Option) *Protocol {
	var random [4]byte
	_, _ = rand.Read(random[:]) // never fails
	p := &Protocol{path: DefaultPath, encoding: JSON}
	p.keys.prefix = strconv.FormatInt(time.Now().UnixMilli(), 16) + hex.EncodeToString(random[:])
	for _, option := range o {
		option(p)
	}
	ping := saying{key: heartbeatKey, action: actionPing}
	var b []byte
	if p.encoding == Msgpack {
		p.name, p.syntax = "drs-msgpack", values.Msgpack()
		b, _ = appendMsgpack(nil, &ping, &p.keys) // has no body that could be wrong
	} else {
		p.name, p.syntax = "drs", values.JSON()
		b, _ = appendJSON(nil, &ping, &p.keys)
	}
	p.syntax.Name, p.syntax.Ping = p.name, string(b)
	return p
}

// WithPath sets the HTTP path of the WebSocket door, and of URLs that are
// dialled without one; [DefaultPath] otherwise. It begins with a slash.
func WithPath(path string) Option { return func(p *Protocol) { p.path = path } }

// WithEncoding sets how commands are written, [JSON] otherwise. A server may
// have a Protocol for each encoding, with paths of their own: that of [Msgpack]
// is called drs-msgpack, also in the URLs of listeners and of servers to dial.
func WithEncoding(e Encoding) Option { return func(p *Protocol) { p.encoding = e } }

// WithKeys sets what the keys of sent commands begin with, before a running
// number. It must differ from run to run, and be greater in a later one, where
// that is to hold for keys.
func WithKeys(prefix string) Option { return func(p *Protocol) { p.keys.prefix = prefix } }

// WithRoomActions lets clients that know how use rooms by themselves, where the
// server's policies allow it:
//
//	drs.subscribe {room}           drs.unsubscribe {room}
//	drs.publish {room, action, body}   drs.broadcast {action, body}
//
// Polywire's own clients do. Without the option these are actions like others.
func WithRoomActions() Option { return func(p *Protocol) { p.roomActions = true } }

// Check returns what is wrong with the options, nil if nothing is.
func (p *Protocol) Check() error {
	if p.encoding != JSON && p.encoding != Msgpack {
		return fmt.Errorf("drs: there is no %s", p.encoding)
	}
	if !utf8.ValidString(p.keys.prefix) {
		return fmt.Errorf("drs: keys begin with %q: %w", p.keys.prefix, errNotUTF8)
	}
	return nil
}

// Name returns "drs", or "drs-msgpack" where commands are MessagePack.
func (p *Protocol) Name() string { return p.name }

// keys makes the keys of sent commands: they ascend, and say which call they
// are of, so that nobody needs to remember them.
type keys struct {
	prefix string
	count  atomic.Uint64
}

const (
	heartbeatKey = "heartbeat" // of no call, so that its answer is dropped
	countDigits  = 12
)

// next appends a new key. id is the call's number; 0: nobody waits.
func (k *keys) next(dst []byte, id uint64) []byte {
	var digits [16]byte
	n := strconv.AppendUint(digits[:0], k.count.Add(1), 16)
	dst = append(append(dst, k.prefix...), '-')
	for range countDigits - len(n) {
		dst = append(dst, '0')
	}
	dst = append(dst, n...)
	if id != 0 {
		dst = strconv.AppendUint(append(dst, '-'), id, 16)
	}
	return dst
}

// call returns the number of the call whose key this is, zero if it is no call's.
func (k *keys) call(key []byte) uint64 {
	n := len(k.prefix)
	if len(key) < n+countDigits+3 || string(key[:n]) != k.prefix || key[n] != '-' {
		return 0
	}
	rest := key[n+1:]
	for i, c := range rest {
		if c == '-' && i >= countDigits {
			return hexNumber(rest[i+1:])
		}
	}
	return 0
}

// hexNumber reads lower case digits, zero when there is anything else or too much.
func hexNumber(b []byte) (n uint64) {
	if len(b) == 0 || len(b) > 16 {
		return 0
	}
	for _, c := range b {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		default:
			return 0
		}
		n = n<<4 | uint64(c)
	}
	return n
}
