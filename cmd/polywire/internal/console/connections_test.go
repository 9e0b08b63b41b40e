package console

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/cluster"
)

// seenNodes is what a page makes of the nodes.
type seenNodes struct {
	Self         string
	Available    bool
	MissingNodes []string `json:"missing_nodes"`
	Cluster      *clusterFigures
	Nodes        []struct {
		ID, Name    string
		Self        bool
		Connections *int
	}
}

// named lets a client choose the user that it is.
func named() polywire.Option {
	return polywire.WithAuth(func(_ context.Context, h *polywire.Handshake) (*polywire.Identity, error) {
		if !h.Hello {
			return nil, polywire.ErrAwaitHello
		}
		return &polywire.Identity{User: strings.Clone(h.Header["user"]), Claims: map[string]any{"password": "that-is-secret"}}, nil
	})
}

func as(user string) client.Option {
	return client.WithCredentials(func(context.Context) (map[string]string, error) { return map[string]string{"user": user}, nil })
}

func ids(list []connection) (all []string) {
	for _, c := range list {
		all = append(all, c.ID)
	}
	return all
}

func TestConnections(t *testing.T) {
	const hostile = `<img src=x onerror=alert(1)>` + "\u202e\x00"
	w := newWorld(t, worldOptions{token: token, options: []polywire.Option{named()}})
	var all []peer
	for i := range 5 {
		all = append(all, w.dial(as(fmt.Sprint("User-", i))))
	}
	all = append(all, w.dial(as(hostile)))
	if err := all[1].Subscribe(t.Context(), "lobby"); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := all[2].Call(t.Context(), "echo", "x", nil); err != nil {
			t.Fatal(err)
		}
	}
	get := func(query string) (a connectionsAnswer) {
		t.Helper()
		w.get("connections"+query, &a)
		return a
	}
	every := get("")
	if len(every.Connections) != 6 || every.Matched != 6 || every.Next != "" || every.MissingNodes != nil || !slices.IsSorted(ids(every.Connections)) {
		t.Fatalf("%+v", every)
	}
	var paged []string
	for after, n := "", 0; n < 10; n++ {
		page := get("?limit=2&after=" + url.QueryEscape(after))
		paged = append(paged, ids(page.Connections)...)
		if page.Matched != 6 {
			t.Errorf("%d matched", page.Matched)
		}
		if after = page.Next; after == "" {
			break
		}
	}
	if !slices.Equal(paged, ids(every.Connections)) {
		t.Errorf("pages have %v, all are %v", paged, ids(every.Connections))
	}
	node := w.srv.Nodes().ID()
	for query, want := range map[string][]int{
		"?q=uSeR-3": {3}, "?q=" + all[4].ID(): {4}, "?user=User-1": {1}, "?user=user-1": nil, "?room=lobby": {1}, "?room=lobby&namespace=/": {1},
		"?room=lobby&namespace=/other": nil, "?wire=drs": nil, "?q=onerror": {5}, "?sort=in&limit=1": {2}, "?sort=newest&limit=1": {5},
		"?node=" + node + "&user=User-2": {2}, "?node=other": nil, "?user=" + url.QueryEscape(hostile): {5}, "?room=" + all[0].ID(): {0}, "?namespace=/nothing": nil,
	} {
		var clients []string
		for _, i := range want {
			clients = append(clients, all[i].ID())
		}
		if got := get(query); !slices.Equal(ids(got.Connections), clients) {
			t.Errorf("%s: %v, want %v", query, ids(got.Connections), clients)
		}
	}
	for _, order := range []string{"queued", "out", "idle", "id"} {
		if got := get("?sort=" + order); len(got.Connections) != 6 {
			t.Errorf("by %s: %+v", order, got)
		}
	}
	one := get("?user=User-2").Connections[0]
	if one.Node != node || one.Wire != "native" || one.Namespace != "/" || !strings.HasPrefix(one.Address, "127.0.0.1:") || one.Opened.IsZero() ||
		one.OpenMS < 0 || one.IdleMS > one.OpenMS || one.MessagesIn < 3 || one.BytesOut == 0 {
		t.Errorf("%+v", one)
	}
	if _, body := w.ask("GET", apiPath+"connections", "", bearer); strings.Contains(body, "<img") || strings.Contains(body, "that-is-secret") {
		t.Errorf("%s", body)
	}
	var detail connectionAnswer
	w.get("connection?id="+all[1].ID(), &detail)
	if d := detail.Connection; d.User != "User-1" || !slices.Equal(d.RoomNames, []string{"lobby"}) || d.connection.Rooms != 1 || !d.Expires.IsZero() {
		t.Errorf("%+v", d)
	}
}

func TestDisconnect(t *testing.T) {
	w := newWorld(t, worldOptions{token: token})
	c, other := w.dial(client.WithoutReconnect()), w.dial()
	if err := w.srv.Conn(other.ID()).Join(c.ID()); err != nil { // in the room of the other's name
		t.Fatal(err)
	}
	var done disconnected
	w.post("connection/disconnect", disconnectRequest{ID: c.ID(), Code: 4567, Reason: "bye <b>"}, &done)
	if !done.Disconnected {
		t.Error("it was not")
	}
	w.eventually("the client's end", func() bool { return c.State() == polywire.StateClosed })
	if err := fmt.Sprint(c.Err()); !strings.Contains(err, "4567") || !strings.Contains(err, "bye <b>") {
		t.Error(err)
	}
	if err := other.Call(t.Context(), "echo", 1, nil); err != nil {
		t.Errorf("another connection has ended: %v", err)
	}
	w.eventually("the connection to be gone", func() bool {
		resp, _ := w.ask("GET", apiPath+"connection?id="+c.ID(), "", bearer)
		return resp.Code == http.StatusNotFound
	})
	if text := w.log.String(); !strings.Contains(text, "ended by the console") {
		t.Error(text)
	}
}

func TestRooms(t *testing.T) {
	w := newWorld(t, worldOptions{token: token})
	one, two := w.dial(), w.dial()
	for _, name := range []string{"b", "a", "C/d?e", "<b>", "ab"} {
		if err := one.Subscribe(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	if err := two.Subscribe(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	names := func(query string) string {
		t.Helper()
		var a roomsAnswer
		w.get("rooms"+query, &a)
		var all []string
		for _, r := range a.Rooms {
			all = append(all, fmt.Sprintf("%s=%d", r.Name, r.Members))
		}
		if !slices.Equal(a.Namespaces, []string{"/"}) {
			t.Errorf("namespaces %v", a.Namespaces)
		}
		return strings.Join(all, " ") + ">" + a.Next
	}
	for query, want := range map[string]string{
		"":                  "<b>=1 C/d?e=1 a=2 ab=1 b=1>",
		"?limit=2":          "<b>=1 C/d?e=1>C/d?e",
		"?limit=2&after=a":  "ab=1 b=1>",
		"?q=B":              "<b>=1 ab=1 b=1>",
		"?q=c/":             "C/d?e=1>",
		"?namespace=/none":  ">",
		"?q=nothing":        ">",
		"?after=zzz":        ">",
		"?limit=1&after=ab": "b=1>",
	} {
		if got := names(query); got != want {
			t.Errorf("%q: %s, want %s", query, got, want)
		}
	}
	var members connectionsAnswer
	if w.get("connections?room="+url.QueryEscape("C/d?e"), &members); !slices.Equal(ids(members.Connections), []string{one.ID()}) {
		t.Errorf("%+v", members)
	}
}

// One console shows the connections, rooms and figures of all nodes.
func TestCluster(t *testing.T) {
	hub := cluster.NewMemory()
	on := func(name string) worldOptions {
		return worldOptions{token: token, options: []polywire.Option{polywire.WithCluster(hub), polywire.WithNodeName(name), named()}}
	}
	a, b := newWorld(t, on("a")), newWorld(t, on("b"))
	a.eventually("both nodes", func() bool { return len(a.srv.Nodes().List()) == 2 && len(b.srv.Nodes().List()) == 2 })
	here, there, far := a.dial(as("ann")), b.dial(as("bob")), b.dial(as("bea"), client.WithoutReconnect())
	for _, c := range []peer{here, there} {
		if err := c.Subscribe(t.Context(), "lobby"); err != nil {
			t.Fatal(err)
		}
	}
	if err := there.Subscribe(t.Context(), "only-b"); err != nil {
		t.Fatal(err)
	}
	var list connectionsAnswer
	a.get("connections", &list)
	if want := []string{here.ID(), there.ID(), far.ID()}; list.Matched != 3 || len(list.Connections) != 3 || !sameSet(ids(list.Connections), want) {
		t.Errorf("%+v", list)
	}
	var page connectionsAnswer
	a.get("connections?limit=1", &page)
	if page.Next != page.Connections[0].ID || page.Matched != 3 {
		t.Errorf("%+v", page)
	}
	a.get("connections?sort=newest&limit=1", &page)
	if page.Next != "" || len(page.Connections) != 1 || page.Connections[0].ID != far.ID() {
		t.Errorf("%+v", page)
	}
	a.get("connections?node="+b.srv.Nodes().ID()+"&user=bob", &page)
	if len(page.Connections) != 1 || page.Connections[0].Node != b.srv.Nodes().ID() {
		t.Errorf("%+v", page)
	}
	var rooms roomsAnswer
	a.get("rooms", &rooms)
	if want := []room{{"lobby", "/", 2}, {"only-b", "/", 1}}; !slices.Equal(rooms.Rooms, want) {
		t.Errorf("%+v", rooms)
	}
	var one connectionAnswer
	a.get("connection?id="+there.ID(), &one)
	if one.Connection.User != "bob" || !sameSet(one.Connection.RoomNames, []string{"lobby", "only-b"}) {
		t.Errorf("%+v", one.Connection)
	}
	var nodes seenNodes
	a.get("nodes", &nodes)
	if len(nodes.Nodes) != 2 || nodes.MissingNodes != nil || !nodes.Available || nodes.Self != a.srv.Nodes().ID() || nodes.Cluster == nil {
		t.Errorf("%+v", nodes)
	}
	for _, n := range nodes.Nodes {
		if n.Connections == nil || n.Name != map[bool]string{true: "a", false: "b"}[n.Self] || *n.Connections != map[bool]int{true: 1, false: 2}[n.Self] {
			t.Errorf("%+v", n)
		}
	}
	var done disconnected
	a.post("connection/disconnect", disconnectRequest{ID: far.ID()}, &done)
	a.eventually("the end of a connection elsewhere", func() bool { return far.State() == polywire.StateClosed })
	if resp, body := a.ask("GET", apiPath+"connection?id="+far.ID()+"x", "", bearer); resp.Code != 404 {
		t.Errorf("%s %s", resp.Status, body)
	}
}

// A node that cannot answer is named, and the others are shown.
func TestMissingNode(t *testing.T) {
	hub := cluster.NewMemory()
	w := newWorld(t, worldOptions{token: token, options: []polywire.Option{polywire.WithCluster(hub)}})
	dumb, err := polywire.New(polywire.WithCluster(hub)) // it answers no consoles
	if err != nil {
		t.Fatal(err)
	}
	if err := dumb.Start(); err != nil {
		t.Fatal(err)
	}
	defer dumb.Close()
	c := w.dial()
	id := dumb.Nodes().ID()
	w.eventually("both nodes", func() bool { return len(w.srv.Nodes().List()) == 2 })
	var list connectionsAnswer
	w.get("connections", &list)
	if !slices.Equal(ids(list.Connections), []string{c.ID()}) || !slices.Equal(list.MissingNodes, []string{id}) {
		t.Errorf("%+v", list)
	}
	var nodes seenNodes
	if w.get("nodes", &nodes); len(nodes.Nodes) != 2 || !slices.Equal(nodes.MissingNodes, []string{id}) {
		t.Errorf("%+v", nodes)
	}
	if resp, body := w.ask("GET", apiPath+"connection?id=unknown", "", bearer); resp.Code != 503 || !strings.Contains(body, id) {
		t.Errorf("%s %s", resp.Status, body)
	}
}

func sameSet(a, b []string) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(a, b)
}
