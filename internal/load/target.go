package load

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // RFC 6455 section 4.2.2 asks for it
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// target is where the server is, as addresses.
type target struct {
	network string // tcp or unix
	address string
	host    string // as in the URL
	path    string // of the WebSocket
	stream  bool   // no WebSocket
	sources bool   // use several source addresses
}

// resolve finds the server's address. One that is not on the loopback
// interface is an error, unless remote ones are allowed.
func resolve(ctx context.Context, u *url.URL, remote bool) (target, error) {
	t := target{network: "tcp", host: u.Host, path: u.RequestURI(), stream: true}
	if u.Path == "" && u.RawQuery == "" {
		t.path = ""
	}
	switch strings.TrimPrefix(u.Scheme, "drs+") {
	case "unix":
		t.network, t.address = "unix", u.Path
		return t, nil
	case "ws", "http":
		t.stream = false
	case "tcp":
	default:
		return t, fmt.Errorf("load: URL scheme %q is not ws, http, tcp or unix", u.Scheme)
	}
	port := u.Port()
	if port == "" {
		if t.stream {
			return t, errors.New("load: the URL has no port")
		}
		port = "80"
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", u.Hostname())
	if err != nil {
		return t, fmt.Errorf("load: %w", err)
	}
	ip, err := choose(addrs, remote)
	if err != nil {
		return t, fmt.Errorf("load: %s: %w", u.Hostname(), err)
	}
	t.address = net.JoinHostPort(ip.String(), port)
	t.sources = runtime.GOOS == "linux" && ip.Is4() && ip.IsLoopback()
	return t, nil
}

var errRemote = errors.New("not a loopback address, and AllowRemote is not set")

// choose prefers IPv4, where a server on "localhost" usually is.
func choose(addrs []netip.Addr, remote bool) (best netip.Addr, err error) {
	for _, a := range addrs {
		a = a.Unmap()
		if !a.IsLoopback() && !remote {
			return best, errRemote
		}
		if !best.IsValid() || (a.Is4() && !best.Is4()) {
			best = a
		}
	}
	return best, nil
}

// source is the address to dial from. Linux has all of 127.0.0.0/8: with
// addresses of this process's own, neither the number of ports nor those that
// an earlier run left in TIME_WAIT bound the number of connections.
func (t target) source(i int) net.Addr {
	if !t.sources {
		return nil
	}
	pid := os.Getpid()
	return &net.TCPAddr{IP: net.IPv4(127, byte(1+pid%250), byte(1+pid/250%250), byte(1+i/portsPerAddress))}
}

// socket is a connection of the system's: all that net.Dialer makes are.
type socket interface {
	net.Conn
	syscall.Conn
}

// connect opens the connection for i.
func (t target) connect(ctx context.Context, i int) (socket, error) {
	d := net.Dialer{LocalAddr: t.source(i), KeepAlive: -1}
	dialled, err := d.DialContext(ctx, t.network, t.address)
	if err != nil {
		return nil, err
	}
	nc, ok := dialled.(socket)
	if !ok {
		return nil, errors.Join(fmt.Errorf("a %T gives no access to its socket", dialled), dialled.Close())
	}
	return nc, nil
}

// within does the opening of connections, for as long as ctx lives, and closes
// them when it fails.
func within(ctx context.Context, open func() error, links ...socket) error {
	stop := context.AfterFunc(ctx, func() {
		for _, nc := range links {
			_ = nc.SetDeadline(time.Unix(1, 0))
		}
	})
	err := open()
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err == nil {
		return nil
	}
	for _, nc := range links {
		_ = nc.Close()
	}
	return fmt.Errorf("opening: %w", err)
}

// dial opens connection i and does the opening of its wire; with speak it also
// says hello and has a request answered. early is what the server sent after that.
func (t target) dial(ctx context.Context, i int, w wire, fr framing, speak bool) (_ socket, early []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	nc, err := t.connect(ctx, i)
	if err != nil {
		return nil, nil, err
	}
	l := line{nc: nc, fr: fr, w: w}
	err = within(ctx, func() (err error) {
		switch name := w.subprotocol(); {
		case !t.stream:
			l.rest, err = t.upgrade(nc, name)
		case name != "":
			err = l.greet(name)
		}
		if err == nil {
			err = w.open(&l)
		}
		if err == nil && speak {
			err = l.speak()
		}
		return err
	}, nc)
	return nc, l.rest, err
}

// upgrade makes a WebSocket of the connection: RFC 6455 section 4.
func (t target) upgrade(nc net.Conn, subprotocol string) (early []byte, err error) {
	var nonce [16]byte
	_, _ = rand.Read(nonce[:]) // never fails
	key := base64.StdEncoding.EncodeToString(nonce[:])
	req := fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n", t.path, t.host, key)
	if subprotocol != "" {
		req = fmt.Appendf(req, "Sec-WebSocket-Protocol: %s\r\n", subprotocol)
	}
	if _, err := nc.Write(append(req, "\r\n"...)); err != nil {
		return nil, err
	}
	var b []byte
	end := -1
	for end < 0 {
		if len(b) > handshakeMaxBytes {
			return nil, errors.New("the server's HTTP header is too long")
		}
		if b, err = readMore(nc, b); err != nil {
			return nil, err
		}
		end = bytes.Index(b, []byte("\r\n\r\n"))
	}
	end += len("\r\n\r\n")
	return b[end:], checkUpgrade(b[:end], key, subprotocol)
}

func checkUpgrade(header []byte, key, subprotocol string) error {
	res, err := http.ReadResponse(bufio.NewReaderSize(bytes.NewReader(header), 512), nil)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()                               // a 101 has none
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // as above
	switch {
	case res.StatusCode != http.StatusSwitchingProtocols:
		return fmt.Errorf("the server answered %s", res.Status)
	case res.Header.Get("Sec-WebSocket-Accept") != base64.StdEncoding.EncodeToString(sum[:]):
		return errors.New("the server's Sec-WebSocket-Accept is wrong")
	case res.Header.Get("Sec-WebSocket-Protocol") != subprotocol:
		return fmt.Errorf("the server chose subprotocol %q, not %q", res.Header.Get("Sec-WebSocket-Protocol"), subprotocol)
	case res.Header.Get("Sec-WebSocket-Extensions") != "":
		return errors.New("the server chose an extension that was not offered")
	}
	return nil
}

func readMore(nc net.Conn, b []byte) ([]byte, error) {
	var chunk [1024]byte
	n, err := nc.Read(chunk[:])
	if n == 0 && errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return append(b, chunk[:n]...), err
}
