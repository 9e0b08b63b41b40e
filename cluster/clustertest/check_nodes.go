package clustertest

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/polywire/polywire/cluster"
)

func nodeChecks() []check {
	return []check{
		{name: "nodes know each other", run: checkNodes},
		{name: "a node alone", run: checkAlone},
		{name: "a node announces", run: checkAnnounce},
		{name: "nodes come and go at once", run: checkChurn},
		{name: "a killed node is gone within 15 s", run: checkKill, needs: hasKill, long: true, waits: true},
	}
}

// checkNodes: all are told who is there, with all that they said of themselves.
func checkNodes(t *trial) {
	c := t.join("c")
	a := t.join("a")
	if first := a.tellings()[0].nodes; !slices.ContainsFunc(first, func(n cluster.Node) bool { return sameNode(n, a.self) }) {
		t.Errorf("before Open returned the node was told of %+v", first)
	}
	b := t.join("b")
	t.known(a, b, c)
	b.close()
	t.known(a, c)
	again := t.join("b") // another start of the same program
	t.known(a, again, c)
}

// checkAlone: Nodes is told once where nothing changes.
func checkAlone(t *trial) {
	a := t.join("a")
	a.sees(a)
	a.flushSelf()
	if n := len(a.tellings()); n != 1 {
		t.Errorf("a node alone was told of something %d times, want once", n)
	}
}

// flushSelf gives the engine a reason to tell this node all that it has.
func (n *node) flushSelf() {
	n.t.Helper()
	n.publish("to nobody", "a topic that nobody wants")
	n.sync()
}

// checkAnnounce: what is announced reaches all, but the ID stays.
func checkAnnounce(t *trial) {
	nodes := t.joinAll("a", "b")
	a, b := nodes[0], nodes[1]
	announced := cluster.Node{
		ID: "another", Name: "renamed", Started: a.self.Started,
		Services: []string{"faces", "sums"}, Meta: map[string]string{"zone": "north"},
	}
	for range 2 {
		if err := a.bus.Announce(announced); err != nil {
			t.Fatalf("Announce: %v", err)
		}
		a.self = announced
		a.self.ID = a.id
		t.known(a, b)
		announced = cluster.Node{Name: "with nothing to offer", Started: a.self.Started}
	}
	late := t.join("c")
	t.known(a, b, late)

	// What a node does to its own value later is not announced.
	mine := cluster.Node{ID: a.id, Name: "n", Started: a.self.Started, Services: []string{"s"}, Meta: map[string]string{"k": "v"}}
	a.self = mine
	a.self.Services, a.self.Meta = slices.Clone(mine.Services), maps.Clone(mine.Meta)
	if err := a.bus.Announce(mine); err != nil {
		t.Fatalf("Announce: %v", err)
	}
	mine.Services[0], mine.Meta["k"] = "changed", "changed"
	last := t.join("d")
	t.known(a, b, late, last)
}

// checkChurn: when many come and go at once, the rest agree in the end.
func checkChurn(t *trial) {
	stay := t.joinAll("a", "b")
	var goes sync.WaitGroup
	for range 4 {
		goes.Go(func() {
			for range 3 {
				r := &deaf{}
				self := selfNode("short")
				bus, err := t.Adapter(self.ID).Open(t.patient(), self, r)
				if err != nil {
					t.Errorf("Open: %v", err)
					return
				}
				if err := bus.Shutdown(t.patient()); err != nil {
					t.Errorf("Close: %v", err)
				}
			}
		})
	}
	goes.Wait()
	t.known(append(stay, t.join("c"))...)
}

// deaf is a receiver for which only the bus matters.
type deaf struct{}

func (*deaf) Receive(cluster.Message) {}
func (*deaf) Nodes([]cluster.Node)    {}
func (*deaf) Available(bool)          {}

// checkKill: the others are told, and go on.
func checkKill(t *trial) {
	nodes := t.joinAll("a", "b", "c")
	a, b, c := nodes[0], nodes[1], nodes[2]
	b.wants("topic")
	c.wants("topic")
	t.kill(b)
	a.publish("meanwhile", "topic")
	a.flush(c)
	c.has("meanwhile")
	start := time.Now()
	for _, n := range []*node{a, c} {
		t.within(deathWithin-time.Since(start), "the killed node is gone", func() bool { return len(n.nodes()) == 2 })
	}
	t.known(a, c)
	b.has()
	t.known(a, c, t.join("d"))
}

// kill ends a node the hard way.
func (t *trial) kill(n *node) {
	t.Helper()
	n.quiet.Store(true)
	t.Kill(n.id)
}
