package sse

import (
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/polywire/polywire/internal/jsonscan"
	"github.com/polywire/polywire/wire"
)

// recoveredKind is the event that says whether what was missed in a room has come.
const recoveredKind = "$recovered"

const (
	// maxPlaceBytes is the longest Last-Event-ID. Ids of several rooms are no
	// longer, since they come back as one; servers and proxies take header
	// fields of 8 KiB.
	maxPlaceBytes = 4 << 10
	// placeSep is between the places of several rooms, and never in one.
	placeSep = "~"
)

// places are how far a stream has come in the rooms of its request. With one
// room an event's id is its place there. With several it is all of them, in the
// order of the request, behind a sum of the rooms' names: the next request
// brings back what is in the last event.
type places struct {
	rooms    []string
	sum      string // empty with one room
	returned bool   // the request had a Last-Event-ID

	mu    sync.Mutex
	at    []string
	moved []bool // by a message since the request; nil when that is answered
	given []bool // the request had a place for the room; nil then, too
}

func newPlaces(rooms []string, last string) *places {
	p := &places{
		rooms: rooms, returned: last != "",
		at: make([]string, len(rooms)), moved: make([]bool, len(rooms)), given: make([]bool, len(rooms)),
	}
	if len(rooms) == 1 {
		p.at[0] = last
	} else {
		p.sum = sumOf(rooms)
		if vector, ok := strings.CutPrefix(last, p.sum+placeSep); ok {
			places := strings.Split(vector, placeSep)
			copy(p.at, places[:min(len(places), len(rooms))])
		}
	}
	for i := range p.at {
		p.given[i] = p.at[i] != ""
	}
	return p
}

// sumOf tells lists of rooms apart, so that nobody is sent what came after a
// place in another room.
func sumOf(rooms []string) string {
	h := fnv.New32a()
	for _, room := range rooms {
		_, _ = h.Write(strconv.AppendInt(nil, int64(len(room)), 10)) // it does not fail
		_, _ = h.Write([]byte(":" + room))
	}
	return strconv.FormatUint(uint64(h.Sum32()), 36)
}

// asked returns the place that the request had for a room.
func (p *places) asked(i int) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.at[i]
}

// move notes a message, and returns its event's id: empty if the message has
// no place in a room of the request.
func (p *places) move(m *wire.Packet) string {
	if p == nil || m.Position == "" {
		return ""
	}
	i := slices.Index(p.rooms, m.Room)
	if i < 0 {
		return ""
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at[i] = m.Position
	if p.moved != nil {
		p.moved[i] = true
	}
	return p.id()
}

// id says all places. mu is held.
func (p *places) id() string {
	if len(p.rooms) == 1 {
		return p.at[0]
	}
	some := false
	size := len(p.sum) + len(p.at)*len(placeSep)
	b := append(make([]byte, 0, size+32*len(p.at)), p.sum...)
	for _, at := range p.at {
		b = append(b, placeSep...)
		if size+len(at) > maxPlaceBytes || strings.Contains(at, placeSep) {
			continue // whoever comes back is told that there was no place
		}
		size += len(at)
		b = append(b, at...)
		some = some || at != ""
	}
	if !some {
		return ""
	}
	return string(b)
}

// answer notes the answer to a room's subscription, and reports whether the
// client is to hear of it: one that comes back, if the room has a history or
// had one.
func (p *places) answer(i int, reply *wire.Packet) (tell, recovered bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.moved == nil || i < 0 || i >= len(p.rooms) {
		return false, false
	}
	if !p.moved[i] {
		p.at[i] = reply.Position
	}
	return p.returned && (p.given[i] || reply.Position != ""), p.given[i] && reply.Recovered
}

// opened notes that all subscriptions have been answered, and returns the id of
// where they began, for a client that is gone before the first event.
func (p *places) opened() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.moved, p.given = nil, nil
	return p.id()
}

// personal reports whether the event of a message with a place has another id
// here than on other streams.
func (p *places) personal(m *wire.Packet) bool {
	if p == nil || len(p.rooms) != 1 || p.rooms[0] != m.Room {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.moved != nil // the answers are to know what came before them
}

// placeIn returns the place in a room that an id says: it is one, or has one
// for each of the rooms.
func placeIn(id, sum string, i int) string {
	vector, ok := strings.CutPrefix(id, sum+placeSep)
	if sum == "" || !ok {
		return id
	}
	for at := range strings.SplitSeq(vector, placeSep) {
		if i == 0 {
			return at
		}
		i--
	}
	return ""
}

// appendRecovered appends the event of how a room was joined again, without
// the empty line.
func appendRecovered(b []byte, room string, recovered bool) []byte {
	b = append(b, "event: "+recoveredKind+"\ndata: {\"room\":"...)
	b = jsonscan.AppendString(b, strings.ToValidUTF8(room, "\ufffd"))
	b = append(b, `,"recovered":`...)
	return append(strconv.AppendBool(b, recovered), '}', '\n')
}
