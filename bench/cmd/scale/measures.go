package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/bench/internal/tool"
	"github.com/polywire/polywire/client"
)

func payload() string { return strings.Repeat("x", 100) }

func (o options) conns(n int) int {
	if o.small {
		return max(n/100, 2)
	}
	return n
}

// rated measures publishing to connections spread over nodes.
func rated(ctx context.Context, o options, nodes, spread, conns int, clustered bool, window int64, opts ...polywire.Option) (rate, cpu float64, err error) {
	var rates, cpus []float64
	for range o.rounds {
		s, err := newSite(ctx, nodes, clustered, opts...)
		if err != nil {
			return 0, 0, err
		}
		for i := range spread {
			if err == nil {
				err = s.connect(ctx, nodes-1-i, conns/spread)
			}
		}
		var r, c float64
		if err == nil {
			r, c, err = s.publish(ctx, o.duration, window, payload())
		}
		if closing := s.close(); err == nil {
			err = closing
		}
		if err != nil {
			return 0, 0, err
		}
		rates, cpus = append(rates, r), append(cpus, c)
	}
	return tool.Median(rates), tool.Median(cpus), nil
}

func broadcast(ctx context.Context, o options) (table, error) {
	n := o.conns(1000)
	t := table{title: "Broadcasts to " + strconv.Itoa(n) + " connections, 16 in flight", head: []string{"nodes", "deliveries a second", "of one node's"}}
	var alone float64
	for _, nodes := range []int{1, 2} {
		rate, _, err := rated(ctx, o, nodes, nodes, n, nodes > 1, 16)
		if err != nil {
			return t, err
		}
		if nodes == 1 {
			alone = rate
		}
		t.rows = append(t.rows, []string{strconv.Itoa(nodes), num(rate * float64(n)), fmt.Sprintf("%.0f %%", 100*rate/alone)})
	}
	t.note = "Bar: two nodes at least 60 %. All share two cores here with the connections' other ends: the figure is the cost of the cluster, not what a second machine brings."
	return t, nil
}

// hop measures how much later a message comes to another node's members.
func hop(ctx context.Context, o options) (table, error) {
	t := table{title: "The hop: 1,000 messages a second to 10 clients on each of two nodes", head: []string{"clients of", "p50", "p99", "slowest"}}
	s, err := newSite(ctx, 2, true, polywire.WithSubscribePolicy(func(context.Context, *polywire.Conn, string) error { return nil }))
	if err != nil {
		return t, err
	}
	var mu sync.Mutex
	var late [2][]time.Duration
	var clients []*client.Client
	for node := range 2 {
		for range 10 {
			c, err := client.New("ws://" + s.urls[node] + "/polywire")
			if err != nil {
				return t, err
			}
			polywire.HandleFunc(c, "at", func(_ context.Context, sent *int64) (*struct{}, error) {
				d := time.Since(time.Unix(0, *sent))
				mu.Lock()
				defer mu.Unlock()
				late[node] = append(late[node], d)
				return nil, nil
			})
			if err := c.Connect(ctx); err != nil {
				return t, err
			}
			if err := c.Subscribe(ctx, room); err != nil {
				return t, err
			}
			clients = append(clients, c)
		}
	}
	heard := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(late[0]) > 0 && len(late[1]) > 0
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(o.duration); time.Now().Before(end) || !heard(); <-tick.C {
		if time.Since(end) > time.Minute {
			return t, errors.New("no message comes to one of the nodes")
		}
		if err := s.nodes[0].Room(room).Send(ctx, "at", time.Now().UnixNano()); err != nil {
			return t, err
		}
	}
	for _, c := range clients {
		if err := c.Close(); err != nil {
			return t, err
		}
	}
	if err := s.close(); err != nil {
		return t, err
	}
	var p99 [2]time.Duration
	for node, all := range late {
		slices.Sort(all)
		at := func(q float64) time.Duration { return all[int(q*float64(len(all)-1))] }
		p99[node] = at(.99)
		where := []string{"the sending node", "the other node"}[node]
		t.rows = append(t.rows, []string{where, at(.5).Round(time.Microsecond).String(), at(.99).Round(time.Microsecond).String(), at(1).Round(time.Microsecond).String()})
	}
	t.note = fmt.Sprintf("The hop adds %v at the 99th percentile; bar: 3 ms.", (p99[1] - p99[0]).Round(time.Microsecond))
	return t, nil
}

func perNodes(ctx context.Context, o options) (table, error) {
	t := table{title: "CPU time of a publish, by nodes", head: []string{"nodes", "with members on two", "with members on all"}}
	for _, nodes := range []int{2, 4, 8} {
		row := []string{strconv.Itoa(nodes)}
		for _, spread := range []int{2, nodes} {
			_, cpu, err := rated(ctx, o, nodes, spread, 2*spread, true, 64)
			if err != nil {
				return t, err
			}
			row = append(row, fmt.Sprintf("%.1f us", cpu))
		}
		t.rows = append(t.rows, row)
	}
	t.note = "Two members on each node that has any; CPU time of everything, the members' ends too."
	return t, nil
}

func history(ctx context.Context, o options) (table, error) {
	t := table{title: "History in memory, one node", head: []string{"members", "publishes a second without", "with", "costs"}}
	for _, members := range []int{10, 100, 1000} {
		n := o.conns(members)
		without, _, err := rated(ctx, o, 1, 1, n, false, 16)
		if err != nil {
			return t, err
		}
		with, _, err := rated(ctx, o, 1, 1, n, false, 16, polywire.WithHistory("*", polywire.History{}))
		if err != nil {
			return t, err
		}
		t.rows = append(t.rows, []string{strconv.Itoa(n), num(without), num(with), fmt.Sprintf("%.0f %%", 100*(1-with/without))})
	}
	t.note = "Bar: at most 15 %. Messages with a place are some 30 bytes longer on the wire."
	return t, nil
}

// grown is how much memory something takes, after a collection.
func grown(o options, do func() error) (int64, error) {
	collect := func() (int64, error) {
		runtime.GC()
		debug.FreeOSMemory()
		return resident()
	}
	before, err := collect()
	if err != nil {
		return 0, err
	}
	if err := do(); err != nil {
		return 0, err
	}
	if !o.small {
		time.Sleep(2 * time.Second) // until quiet connections sleep
	}
	after, err := collect()
	return after - before, err
}

func connections(ctx context.Context, o options) (table, error) {
	t := table{title: "Connections in one room of one of two nodes", head: []string{"connections", "KiB each, both ends", "a publish, CPU time for each"}}
	for _, n := range []int{1000, 2000, 4000, 8000} {
		s, err := newSite(ctx, 2, true)
		if err != nil {
			return t, err
		}
		bytes, err := grown(o, func() error { return s.connect(ctx, 1, o.conns(n)) })
		if err != nil {
			return t, err
		}
		_, cpu, err := s.publish(ctx, o.duration, 4, payload())
		if err != nil {
			return t, err
		}
		if err := s.close(); err != nil {
			return t, err
		}
		count := float64(o.conns(n))
		t.rows = append(t.rows, []string{num(count), fmt.Sprintf("%.1f", float64(bytes)/1024/count), fmt.Sprintf("%.2f us", cpu/count)})
	}
	t.note = "Of the KiB about 5 are the other end's: a goroutine with its stack and a buffer of 4 KiB."
	return t, nil
}

func rooms(ctx context.Context, o options) (table, error) {
	t := table{title: "Rooms of one member each, on one of two nodes, 100 for each connection", head: []string{"rooms", "bytes each", "to join", "to send to one from the other node"}}
	for _, n := range []int{1000, 10_000, 100_000} {
		count := o.conns(n)
		s, err := newSite(ctx, 2, true)
		if err != nil {
			return t, err
		}
		const each = 100 // rooms of a connection
		if err := s.connect(ctx, 1, max(count/each, 1)); err != nil {
			return t, err
		}
		names := make([]string, count)
		for i := range names {
			names[i] = "user-" + strconv.Itoa(i)
		}
		conns := s.nodes[1].All().Conns()
		var joining time.Duration
		bytes, err := grown(o, func() error {
			began := time.Now()
			defer func() { joining = time.Since(began) }()
			for i, c := range conns {
				if err := c.Join(names[min(i*each, count):min((i+1)*each, count)]...); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return t, err
		}
		began, spent := time.Now(), tool.CPU()
		sends := 0
		for ; time.Since(began) < o.duration/2; sends++ {
			if err := s.nodes[0].Room(names[sends%count]).Send(ctx, "news", payload()); err != nil {
				return t, err
			}
		}
		cpu := float64((tool.CPU() - spent).Microseconds()) / float64(sends)
		if err := s.close(); err != nil {
			return t, err
		}
		t.rows = append(t.rows, []string{num(float64(count)), num(float64(bytes) / float64(count)),
			fmt.Sprintf("%.1f us", float64(joining.Microseconds())/float64(count)), fmt.Sprintf("%.1f us", cpu)})
	}
	t.note = "The bytes are those of both nodes and of the NATS server between them."
	return t, nil
}
