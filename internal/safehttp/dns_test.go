package safehttp

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
)

// names is a DNS server in memory: each answer for a name is the next of its
// lists, the last one again and again.
type names struct {
	mu      sync.Mutex
	answers map[string][][]netip.Addr
}

func (n *names) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go n.serve(theirs)
		return ours, nil
	}}
}

// serve answers questions as over TCP, which the resolver speaks on what is no
// packet connection.
func (n *names) serve(c net.Conn) {
	defer c.Close()
	for {
		var size [2]byte
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return
		}
		q := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(c, q); err != nil {
			return
		}
		a := n.answer(q)
		if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(a))), a...)); err != nil {
			return
		}
	}
}

// answer answers the one question in q.
func (n *names) answer(q []byte) []byte {
	var labels []string
	at := 12
	for q[at] != 0 {
		labels = append(labels, string(q[at+1:at+1+int(q[at])]))
		at += 1 + int(q[at])
	}
	kind := binary.BigEndian.Uint16(q[at+1:])
	var records []byte
	count := uint16(0)
	for _, a := range n.next(strings.ToLower(strings.Join(labels, ".")), kind) {
		records = append(records, 0xc0, 12)
		records = binary.BigEndian.AppendUint16(records, kind)
		records = append(records, 0, 1, 0, 0, 0, 0)
		records = binary.BigEndian.AppendUint16(records, uint16(len(a.AsSlice())))
		records = append(records, a.AsSlice()...)
		count++
	}
	out := append([]byte{q[0], q[1], 0x85, 0x80, 0, 1}, byte(count>>8), byte(count), 0, 0, 0, 0)
	return append(append(out, q[12:at+5]...), records...)
}

func (n *names) next(name string, kind uint16) []netip.Addr {
	n.mu.Lock()
	defer n.mu.Unlock()
	var found []netip.Addr
	list := n.answers[name]
	if len(list) == 0 {
		return nil
	}
	for _, a := range list[0] {
		if a.Is4() == (kind == 1) {
			found = append(found, a)
		}
	}
	if len(list) > 1 && len(found) > 0 {
		n.answers[name] = list[1:]
	}
	return found
}
