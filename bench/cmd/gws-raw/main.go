// Command gws-raw is the measure that others are compared with: an echo and
// broadcast server of bare WebSocket messages on github.com/lxzan/gws, with no
// message language on top. A message that begins with 'B' goes to everybody,
// any other comes back.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/lxzan/gws"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:9001", "`address` to listen on")
	flag.Parse()
	ln, err := net.Listen("tcp", *listen)
	if err == nil {
		err = serve(ln, os.Stdout)
	}
	fmt.Fprintln(os.Stderr, "gws-raw:", err)
	os.Exit(1)
}

// serve says where it listens, and serves until ln is closed.
func serve(ln net.Listener, out io.Writer) error {
	if _, err := fmt.Fprintf(out, "listening on ws://%s/\n", ln.Addr()); err != nil {
		return errors.Join(err, ln.Close())
	}
	// gws's defaults are its fastest settings for this work: no compression,
	// no checks of UTF-8, messages of a connection handled one by one on the
	// goroutine that reads them.
	r := &room{members: map[*gws.Conn]struct{}{}}
	up := gws.NewUpgrader(r, &gws.ServerOption{})
	srv := http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		conn, err := up.Upgrade(w, req)
		if err != nil {
			return // the client has been told
		}
		go conn.ReadLoop() // on a fresh stack: the one of net/http has grown
	})}
	return srv.Serve(ln)
}

// room is everybody.
type room struct {
	gws.BuiltinEventHandler

	mu      sync.RWMutex
	members map[*gws.Conn]struct{}
}

// OnOpen lets a connection in.
func (r *room) OnOpen(conn *gws.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.members[conn] = struct{}{}
}

// OnClose lets it go.
func (r *room) OnClose(conn *gws.Conn, _ error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.members, conn)
}

// OnMessage answers. Failed writes are not looked at: they end in OnClose.
func (r *room) OnMessage(conn *gws.Conn, m *gws.Message) {
	data := m.Bytes()
	if len(data) > 0 && data[0] == 'B' {
		r.broadcast(m.Opcode, append([]byte(nil), data...))
	} else {
		_ = conn.WriteMessage(m.Opcode, data)
	}
	_ = m.Close() // gives the buffer back
}

// broadcast encodes once and queues for each, as gws recommends.
func (r *room) broadcast(op gws.Opcode, data []byte) {
	b := gws.NewBroadcaster(op, data)
	r.mu.RLock()
	for conn := range r.members {
		_ = b.Broadcast(conn)
	}
	r.mu.RUnlock()
	_ = b.Close()
}
