package main

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/transport"
)

// What costs a client nothing may cost the server nothing that stays: each of
// these is done a hundred thousand times, by clients that come again when they
// are shown out. Memory is looked at in this process, which is both sides.

const floods = 100_000

// maxOpening is less than the default, so that the flood gets there.
const maxOpening = 500

func TestFlood(t *testing.T) {
	for _, row := range []struct {
		what string
		do   func(p *peer)
	}{
		{"namespaces that are not there", func(p *peer) { floodNamespaces(p, "/none") }},
		{"namespaces that are made on demand", func(p *peer) { floodNamespaces(p, "/any") }},
		{"attachments", floodAttachments},
		{"attachments that never come", floodMissing},
		{"acknowledgements of nothing", floodAcks},
		{"acknowledgements asked for", floodCalls},
		{"half open sessions", floodSessions},
		{"upgrades that are not finished", floodProbes},
	} {
		t.Run(row.what, func(t *testing.T) {
			srv, p := floodServer(t)
			served := func(t *testing.T) {
				p := p.within(t)
				s := p.open().beating()
				join(p, s)
				s.send(`42["message","still here"]`)
				want(t, s, `42["message-back","still here"]`)
			}
			t.Run("before", served)
			before := heap()
			t.Run("flood", func(t *testing.T) { row.do(p.within(t)) }) // its connections end with it
			wantFlat(t, srv, before)
			t.Run("after", served)
		})
	}
}

// floodServer is the set-up's server with less patience, and with namespaces
// on demand.
func floodServer(t *testing.T) (*polywire.Server, *peer) {
	t.Helper()
	at := times{time.Second, 5 * time.Second, 5 * time.Second} // who is forgotten is gone soon
	srv, err := newServer(false, at, polywire.WithMaxOpening(maxOpening))
	if err != nil {
		t.Fatal(err)
	}
	srv.NamespaceFunc(func(name string, _ *polywire.Handshake) bool { return strings.HasPrefix(name, "/any") })
	return srv, listenTo(t, srv, at, "/socket.io/")
}

// heap is how much memory is in use after garbage has been collected.
func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what pools held is garbage now
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// wantFlat waits until the sessions of a flood are over, and wants their memory
// back.
func wantFlat(t *testing.T, srv *polywire.Server, before uint64) {
	t.Helper()
	const slack = 2 << 20
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	var after uint64
	for range 400 {
		if open := srv.Stats().Connections; open == 0 {
			if after = heap(); after < before+slack {
				t.Logf("%d KiB before, %d KiB after", before>>10, after>>10)
				return
			}
		}
		<-tick.C
	}
	t.Errorf("memory went from %d KiB to %d KiB, %d connections are open", before>>10, after>>10, srv.Stats().Connections)
}

// floodNamespaces knocks at doors until it is shown out, and comes again.
func floodNamespaces(p *peer, prefix string) {
	const knocks = 200 // more than any link gets away with
	for sent := 0; sent < floods; {
		s := p.open()
		var packets []string
		for range knocks {
			sent++
			packets = append(packets, fmt.Sprintf("40%s%d,", prefix, sent))
		}
		s.sendAtOnce(packets...)
		answers := 0
		for _, ok := s.next(); ok; _, ok = s.next() {
			answers++
		}
		if answers >= knocks {
			p.t.Fatalf("%d of %d connects were answered", answers, knocks)
		}
	}
}

// floodAttachments sends good packets: what is put together goes again.
func floodAttachments(p *peer) {
	const each, batch = 10, 20
	head, tail := fmt.Sprintf(`45%d-["message"`, each), ""
	for i := range each {
		tail += "," + placeholder(i)
	}
	var packets []string
	for range batch {
		packets = append(packets, head+tail+"]")
		for range each {
			packets = append(packets, binaryMark+"attachment")
		}
	}
	s := p.open().beating()
	join(p, s)
	for sent := 0; sent < floods; sent += batch * each {
		s.sendAtOnce(packets...)
		for range packets {
			next(p.t, s)
		}
	}
}

// floodMissing announces attachments and goes without having sent them, or
// sends more bytes than a message may have.
func floodMissing(p *peer) {
	head := `4510-["message"` + strings.Repeat(","+placeholder(0), 10) + "]"
	const part = binaryMark + "attachment"
	for i := 0; i < floods; i += 100 { // each is a connection
		s := p.open().beating()
		join(p, s)
		s.sendAtOnce(head, part, part, part, part, part, part, part, part, part)
		if i%200 == 0 {
			s.send(`42["message"]`)
			wantOver(p.t, s)
		}
		_ = s.c.Close()
	}
	large := binaryMark + strings.Repeat("a", 300_000)
	for range 20 {
		s := p.open().beating()
		join(p, s)
		s.send(head, large, large, large, large)
		wantOver(p.t, s)
	}
}

func floodAcks(p *peer) {
	const batch = 1000
	s := p.open().beating()
	join(p, s)
	for sent := 0; sent < floods; sent += batch {
		var packets []string
		for i := range batch {
			packets = append(packets, fmt.Sprintf("43%d[]", sent+i))
		}
		s.sendAtOnce(append(packets, `42["message"]`)...)
		want(p.t, s, `42["message-back"]`)
	}
}

func floodCalls(p *peer) {
	const batch = 500
	s := p.open().beating()
	join(p, s)
	for sent := 0; sent < floods; sent += batch {
		var packets []string
		for i := range batch {
			packets = append(packets, fmt.Sprintf(`42%d["message-with-ack"]`, sent+i))
		}
		s.sendAtOnce(packets...)
		for i := range batch {
			want(p.t, s, fmt.Sprintf("43%d[]", sent+i))
		}
	}
}

// floodSessions opens sessions and forgets them. There is no room for all.
func floodSessions(p *peer) {
	const batch = 100
	c := p.connect()
	_ = c.SetDeadline(time.Time{})
	request := "GET " + p.path + p.query("polling") + " HTTP/1.1\r\nHost: localhost\r\n\r\n"
	r := bufio.NewReader(c)
	statuses := make(map[int]int)
	for range floods / batch {
		if _, err := io.WriteString(c, strings.Repeat(request, batch)); err != nil {
			p.t.Fatal(err)
		}
		for range batch {
			resp, err := http.ReadResponse(r, nil)
			if err != nil {
				p.t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, resp.Body); err != nil {
				p.t.Fatal(err)
			}
			_ = resp.Body.Close()
			statuses[resp.StatusCode]++
		}
	}
	p.t.Logf("answers by status: %v", statuses)
	if statuses[http.StatusOK] < maxOpening || statuses[http.StatusOK]+statuses[http.StatusServiceUnavailable] != floods ||
		statuses[http.StatusServiceUnavailable] == 0 {
		p.t.Errorf("answers by status: %v, want %d or some more sessions and no room for the others", statuses, maxOpening)
	}
}

// floodProbes tries WebSockets out and does no more with them.
func floodProbes(p *peer) {
	for range floods / 500 { // each is three requests
		s := p.poll()
		ws := p.mustDial(p.query("websocket", "sid="+s.sid))
		ws.send("2probe")
		want(p.t, ws, "3probe")
	}
}

// sendAtOnce sends packets in one write.
func (s *socket) sendAtOnce(packets ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := transport.NewWriter(s.c.Framer(), nil)
	for _, packet := range packets {
		t, data := transport.Text, []byte(packet)
		if b, ok := isBinary(packet); ok {
			t, data = transport.Binary, b
		}
		if err := w.Frame(t, data); err != nil {
			s.t.Error(err)
		}
	}
	_ = s.c.Write(w.Bytes()) // what fails shows when reading
}
