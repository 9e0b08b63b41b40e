package e2ecluster_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
)

// onlooker is in the hall, and keeps a list of who else is by what it is told.
type onlooker struct {
	name   string
	client *client.Client

	mu   sync.Mutex
	told map[string]bool // IDs of connections
}

func look(t *testing.T, n *process, dial client.Option) *onlooker {
	t.Helper()
	o := &onlooker{name: "onlooker at " + n.Name, told: make(map[string]bool)}
	c, err := client.New("ws://cluster", dial, quick())
	if err != nil {
		t.Fatal(err)
	}
	o.client = c
	note := func(there bool) polywire.Handler {
		return func(_ context.Context, m *polywire.Message) (any, error) {
			var p polywire.Presence
			if err := m.Bind(&p); err != nil {
				return nil, err
			}
			o.mu.Lock()
			defer o.mu.Unlock()
			if there {
				o.told[p.ID] = true
			} else {
				delete(o.told, p.ID)
			}
			return nil, nil
		}
	}
	c.Handle(polywire.PresenceJoined, note(true))
	c.Handle(polywire.PresenceLeft, note(false))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := errors.Join(c.Connect(ctx), c.Subscribe(ctx, hall)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("%s: %v", o.name, err)
		}
	})
	return o
}

// who asks the server who is in the hall.
func (o *onlooker) who() (ids []string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var found []polywire.Presence
	if err := o.client.Call(ctx, "who", nil, &found); err != nil {
		return nil, err
	}
	for _, p := range found {
		ids = append(ids, p.ID)
	}
	slices.Sort(ids)
	return ids, nil
}

// heard is who it was told of, and itself.
func (o *onlooker) heard(self string) []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Sorted(maps.Keys(withID(o.told, self)))
}

func withID(ids map[string]bool, id string) map[string]bool {
	all := maps.Clone(ids)
	all[id] = true
	return all
}

// gone waits until a node's connections are not in the hall any more, and so
// many others are, for everybody who has been there all the time.
func gone(t *testing.T, dead *process, others int, onlookers ...*onlooker) {
	t.Helper()
	cleaned := within(30 * time.Second)
	took := waitFor(t, patience, "presence without the node that was killed", func() error {
		for _, o := range onlookers {
			ids, err := o.who()
			if err != nil {
				return err
			}
			if len(ids) != others || slices.ContainsFunc(ids, func(id string) bool { return nodeOf(id) == dead.Node }) {
				return fmt.Errorf("%s: in the hall are %v", o.name, ids)
			}
			var self string
			for _, id := range ids {
				if o.client.Conn() != nil && !slices.Contains(o.heard(""), id) {
					self = id
				}
			}
			if heard := o.heard(self); !slices.Equal(heard, ids) {
				return fmt.Errorf("%s was told of %v, there are %v", o.name, heard, ids)
			}
		}
		return nil
	})
	cleaned.keep(t, "presence without the node that was killed")
	t.Logf("presence was clean after %v", took.Round(time.Millisecond))
}

func nodeOf(id string) string {
	for i, c := range id {
		if c == '-' {
			return id[:i]
		}
	}
	return ""
}

// killOne kills a node under a load, while those who were connected to it come
// back at other nodes, and starts it again.
func killOne(t *testing.T, c *cluster, victim *process, before time.Duration) {
	const rate = 200
	l := newLedger()
	var routes []*anywhere
	for _, n := range c.all() {
		routes = append(routes, everyKind(t, c, l, n)...)
	}
	others := c.others(victim)
	staying := []*onlooker{look(t, others[0], dialTo(others[0], way{})), look(t, others[1], dialTo(others[1], way{}))}
	look(t, victim, dialTo(victim, way{})) // does not come back until the node does
	moving := startingAt(c, victim)
	look(t, victim, client.WithNetDial(moving.dial))

	load := publish(t, l, others, 4, rate)
	began := time.Now()
	waitFor(t, patience, "the load runs", func() error {
		if all, unknown := l.counts(); all < int(before.Seconds()*rate) || unknown > 100 {
			return fmt.Errorf("%d published", all)
		}
		return nil
	})
	victim.kill()
	t.Logf("%s is killed", victim.Name)
	gone(t, victim, 3, staying...)
	again, lost := l.counts()
	waitFor(t, patience, "the load goes on", func() error {
		if all, unknown := l.counts(); all-unknown < again-lost+rate {
			return fmt.Errorf("%d published in %v, %d without an answer", all, time.Since(began), unknown)
		}
		return nil
	})
	load.stop()
	all, unknown := l.counts()
	t.Logf("%d published in %v, %d of them without an answer", all, time.Since(began).Round(time.Millisecond), unknown)
	waitFor(t, patience, "everybody has heard everything", l.complete)
	l.audit(t)
	for _, r := range routes {
		if r.at() == victim.Name {
			t.Errorf("somebody is at %s still", victim.Name)
		}
	}
	c.again(victim)
}

// leading returns the node that leads the cluster's streams, or one of them.
func leading(t *testing.T, c *cluster, stream string) (n *process) {
	t.Helper()
	waitFor(t, patience, "a leader of "+stream, func() error {
		r := c.all()[0].report()
		name := r.Leader
		if stream != "" {
			name = r.Streams[stream]
		}
		if name == "" {
			b, _ := json.Marshal(r)
			return fmt.Errorf("no leader: %s", b)
		}
		n = c.node(name)
		return nil
	})
	return n
}

// following returns a node that leads no stream.
func following(t *testing.T, c *cluster) *process {
	t.Helper()
	leaders := []*process{leading(t, c, keptStream), leading(t, c, sessionsStream)}
	for _, n := range c.all() {
		if !slices.Contains(leaders, n) {
			return n
		}
	}
	return nil // three nodes, two streams
}
