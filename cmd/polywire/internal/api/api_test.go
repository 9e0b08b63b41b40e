package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/cluster"
	"github.com/polywire/polywire/internal/testenv"
	"github.com/polywire/polywire/queue"
)

func TestSend(t *testing.T) {
	w := newWorld(t, worldOptions{})
	ada, bob := make(messages, 100), make(messages, 100)
	a, b := w.connect("ada", ada.handle), w.connect("bob", bob.handle)
	for _, c := range []*client.Client{a, b} {
		if err := c.Subscribe(t.Context(), "news"); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Subscribe(t.Context(), "a/b c"); err != nil {
		t.Fatal(err)
	}
	id := a.Conn().RemoteID()
	for _, c := range []struct {
		path, body string
		ada, bob   string
	}{
		{"/rooms/news/send", `{"kind":"k","json":{"n":12345678901234567890,"x":[1,null]}}`, `k {"n":12345678901234567890,"x":[1,null]}`, `k {"n":12345678901234567890,"x":[1,null]}`},
		{"/rooms/news/send", `{"kind":"k","json":null}`, "k null", "k null"},
		{"/rooms/news/send", `{"kind":"k","text":"<é>\n"}`, `k "<é>\n"`, `k "<é>\n"`},
		{"/rooms/news/send", `{"kind":"k","bytes":"AP8="}`, "k \x00\xff", "k \x00\xff"},
		{"/rooms/news/send", `{"kind":"k"}`, "k", "k"},
		{"/rooms/news/send", `{"kind":"k","header":{"h":"v"},"must_reach":true}`, "k  v", "k  v"},
		{"/rooms/a%2Fb%20c/send", `{"kind":"k","text":"slash"}`, `k "slash"`, ""},
		{"/users/bob/send", `{"kind":"k","json":1}`, "", "k 1"},
		{"/connections/" + id + "/send", `{"kind":"k","json":2}`, "k 2", ""},
		{"/all/send", `{"kind":"k","json":3}`, "k 3", "k 3"},
		{"/rooms/news/send", `{"kind":"k","json":4,"target":{"except_rooms":["` + id + `"]}}`, "", "k 4"},
		{"/send", `{"kind":"k","json":5,"target":{"users":["ada"],"connections":["` + id + `"],"rooms":["nobody"]}}`, "k 5", ""},
		{"/send", `{"kind":"k","json":6,"target":{"all":true}}`, "k 6", "k 6"},
		{"/send", `{"kind":"k","json":7,"target":{"users":["ada"],"pick":"random"}}`, "k 7", ""},
		{"/send", `{"kind":"k","json":8,"target":{"users":["ada"],"pick":"least_loaded"}}`, "k 8", ""},
		{"/send", `{"kind":"k","json":9,"target":{"users":["ada"],"pick":"key","key":"x"}}`, "k 9", ""},
		{"/rooms/nobody/send", `{"kind":"k"}`, "", ""},
		{"/rooms/nobody/send", `{"kind":"k","volatile":true}`, "", ""},
	} {
		w.ok(http.MethodPost, c.path, c.body, nil)
		if c.ada != "" {
			ada.want(t, c.ada)
		}
		if c.bob != "" {
			bob.want(t, c.bob)
		}
	}
	ada.none(t)
	bob.none(t)
	w.refused(codeNoConnections, http.MethodPost, "/rooms/nobody/send", `{"kind":"k","must_reach":true}`)
	w.refused(codeNoConnections, http.MethodPost, "/connections/nobody/send", `{"kind":"k"}`)
}

func TestCall(t *testing.T) {
	w := newWorld(t, worldOptions{})
	over := make(chan struct{})
	defer close(over)
	w.connect("ada", func(c *client.Client) {
		c.Handle("sum", func(_ context.Context, m *polywire.Message) (any, error) {
			var n []int
			err := m.Bind(&n)
			return map[string]int{"sum": n[0] + n[1]}, err
		})
		c.Handle("raw", func(context.Context, *polywire.Message) (any, error) { return []byte{0, 255}, nil })
		c.Handle("nothing", func(context.Context, *polywire.Message) (any, error) { return nil, nil })
		c.Handle("late", func(ctx context.Context, _ *polywire.Message) (any, error) {
			select {
			case <-ctx.Done():
			case <-over:
			}
			return polywire.NoReply(), nil
		})
	})
	w.connect("bob", func(c *client.Client) {
		c.Handle("sum", func(context.Context, *polywire.Message) (any, error) {
			return nil, polywire.Errorf("bored", "not <today>")
		})
	})
	type answer struct {
		Connection, Node string
		JSON             json.RawMessage
		Bytes            []byte
		Error            *struct{ Code, Message string }
	}
	var got struct {
		Answers []answer
		Missing int
	}
	w.ok(http.MethodPost, "/users/ada/call", `{"kind":"sum","json":[1,2]}`, &got)
	if len(got.Answers) != 1 || string(got.Answers[0].JSON) != `{"sum":3}` || got.Answers[0].Connection == "" || got.Answers[0].Node == "" || got.Missing != 0 {
		t.Errorf("answers %+v", got)
	}
	w.ok(http.MethodPost, "/all/call", `{"kind":"sum","json":[1,2],"timeout":"20s","header":{"a":"b"}}`, &got)
	i := slices.IndexFunc(got.Answers, func(a answer) bool { return a.Error != nil })
	if len(got.Answers) != 2 || got.Missing != 1 || i < 0 || got.Answers[i].Error.Code != "bored" || got.Answers[i].Error.Message != "not <today>" {
		t.Errorf("answers %+v", got)
	}
	w.ok(http.MethodPost, "/users/ada/call", `{"kind":"raw","text":"x"}`, &got)
	if len(got.Answers) != 1 || string(got.Answers[0].Bytes) != "\x00\xff" {
		t.Errorf("answers %+v", got)
	}
	w.ok(http.MethodPost, "/call", `{"kind":"nothing","bytes":"","target":{"users":["ada"],"pick":"random"}}`, &got)
	if len(got.Answers) != 1 || got.Missing != 0 {
		t.Errorf("answers %+v", got)
	}
	w.ok(http.MethodPost, "/users/ada/call", `{"kind":"late","timeout":"50ms"}`, &got)
	if len(got.Answers) != 1 || got.Missing != 1 || got.Answers[0].Error == nil || got.Answers[0].Error.Code != "deadline_exceeded" {
		t.Errorf("answers %+v", got)
	}
	w.refused(codeNoConnections, http.MethodPost, "/users/nobody/call", `{"kind":"sum"}`)
}

func TestManage(t *testing.T) {
	w := newWorld(t, worldOptions{})
	ada := make(messages, 100)
	c := w.connect("ada", ada.handle)
	w.connect("ada")
	id := c.Conn().RemoteID()
	var n struct{ Connections int }
	w.ok(http.MethodPost, "/users/ada/join", `{"rooms":["r1","r2"]}`, &n)
	if n.Connections != 2 {
		t.Errorf("%d joined", n.Connections)
	}
	w.ok(http.MethodPost, "/connections/"+id+"/leave", `{"rooms":["r2"]}`, &n)
	if n.Connections != 1 || !w.srv.Conn(id).In("r1") || w.srv.Conn(id).In("r2") {
		t.Errorf("%d left", n.Connections)
	}
	for _, p := range []string{"/all/join", "/rooms/r1/join", "/connections/" + id + "/join", "/all/leave", "/rooms/r1/leave", "/users/ada/leave"} {
		w.ok(http.MethodPost, p, `{"rooms":["r3"]}`, nil)
	}
	for _, p := range []string{"/join", "/leave"} {
		w.ok(http.MethodPost, p, `{"rooms":["r3"],"target":{"all":true}}`, nil)
	}
	w.ok(http.MethodPost, "/rooms/nobody/disconnect", "", &n)
	if n.Connections != 0 {
		t.Errorf("%d disconnected of nobody", n.Connections)
	}
	w.refused(codeNoConnections, http.MethodPost, "/connections/nobody/disconnect", `{}`)
	w.refused(codeNoConnections, http.MethodPost, "/connections/nobody/join", `{"rooms":["r"]}`)
	w.ok(http.MethodPost, "/connections/"+id+"/disconnect", `{"code":4001,"reason":"enough"}`, &n)
	<-c.Done()
	if err := c.Err(); n.Connections != 1 || err == nil || !strings.Contains(err.Error(), "4001") || !strings.Contains(err.Error(), "enough") {
		t.Errorf("%d disconnected, with %v", n.Connections, err)
	}
	for _, p := range []string{"/users/ada/disconnect", "/all/disconnect"} {
		w.ok(http.MethodPost, p, `{}`, nil)
	}
	w.ok(http.MethodPost, "/disconnect", `{"target":{"rooms":["r1"]}}`, nil)
	testenv.Eventually(t, 20*time.Second, "everybody has gone", func() bool { return w.srv.Len() == 0 })
}

func TestRead(t *testing.T) {
	w := newWorld(t, worldOptions{})
	c := w.connect("ada")
	w.connect("")
	for _, room := range []string{"b", "a", "kept"} {
		if err := c.Subscribe(t.Context(), room); err != nil {
			t.Fatal(err)
		}
	}
	id := c.Conn().RemoteID()
	if err := w.srv.Conn(id).SetPresence(map[string]int{"n": 1}); err != nil {
		t.Fatal(err)
	}
	type conn struct {
		ID, Node, Wire, User, Address, Opened string
		Rooms                                 []string
	}
	var list struct {
		Connections []conn
		Total       int
		Next        string
	}
	w.ok(http.MethodGet, "/connections", "", &list)
	if len(list.Connections) != 2 || list.Total != 2 || list.Next != "" || list.Connections[0].ID >= list.Connections[1].ID {
		t.Errorf("connections %+v", list)
	}
	for _, query := range []string{"user=ada", "room=a", "room=a&limit=1000"} {
		w.ok(http.MethodGet, "/connections?"+query, "", &list)
		if len(list.Connections) != 1 || list.Connections[0].ID != id || list.Connections[0].User != "ada" || list.Connections[0].Wire != "native" ||
			strings.Join(list.Connections[0].Rooms, " ") != "b a kept" {
			t.Errorf("connections of %s: %+v", query, list)
		}
	}
	list.Next = ""
	w.ok(http.MethodGet, "/connections?limit=1", "", &list)
	first := list
	list.Connections, list.Next = nil, ""
	w.ok(http.MethodGet, "/connections?limit=1&after="+first.Next, "", &list)
	if first.Next != first.Connections[0].ID || list.Total != 2 || len(list.Connections) != 1 || list.Next != "" {
		t.Errorf("pages %+v, %+v", first, list)
	}
	var one struct{ Connection conn }
	w.ok(http.MethodGet, "/connections/"+id, "", &one)
	if one.Connection.ID != id || one.Connection.Opened == "" || one.Connection.Address == "" {
		t.Errorf("connection %+v", one)
	}
	w.refused(codeNotFound, http.MethodGet, "/connections/nobody", "")
	w.refused(codeNotFound, http.MethodGet, "/connections/a", "") // a room is none
	w.readRooms()

	var who struct {
		Members []struct {
			Connection, Node, User, Since string
			Value                         json.RawMessage
		}
	}
	w.ok(http.MethodGet, "/rooms/a/presence", "", &who)
	if len(who.Members) != 1 || who.Members[0].Connection != id || who.Members[0].User != "ada" || string(who.Members[0].Value) != `{"n":1}` ||
		who.Members[0].Node != w.srv.Nodes().ID() {
		t.Errorf("presence %+v", who)
	}
	w.readServers()
}

func (w *world) readServers() {
	w.Helper()
	var nodes struct {
		Nodes     []struct{ ID string }
		Self      string
		Available bool
	}
	w.ok(http.MethodGet, "/nodes", "", &nodes)
	if len(nodes.Nodes) != 1 || nodes.Nodes[0].ID != w.srv.Nodes().ID() || nodes.Self != nodes.Nodes[0].ID || !nodes.Available {
		w.Errorf("nodes %+v", nodes)
	}
	var stats struct {
		Nodes []struct {
			Node        string
			Connections int
			Accepted    int
			Rooms       int
		}
	}
	w.ok(http.MethodGet, "/stats", "", &stats)
	if len(stats.Nodes) != 1 || stats.Nodes[0].Connections != 2 || stats.Nodes[0].Accepted != 2 || stats.Nodes[0].Node != nodes.Self {
		w.Errorf("stats %+v", stats)
	}
}

func (w *world) readRooms() {
	w.Helper()
	var rooms struct {
		Rooms []struct {
			Name        string
			Connections int
		}
		Next string
	}
	names := func() (all string) {
		for _, r := range rooms.Rooms {
			all += fmt.Sprint(r.Name, r.Connections, " ")
		}
		return all + rooms.Next
	}
	for query, want := range map[string]string{
		"": "a1 b1 kept1 ", "?limit=2": "a1 b1 b", "?limit=2&after=b": "kept1 ", "?prefix=k": "kept1 ", "?prefix=%24": "", "?after=bb": "kept1 ",
	} {
		rooms.Rooms, rooms.Next = nil, ""
		w.ok(http.MethodGet, "/rooms"+query, "", &rooms)
		if names() != want {
			w.Errorf("rooms%s: %q, want %q", query, names(), want)
		}
	}
}

func TestHistory(t *testing.T) {
	w := newWorld(t, worldOptions{})
	c := w.connect("ada")
	if err := c.Subscribe(t.Context(), "kept"); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		w.ok(http.MethodPost, "/rooms/kept/send", fmt.Sprintf(`{"kind":"k%d","json":%d,"header":{"a":"b"}}`, i, i), nil)
	}
	w.ok(http.MethodPost, "/rooms/kept/send", `{"kind":"raw","bytes":"AP8="}`, nil)
	var got struct {
		Messages []struct {
			Position, Kind string
			Header         map[string]string
			JSON           json.RawMessage
			Bytes          []byte
		}
	}
	w.ok(http.MethodGet, "/rooms/kept/history?limit=3", "", &got)
	if len(got.Messages) != 3 || got.Messages[0].Kind != "k3" || string(got.Messages[1].JSON) != "4" || got.Messages[1].Header["a"] != "b" ||
		string(got.Messages[2].Bytes) != "\x00\xff" || got.Messages[2].Position == "" {
		t.Errorf("history %+v", got)
	}
	got.Messages = nil
	w.ok(http.MethodGet, "/rooms/kept/history", "", &got)
	if len(got.Messages) != 6 {
		t.Errorf("%d messages", len(got.Messages))
	}
	w.ok(http.MethodGet, "/rooms/kept-and-empty/history", "", &got)
	w.refused(codeUnsupported, http.MethodGet, "/rooms/other/history", "")
}

func TestQueues(t *testing.T) {
	w := newWorld(t, worldOptions{})
	var id struct{ ID string }
	w.ok(http.MethodPost, "/queues/orders/messages", `{"id":"one","key":"k","kind":"order","header":{"a":"b"},"json":{"n":1}}`, &id)
	if id.ID != "one" {
		t.Errorf("id %q", id.ID)
	}
	w.ok(http.MethodPost, "/queues/orders/messages", `{"text":"later","delay":"1h"}`, &id)
	w.ok(http.MethodPost, "/queues/orders/messages", "", &id)
	var depth struct {
		Name                   string
		Waiting, Delayed, Dead int
		Oldest                 string
	}
	w.ok(http.MethodGet, "/queues/orders", "", &depth)
	if depth.Name != "orders" || depth.Waiting != 2 || depth.Delayed != 1 || depth.Dead != 0 {
		t.Errorf("depth %+v", depth)
	}
	var queues struct{ Queues []struct{ Name string } }
	w.ok(http.MethodGet, "/queues", "", &queues)
	if len(queues.Queues) != 1 || queues.Queues[0].Name != "orders" {
		t.Errorf("queues %+v", queues)
	}
	bury := func(n int) {
		t.Helper()
		for i := range n {
			w.ok(http.MethodPost, "/queues/bad/messages", fmt.Sprintf(`{"id":"bad-%d","kind":"k%d","bytes":"AP8="}`, i, i), nil)
		}
		if err := w.broker.Handle("bad", func(context.Context, *queue.Delivery) error { return queue.Discard(fmt.Errorf("no good")) }, queue.HandleOptions{}); err != nil {
			t.Fatal(err)
		}
		testenv.Eventually(t, 20*time.Second, "dead letters", func() bool {
			w.ok(http.MethodGet, "/queues/bad", "", &depth)
			return depth.Dead == n
		})
		if err := w.broker.Pause(t.Context(), "bad"); err != nil {
			t.Fatal(err)
		}
	}
	bury(3)
	var dead struct {
		Letters []struct {
			ID, Kind, Reason, Error, Died string
			Bytes                         []byte
			Attempts                      int
		}
		Next string
	}
	w.ok(http.MethodGet, "/queues/bad/dead?limit=2", "", &dead)
	if len(dead.Letters) != 2 || dead.Next == "" || dead.Letters[0].Error != "no good" || dead.Letters[0].Reason != "discarded" || string(dead.Letters[0].Bytes) != "\x00\xff" {
		t.Errorf("dead letters %+v", dead)
	}
	for query, want := range map[string]int{
		"?ids=bad-0&ids=bad-2": 2, "?kind=k1": 1, "?key=k": 0, "?reason=discarded": 3, "?reason=lost": 0, "?error=good": 3,
		"?since=2000-01-01T00:00:00Z": 3, "?until=2000-01-01T00:00:00Z": 0,
	} {
		dead.Letters = nil
		if w.ok(http.MethodGet, "/queues/bad/dead"+query, "", &dead); len(dead.Letters) != want {
			t.Errorf("%s: %d letters, want %d", query, len(dead.Letters), want)
		}
	}
	var n struct{ Replayed, Removed int }
	w.ok(http.MethodPost, "/queues/bad/dead/replay", `{"filter":{"kind":"k1"},"limit":5}`, &n)
	w.ok(http.MethodPost, "/queues/bad/dead/purge", `{"all":true}`, &n)
	w.ok(http.MethodGet, "/queues/bad", "", &depth)
	if n.Replayed != 1 || n.Removed != 2 || depth.Dead != 0 || depth.Waiting != 1 {
		t.Errorf("%+v, %+v", n, depth)
	}
	n.Removed = 0
	if w.ok(http.MethodPost, "/queues/bad/purge", "", &n); n.Removed != 1 {
		t.Errorf("%d removed", n.Removed)
	}
	w.refused(codeInvalid, http.MethodPost, "/queues/bad/dead/purge", `{}`)
	w.refused(codeInvalid, http.MethodPost, "/queues/bad/dead/replay", `{"filter":{"kind":"k"},"all":true}`)
	w.refused(codeNotFound, http.MethodGet, "/queues/none", "")
}

func TestCluster(t *testing.T) {
	w, other, url := twoNodes(t, cluster.NewMemory())
	far := make(messages, 1000)
	c, err := client.New(url, client.WithCredentials(func(context.Context) (map[string]string, error) { return map[string]string{"user": "far"}, nil }),
		client.WithoutReconnect())
	if err != nil {
		t.Fatal(err)
	}
	far.handle(c)
	if err := c.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	near := w.connect("near")
	for _, c := range []*client.Client{c, near} {
		if err := c.Subscribe(t.Context(), "kept"); err != nil {
			t.Fatal(err)
		}
	}
	w.ok(http.MethodPost, "/users/far/send", `{"kind":"hello","json":1}`, nil)
	far.want(t, "hello 1")
	for i := range 250 { // more than are kept
		w.ok(http.MethodPost, "/rooms/kept/send", fmt.Sprintf(`{"kind":"k","json":%d}`, i), nil)
		if i%10 == 0 {
			w.ok(http.MethodPost, "/rooms/kept2/send", `{"kind":"k"}`, nil)
		}
	}
	var got struct {
		Messages []struct{ JSON json.RawMessage }
	}
	for _, limit := range []int{1, 7, 99, 100, 1000} {
		got.Messages = nil
		w.ok(http.MethodGet, fmt.Sprintf("/rooms/kept/history?limit=%d", limit), "", &got)
		n := min(limit, 100)
		if len(got.Messages) != n || string(got.Messages[0].JSON) != fmt.Sprint(250-n) || string(got.Messages[n-1].JSON) != "249" {
			t.Errorf("%d of history: %d messages", limit, len(got.Messages))
		}
	}
	var list struct{ Connections []struct{ Node string } }
	w.ok(http.MethodGet, "/connections?user=far", "", &list)
	if len(list.Connections) != 1 || list.Connections[0].Node != other.Nodes().ID() {
		t.Errorf("connections %+v", list)
	}
	var rooms struct {
		Rooms []struct {
			Name        string
			Connections int
		}
	}
	w.ok(http.MethodGet, "/rooms", "", &rooms)
	if len(rooms.Rooms) != 1 || rooms.Rooms[0].Connections != 2 {
		t.Errorf("rooms %+v", rooms)
	}
	var stats struct{ Nodes []struct{ Connections int } }
	w.ok(http.MethodGet, "/stats", "", &stats)
	if len(stats.Nodes) != 2 || stats.Nodes[0].Connections != 1 || stats.Nodes[1].Connections != 1 {
		t.Errorf("stats %+v", stats)
	}
	w.ok(http.MethodPost, "/users/far/disconnect", "", nil)
	<-c.Done()
}
