package sse

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/wire"
	"github.com/polywire/polywire/wire/wiretest"
)

// openPlaces are those of a stream whose request has been answered.
func openPlaces(rooms ...string) *places {
	p := newPlaces(rooms, "")
	p.opened()
	return p
}

func message(room, offset string) *wire.Packet {
	return &wire.Packet{Type: wire.Message, Kind: "k", Room: room, Position: offset}
}

func manyRooms(n int) (rooms []string) {
	for i := range n {
		rooms = append(rooms, fmt.Sprint("room ", i))
	}
	return rooms
}

// Ids say how far a stream is, and the next request with the same rooms knows.
func TestIDs(t *testing.T) {
	abc := []string{"a", "b", "c"}
	sum := sumOf(abc)
	for _, row := range []struct {
		name   string
		rooms  []string
		last   string
		come   []*wire.Packet
		id     string // after all of them
		places []string
	}{
		{"one room", []string{"a"}, "", []*wire.Packet{message("a", "e.1"), message("a", "e.2")}, "e.2", []string{"e.2"}},
		{"one room, nothing came", []string{"a"}, "e.7", nil, "e.7", []string{"e.7"}},
		{"another room", []string{"a"}, "e.7", []*wire.Packet{message("b", "e.8")}, "e.7", []string{"e.7"}},
		{"several", abc, "", []*wire.Packet{message("c", "e.1"), message("a", "e.2"), message("c", "e.3")}, sum + "~e.2~~e.3", []string{"e.2", "", "e.3"}},
		{"several, again", abc, sum + "~e.2~~e.3", []*wire.Packet{message("b", "f.1")}, sum + "~e.2~f.1~e.3", []string{"e.2", "f.1", "e.3"}},
		{"several, no history", abc, "", nil, "", []string{"", "", ""}},
		{"rooms in another order", []string{"b", "a", "c"}, sum + "~e.2~~e.3", nil, "", []string{"", "", ""}},
		{"a room less", abc[:2], sum + "~e.2~~e.3", nil, "", []string{"", ""}},
		{"one room's", abc, "e.2", nil, "", []string{"", "", ""}},
		{"too few", abc, sum + "~e.2", nil, sum + "~e.2~~", []string{"e.2", "", ""}},
		{"too many", abc, sum + "~1~2~3~4~5", nil, sum + "~1~2~3", []string{"1", "2", "3"}},
		{"no places", abc, sum, nil, "", []string{"", "", ""}},
		{"another's separator", abc, "", []*wire.Packet{message("a", "e~1"), message("b", "e.1")}, sum + "~~e.1~", []string{"", "e.1", ""}},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := newPlaces(row.rooms, row.last)
			p.opened()
			for _, m := range row.come {
				if id := p.move(m); id != "" && !slices.Contains(row.rooms, m.Room) {
					t.Errorf("the id of %+v is %q", m, id)
				}
			}
			if got := p.opened(); got != row.id {
				t.Errorf("the id is %q, want %q", got, row.id)
			}
			next := newPlaces(row.rooms, row.id)
			for i, want := range row.places {
				if got := next.asked(i); got != want {
					t.Errorf("room %s begins at %q, want %q", row.rooms[i], got, want)
				}
				if got := placeIn(row.id, next.sum, i); got != want {
					t.Errorf("a client is at %q of room %s, want %q", got, row.rooms[i], want)
				}
			}
		})
	}
}

// An id fits into a header field; who comes back with one that does not have
// all rooms is told about the others.
func TestLongIDs(t *testing.T) {
	rooms := manyRooms(128)
	p := openPlaces(rooms...)
	var id string
	for i, room := range rooms {
		id = p.move(message(room, fmt.Sprintf("%064d", i)))
		if len(id) > maxPlaceBytes {
			t.Fatalf("%d bytes", len(id))
		}
	}
	if len(id) < maxPlaceBytes-64 {
		t.Errorf("%d bytes of %d", len(id), maxPlaceBytes)
	}
	next := newPlaces(rooms, id)
	some := 0
	for i := range rooms {
		at := next.asked(i)
		if at != "" && at != fmt.Sprintf("%064d", i) {
			t.Errorf("room %d begins at %q", i, at)
		}
		if at != "" {
			some++
		}
		tell, recovered := next.answer(i, &wire.Packet{Type: wire.Reply, Position: "e", Recovered: true})
		if !tell || recovered != (at != "") {
			t.Errorf("room %d, from %q: told %v, %v", i, at, tell, recovered)
		}
	}
	if some < 50 {
		t.Errorf("%d rooms fit", some)
	}
}

// The answers to a request with and without a place.
func TestAnswersToRequests(t *testing.T) {
	for _, row := range []struct {
		name    string
		rooms   []string
		last    string
		packets []*wire.Packet // before and between the answers, and these
		want    string
	}{
		{"first time", []string{"a"}, "", []*wire.Packet{{Type: wire.Reply, ID: 1, Position: "e.1"}}, "id: e.1\n"},
		{"no history", []string{"a"}, "", []*wire.Packet{{Type: wire.Reply, ID: 1}}, ""},
		{"recovered", []string{"a"}, "e.1", []*wire.Packet{message("a", "e.2"), {Type: wire.Reply, ID: 1, Position: "e.2", Recovered: true}},
			"event: k\nid: e.2\nroom: \"a\"\ndata:\n|event: $recovered\ndata: {\"room\":\"a\",\"recovered\":true}\n|id: e.2\n"},
		{"newer than the answer", []string{"a"}, "e.1", []*wire.Packet{message("a", "e.3"), {Type: wire.Reply, ID: 1, Position: "e.2", Recovered: true}},
			"event: k\nid: e.3\nroom: \"a\"\ndata:\n|event: $recovered\ndata: {\"room\":\"a\",\"recovered\":true}\n|id: e.3\n"},
		{"not recovered", []string{"a"}, "x", []*wire.Packet{{Type: wire.Reply, ID: 1, Position: "e.2"}},
			"event: $recovered\ndata: {\"room\":\"a\",\"recovered\":false}\n|id: e.2\n"},
		{"history is gone", []string{"a"}, "e.1", []*wire.Packet{{Type: wire.Reply, ID: 1}}, "event: $recovered\ndata: {\"room\":\"a\",\"recovered\":false}\n"},
		{"several", []string{"a", "b", "\"c\n"}, sumOf([]string{"a", "b", "\"c\n"}) + "~e.1~~", []*wire.Packet{
			{Type: wire.Reply, ID: 2}, message("a", "e.2"), {Type: wire.Reply, ID: 3, Position: "f.7"}, {Type: wire.Reply, ID: 1, Position: "e.2", Recovered: true}, message("b", ""),
		}, "event: k\nid: SUM~e.2~~\nroom: \"a\"\ndata:\n|event: $recovered\ndata: {\"room\":\"\\\"c\\n\",\"recovered\":false}\n|" +
			"event: $recovered\ndata: {\"room\":\"a\",\"recovered\":true}\n|id: SUM~e.2~~f.7\n|event: k\nroom: \"b\"\ndata:\n"},
	} {
		t.Run(row.name, func(t *testing.T) {
			ask := &request{rooms: row.rooms, offset: row.last, places: newPlaces(row.rooms, row.last)}
			c := &conn{open: &asking{request: ask, missing: len(row.rooms), decided: make(chan struct{})}}
			s := &serverSession{conn: c, places: ask.places}
			var all []string
			for _, p := range row.packets {
				frames, err := wiretest.Encode(s, p)
				if err != nil {
					t.Fatal(err)
				}
				for _, f := range frames {
					all = append(all, string(f.Data))
				}
			}
			want := strings.ReplaceAll(row.want, "SUM", sumOf(row.rooms))
			if got := strings.Join(all, "|"); got != want {
				t.Errorf("said\n%q, want\n%q", got, want)
			}
			if _, err := wiretest.Encode(s, &wire.Packet{Type: wire.Reply, ID: 1, Position: "z"}); err == nil {
				t.Error("an answer too many was said")
			}
		})
	}
}

// Only what looks the same everywhere is shared.
func TestPersonal(t *testing.T) {
	opening := newPlaces([]string{"a"}, "")
	for _, row := range []struct {
		places *places
		room   string
		want   bool
	}{
		{openPlaces("a"), "a", false}, {openPlaces("a"), "b", true}, {openPlaces("a"), "", true},
		{openPlaces("a", "b"), "a", true}, {nil, "a", true}, {opening, "a", true},
	} {
		s := &serverSession{places: row.places}
		if got := s.Personal(message(row.room, "e.1")); got != row.want {
			t.Errorf("%+v, room %s: %v", row.places, row.room, got)
		}
	}
}

func TestRecoveredEvents(t *testing.T) {
	rooms := []string{"a", "b"}
	var told []string
	s := newClientSession(wiretest.NewHost(), rooms, "before")
	s.OnRecovered(func(room string, ok bool) { told = append(told, fmt.Sprint(room, " ", ok)) })
	for _, text := range []string{
		"event: $recovered\ndata: {\"room\":\"a\",\"recovered\":true}\n", "event: $recovered\ndata: {\"room\":\"b\"}\n",
		"event: $recovered\ndata: x\n", "event: $recovered\ndata: {\"recovered\":true}\n", "event: $recovered\n",
		"id: " + sumOf(rooms) + "~1~2\n",
	} {
		var p wire.Packet
		if ok, err := s.Decode(transport.Frame{Type: transport.Text, Data: []byte(text)}, &p); ok || err != nil {
			t.Errorf("%q: %v, %v", text, ok, err)
		}
	}
	if !slices.Equal(told, []string{"a true", "b false"}) || s.Position() != sumOf(rooms)+"~1~2" {
		t.Errorf("told %q, at %q", told, s.Position())
	}
	quiet := newClientSession(wiretest.NewHost(), rooms, "")
	if ok, err := quiet.Decode(transport.Frame{Type: transport.Text, Data: []byte("event: $recovered\ndata: {\"room\":\"a\"}\n")}, new(wire.Packet)); ok || err != nil {
		t.Error(ok, err)
	}
}

// FuzzPlaces reads any id, and what is made of it again.
func FuzzPlaces(f *testing.F) {
	f.Add(2, sumOf(manyRooms(2))+"~e.1~f.2")
	f.Add(1, "e.1")
	f.Add(3, "~~~~~~~~")
	f.Add(128, sumOf(manyRooms(128))+strings.Repeat("~"+strings.Repeat("x", 60), 100))
	f.Fuzz(func(t *testing.T, n int, last string) {
		rooms := manyRooms(1 + n&127)
		if len(last) > maxPlaceBytes || strings.ContainsAny(last, "\x00\r\n") {
			return
		}
		p := newPlaces(rooms, last)
		id := p.opened()
		if len(id) > maxPlaceBytes {
			t.Fatalf("an id of %d bytes", len(id))
		}
		again := newPlaces(rooms, id)
		for i := range rooms {
			if at := again.asked(i); at != p.asked(i) {
				t.Fatalf("room %d is at %q, then at %q", i, p.asked(i), at)
			}
		}
	})
}
