package clustertest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/polywire/polywire/cluster"
)

func outageChecks() []check {
	return []check{
		{name: "an engine that is away", run: checkAway, needs: hasOutage, waits: true},
		{name: "an engine that comes back", run: checkBack, needs: hasOutage, waits: true},
		{name: "a long outage", run: checkLongOutage, needs: hasOutage, long: true, waits: true},
		{name: "announced while the engine is away", run: checkAnnounceAway, needs: hasOutage, waits: true},
		{name: "closed while the engine is away", run: checkCloseAway, needs: hasOutage, long: true, waits: true},
		{name: "opened while the engine is away", run: checkOpenAway, needs: hasOutage, waits: true},
		{name: "one node is cut off", run: checkCut, needs: hasCut, waits: true},
		{name: "one node is cut off for long", run: checkLongCut, needs: hasCut, long: true, waits: true},
	}
}

// stop takes the engine away, and waits until nodes have noticed.
func (t *trial) stop(nodes ...*node) {
	t.Helper()
	t.Stop()
	t.notice(nodes...)
}

func (t *trial) notice(nodes ...*node) {
	t.Helper()
	start := time.Now()
	for _, n := range nodes {
		t.within(noticeWithin-time.Since(start), "the node notices that the engine is away", n.isDown)
	}
}

// start brings the engine back, and waits until nodes can use it.
func (t *trial) start(nodes ...*node) {
	t.Helper()
	t.Start()
	t.resume(nodes...)
}

func (t *trial) resume(nodes ...*node) {
	t.Helper()
	start := time.Now()
	for _, n := range nodes {
		t.within(answerWithin-time.Since(start), "the node notices that the engine is back", n.isUp)
	}
	for _, n := range nodes {
		n.sync()
	}
}

// checkAway: what needs the engine says so, soon; and nothing else happens.
func checkAway(t *trial) {
	nodes := t.joinAll("a", "b")
	a, b := nodes[0], nodes[1]
	b.wants("topic")
	calls := map[string]func() error{
		"Publish": func() error { return a.bus.Publish(context.Background(), []string{"topic"}, nil) },
	}
	if !t.features.NoLogs {
		l := a.log(unique("log"), cluster.LogOptions{Size: 5})
		calls["Append"] = func() error { _, err := l.log.Append(context.Background(), "topic", nil); return err }
		calls["After"] = func() error {
			_, err := l.log.After(t.patient(), "topic", cluster.Position{})
			return err
		}
	}
	t.Stop()
	for name, call := range calls { // noticed or not
		t.lasts(answerWithin, name+" without an engine", func() {
			if err := call(); err != nil && !errors.Is(err, cluster.ErrUnavailable) || err == nil && name != "Publish" {
				t.Errorf("%s without an engine: %v, want %v", name, err, cluster.ErrUnavailable)
			}
		})
	}
	t.notice(a, b)
	calls["Sync"] = func() error { return a.bus.Sync(context.Background()) }
	for range 3 {
		for name, call := range calls {
			limit := answerWithin
			if name == "Sync" || name == "Publish" {
				limit = atOnce
			}
			t.lasts(limit, name+" while the engine is away", func() {
				if err := call(); !errors.Is(err, cluster.ErrUnavailable) {
					t.Errorf("%s while the engine is away: %v, want %v", name, err, cluster.ErrUnavailable)
				}
			})
		}
	}
	b.bus.Interest("another", true)
	b.has()
	t.start(a, b)
}

// checkBack: all is as before, twice, and what was said meanwhile holds.
func checkBack(t *trial) {
	nodes := t.joinAll("a", "b")
	a, b := nodes[0], nodes[1]
	b.wants("before", "ends", "again")
	var want []string
	for round := range 2 {
		t.stop(a, b)
		meanwhile := fmt.Sprintf("meanwhile %d", round)
		b.bus.Interest(meanwhile, true)
		b.bus.Interest("ends", false)
		b.bus.Interest("again", false)
		b.bus.Interest("again", true)
		t.start(a, b)
		for _, topic := range []string{"before", "ends", "again", "meanwhile 0", "meanwhile 1"} {
			text := fmt.Sprintf("%s in round %d", topic, round)
			a.publish(text, topic)
			if topic != "ends" && (topic != "meanwhile 1" || round == 1) {
				want = append(want, text)
			}
		}
		a.flush(b)
		b.flush(a)
		b.has(want...)
		t.known(a, b)
		if changes, up := b.lastUp(); changes != 2*round+2 || !up {
			t.Errorf("the engine went and came %d times", changes)
		}
	}
	t.known(a, b, t.join("c"))
}

// checkLongOutage: an engine that is away longer than it takes to miss a node
// is no reason to miss one.
func checkLongOutage(t *trial) {
	nodes := t.joinAll("a", "b", "c")
	t.stop(nodes...)
	before := make([]int, len(nodes))
	for i, n := range nodes {
		before[i] = len(n.tellings())
	}
	pass(deathWithin)
	for i, n := range nodes {
		if all := n.tellings(); len(all) != before[i] {
			t.Errorf("while the engine was away the node was told %+v", all[before[i]:])
		}
	}
	t.start(nodes...)
	t.known(nodes...)
	nodes[1].wants("topic")
	nodes[0].publish("x", "topic")
	nodes[0].flush(nodes[1])
	nodes[1].has("x")
	t.known(append(nodes, t.join("d"))...)
}

// checkAnnounceAway: it is told later.
func checkAnnounceAway(t *trial) {
	nodes := t.joinAll("a", "b")
	a, b := nodes[0], nodes[1]
	t.stop(a, b)
	a.self.Services = []string{"new"}
	a.self.Meta = nil
	if err := a.bus.Announce(a.self); err != nil {
		t.Errorf("Announce while the engine is away: %v", err)
	}
	t.start(a, b)
	t.known(a, b)
}

// checkCloseAway: Close does not wait for the engine, and the others hear of it
// when that is back.
func checkCloseAway(t *trial) {
	nodes := t.joinAll("a", "b", "c")
	a, b, c := nodes[0], nodes[1], nodes[2]
	t.stop(nodes...)
	b.quiet.Store(true)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	t.lasts(2*time.Second+leeway, "Close while the engine is away", func() {
		_ = b.bus.Shutdown(ctx) // there is nobody to say goodbye to
		b.over.Store(true)
	})
	if err := b.bus.Publish(context.Background(), []string{"topic"}, nil); !errors.Is(err, cluster.ErrClosed) {
		t.Errorf("Publish after Close: %v, want %v", err, cluster.ErrClosed)
	}
	t.start(a, c)
	t.known(a, c)
}

// checkOpenAway: Open waits for the engine as long as its context does.
func checkOpenAway(t *trial) {
	a := t.join("a")
	t.stop(a)
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	self := selfNode("b")
	t.lasts(noticeWithin, "Open while the engine is away", func() {
		bus, err := t.Adapter(self.ID).Open(ctx, self, &deaf{})
		if err == nil {
			_ = bus.Shutdown(ctx)
			t.Errorf("a bus was opened while the engine is away")
		}
	})
	t.start(a)
	t.known(a, t.join("b"))
}

// checkCut: the others go on, and the one comes back as if nothing had been.
func checkCut(t *trial) {
	nodes := t.joinAll("a", "b", "c")
	a, b, c := nodes[0], nodes[1], nodes[2]
	for _, n := range nodes {
		n.wants("topic")
	}
	t.Cut(c.id)
	t.notice(c)
	c.bus.Interest("meanwhile", true)
	if err := c.bus.Publish(t.patient(), []string{"topic"}, []byte("lost")); !errors.Is(err, cluster.ErrUnavailable) {
		t.Errorf("Publish of a node that is cut off: %v, want %v", err, cluster.ErrUnavailable)
	}
	a.publish("to the others", "topic")
	a.flush(b)
	b.has("to the others")
	c.has()
	t.Heal(c.id)
	t.resume(c)
	t.known(nodes...)
	a.publish("to all", "topic", "meanwhile")
	a.flush(b, c)
	b.has("to the others", "to all")
	c.flush(a, b)
	c.publish("from there", "topic")
	c.flush(a, b)
	a.has("from there")
	got := texts(c.messages())
	if len(got) == 0 || got[len(got)-1] != "to all" || len(got) > 2 {
		t.Errorf("the node that was cut off received %q", got)
	}
	if changes, _ := a.lastUp(); changes > 0 {
		t.Errorf("a node that was not cut off lost the engine")
	}
}

// checkLongCut: the others miss it, and are told when it is back.
func checkLongCut(t *trial) {
	nodes := t.joinAll("a", "b", "c")
	a, b, c := nodes[0], nodes[1], nodes[2]
	t.Cut(c.id)
	t.known(a, b)
	if !c.isDown() {
		t.Errorf("the node that is cut off has not noticed")
	}
	if got := c.nodes(); len(got) != 3 {
		t.Errorf("the node that is cut off was told of %+v", got)
	}
	t.Heal(c.id)
	t.resume(c)
	t.known(nodes...)
	c.wants("topic")
	a.publish("x", "topic")
	a.flush(c)
	c.has("x")
}
