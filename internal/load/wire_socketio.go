package load

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/polywire/polywire/internal/jsonscan"
	"github.com/polywire/polywire/transport"
)

// socketIOWire speaks Socket.IO 5 in text packets of Engine.IO 4.
type socketIOWire struct {
	transport string // websocket or polling
	payload   []byte // as a JSON string
	news      bool   // Broadcast
	tail      []byte // a request after the id
}

// What packets begin with: the type of Engine.IO, and for messages (4) that of
// Socket.IO after it.
const (
	engineOpen    = '0'
	enginePing    = '2'
	enginePong    = '3'
	engineMessage = '4'
	engineNoop    = '6'

	socketDisconnect   = '1'
	socketAck          = '3'
	socketConnectError = '4'

	connectPacket = "40"
	newsPacket    = `2["news",`
)

func newSocketIOWire(transport string, m Mode, payload []byte) *socketIOWire {
	w := &socketIOWire{transport: transport, payload: jsonscan.AppendString(nil, payload), news: m == Broadcast}
	kind := "echo"
	if w.news {
		kind = "broadcast"
	}
	w.tail = fmt.Appendf(nil, `["%s",%s]`, kind, w.payload)
	return w
}

func (*socketIOWire) subprotocol() string            { return "" }
func (*socketIOWire) stream(int) framing             { return nil }
func (*socketIOWire) frameType() transport.FrameType { return transport.Text }
func (*socketIOWire) hello() []byte                  { return nil } // connect is one
func (w *socketIOWire) body() []byte                 { return w.payload }

// path takes a URL's bare address for one of the default path.
func (w *socketIOWire) path(given string) string {
	if given == "" || given == "/" {
		given = "/socket.io/"
	}
	if !strings.Contains(given, "?") {
		given += "?EIO=4&transport=" + w.transport
	}
	return given
}

func (w *socketIOWire) appendRequest(dst []byte, id uint64) []byte {
	dst = append(dst, "42"...)
	if !w.news {
		dst = strconv.AppendUint(dst, id, 10)
	}
	return append(dst, w.tail...)
}

func (*socketIOWire) appendPong(dst, ping []byte) []byte {
	return append(append(dst, enginePong), ping[1:]...)
}

// open waits for the session, and joins the main namespace.
func (w *socketIOWire) open(l *line) error {
	f, err := l.receive()
	if err != nil {
		return err
	}
	if f.Type != transport.Text || !bytes.HasPrefix(f.Data, []byte{engineOpen, '{'}) {
		return fmt.Errorf("%s in place of an open packet: %s", f.Type, readable(f.Data))
	}
	if err := l.send(transport.Text, []byte(connectPacket)); err != nil {
		return err
	}
	if f, err = l.receive(); err != nil {
		return err
	}
	return checkConnected(f.Data)
}

// checkConnected looks at the answer to a CONNECT packet.
func checkConnected(packet []byte) error {
	if !bytes.HasPrefix(packet, []byte(connectPacket+"{")) {
		return fmt.Errorf("the server did not accept the namespace: %s", readable(packet))
	}
	return nil
}

func (w *socketIOWire) classify(f transport.Frame) (class, uint64) {
	if f.Type != transport.Text || len(f.Data) == 0 {
		return failure, 0
	}
	switch f.Data[0] {
	case engineMessage:
		return w.message(f.Data[1:])
	case enginePing:
		return heartbeat, 0
	case engineNoop:
		return unrelated, 0
	}
	return failure, 0
}

// message says what a packet of Socket.IO is to a run.
func (w *socketIOWire) message(b []byte) (class, uint64) {
	switch {
	case len(b) == 0, b[0] == socketDisconnect, b[0] == socketConnectError:
		return failure, 0
	case b[0] == socketAck && !w.news:
		id, data := leadingUint(b[1:])
		if id == 0 || len(data) != len(w.payload)+2 || data[0] != '[' {
			return failure, 0
		}
		return answer, id
	case w.news && len(b) == len(newsPacket)+len(w.payload)+1 && string(b[:len(newsPacket)]) == newsPacket:
		return answer, 0
	}
	return unrelated, 0
}

// leadingUint reads the digits at the beginning: 0 when there are none, or too many.
func leadingUint(b []byte) (n uint64, rest []byte) {
	for len(b) > 0 && b[0] >= '0' && b[0] <= '9' {
		if n > math.MaxUint64/10-1 {
			return 0, b
		}
		n, b = n*10+uint64(b[0]-'0'), b[1:]
	}
	return n, b
}
