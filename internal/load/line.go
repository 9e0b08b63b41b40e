package load

import (
	"errors"
	"fmt"
	"net"

	"github.com/polywire/polywire/transport"
)

// line is a link in its opening, where frames are awaited one by one.
type line struct {
	nc   net.Conn
	fr   framing
	w    wire
	rest []byte // has come and was not looked at
}

// send writes frames with these contents, together.
func (l *line) send(t transport.FrameType, contents ...[]byte) error {
	var b []byte
	for _, content := range contents {
		start := len(b)
		b = l.fr.end(append(l.fr.begin(b), content...), start, t)
	}
	_, err := l.nc.Write(b)
	return err
}

// receive waits for the next frame that is no heartbeat, and answers those.
func (l *line) receive() (transport.Frame, error) {
	for {
		f, n, err := l.fr.next(l.rest)
		if err != nil {
			return f, err
		}
		if n == 0 {
			if l.rest, err = readMore(l.nc, l.rest); err != nil {
				return f, err
			}
			continue
		}
		l.rest = l.rest[n:]
		switch {
		case f.Type == transport.Close:
			return f, closedBy(f)
		case f.Type == transport.Ping:
			err = l.send(transport.Pong, f.Data)
		case f.Type.Control():
		default:
			if class, _ := l.w.classify(f); class != heartbeat {
				return f, nil
			}
			err = l.send(l.w.frameType(), l.w.appendPong(nil, f.Data))
		}
		if err != nil {
			return f, err
		}
	}
}

func closedBy(f transport.Frame) error { return fmt.Errorf("closed by the server: %q", f.Data) }

// greet says which protocol will be spoken, and waits for the server to agree.
func (l *line) greet(name string) error {
	if err := l.send(transport.Text, []byte(name)); err != nil {
		return err
	}
	f, err := l.receive()
	if err != nil {
		return err
	}
	if f.Type != transport.Text || string(f.Data) != name {
		return fmt.Errorf("the server answered %s %q", f.Type, f.Data)
	}
	return nil
}

// speak says hello, if the wire has one, makes a request and waits for its answer.
func (l *line) speak() error {
	var contents [][]byte
	if hello := l.w.hello(); hello != nil {
		contents = append(contents, hello)
	}
	if err := l.send(l.w.frameType(), append(contents, l.w.appendRequest(nil, 1))...); err != nil {
		return err
	}
	for {
		f, err := l.receive()
		if err != nil {
			return err
		}
		switch class, id := l.w.classify(f); {
		case class == failure:
			return failed(f)
		case class == answer && id > 1:
			return errUnasked
		case class == answer:
			return nil
		}
	}
}

func failed(f transport.Frame) error {
	return fmt.Errorf("the server answered with an error: %s", readable(f.Data))
}

var errUnasked = errors.New("an answer to a request that was not made")
