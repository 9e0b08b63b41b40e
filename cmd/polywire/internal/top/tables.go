package top

import (
	"cmp"
	"slices"
	"time"
)

// maxName is the most letters of a name.
const maxName = 60

// tablesOf makes tables of figures. before is for what is told as totals.
func tablesOf(f Figures, before *Figures) []table {
	all := []table{wires(f, before)}
	if f.Queues != nil && f.Queues.Available {
		all = append(all, queues(f.Queues))
	}
	if f.Webhooks != nil && f.Webhooks.Available {
		all = append(all, webhooks(f.Webhooks, f.At))
	}
	if f.Nodes != nil {
		all = append(all, nodes(f.Nodes))
	}
	if f.Busiest != nil {
		all = append(all, busiest(f.Busiest))
	}
	return all
}

func wires(f Figures, before *Figures) table {
	t := table{title: "WIRES", columns: []string{"conns", "in/s", "out/s", "queued", "accepted"}, widths: []int{7, 7, 7, 8, 9}}
	old := make(map[string]Wire)
	var seconds float64
	if before != nil && before.Overview != nil && before.Overview.Started.Equal(f.Overview.Started) {
		seconds = f.At.Sub(before.At).Seconds()
		for _, w := range before.Overview.Now.Wires {
			old[w.Wire] = w
		}
	}
	rate := func(now, then int64) string {
		if seconds <= 0 {
			return "-"
		}
		return count(max(float64(now-then), 0) / seconds)
	}
	for _, w := range f.Overview.Now.Wires {
		o := old[w.Wire]
		t.rows = append(t.rows, []string{
			clean(w.Wire, maxName), count(float64(w.Connections)), rate(w.MessagesIn, o.MessagesIn), rate(w.MessagesOut, o.MessagesOut),
			size(float64(w.QueuedBytes)), count(float64(w.Accepted)),
		})
	}
	return t
}

func queues(q *Queues) table {
	t := table{title: "QUEUES", columns: []string{"ready", "in hand", "dead", "done/s", "delayed"}, widths: []int{7, 7, 7, 7, 7}}
	if c := q.Connection; c != nil && c.State != "connected" {
		t.note = "(" + clean(c.State, 20) + ")"
	}
	var ways []string
	for _, one := range q.Queues {
		rate, name, way := "-", clean(one.Name, maxName), plain
		if h := one.Handler; h != nil {
			if rate = count(h.DoneRate); h.Paused {
				name, way = name+" (paused)", notice
			}
			if h.Trouble != "" {
				way = alarm
			}
		}
		if one.Error != "" {
			name, way = name+" ("+clean(one.Error, 40)+")", alarm
		}
		if one.Dead != nil && *one.Dead > 0 && way == plain {
			way = notice
		}
		ways = append(ways, way)
		t.rows = append(t.rows, []string{name, optional(one.Waiting), optional(one.Unacked), optional(one.Dead), rate, optional(one.Delayed)})
	}
	t.way = func(row int) string { return ways[row] }
	return t
}

func webhooks(w *Webhooks, now time.Time) table {
	t := table{
		title: "WEBHOOKS", columns: []string{"running", "waiting", "failed", "delivered", "failing", "breaker"}, widths: []int{7, 7, 7, 9, 8, 9},
	}
	if w.Watching != "" {
		t.note = "(changes are not seen)"
	}
	endpoints := slices.Clone(w.Endpoints)
	slices.SortStableFunc(endpoints, func(a, b Endpoint) int { // who fails comes first
		failing := func(e Endpoint) int {
			if e.FailingSince != nil && !e.Disabled {
				return 0
			}
			return 1
		}
		return cmp.Or(cmp.Compare(failing(a), failing(b)), cmp.Compare(b.Running+b.Waiting, a.Running+a.Waiting))
	})
	for _, e := range endpoints {
		name, failing := clean(e.ID, maxName)+" "+clean(e.Host, maxName), "-"
		if e.Disabled {
			name += " (disabled)"
		}
		if e.FailingSince != nil {
			failing = age(now.Sub(*e.FailingSince))
		}
		whole := func(n int64) string { return count(float64(n)) }
		t.rows = append(t.rows, []string{name, whole(e.Running), whole(e.Waiting), whole(e.Failed), whole(e.Delivered), failing, clean(cmp.Or(e.Breaker, "-"), 9)})
	}
	t.way = func(row int) string {
		switch e := endpoints[row]; {
		case e.Disabled:
			return dim
		case e.FailingSince != nil:
			return alarm
		}
		return plain
	}
	return t
}

func nodes(n *Nodes) table {
	t := table{title: "NODES", columns: []string{"conns", "rooms", "queued", "slow"}, widths: []int{7, 7, 8, 7}}
	if !n.Available {
		t.note = "(not all are seen)"
	}
	for _, one := range n.Nodes {
		name := clean(cmp.Or(one.Name, one.ID), maxName)
		if one.Self {
			name += " (this)"
		}
		if slices.Contains(n.Missing, one.ID) {
			name += " (no answer)"
		}
		queued := "-"
		if one.QueuedBytes != nil {
			queued = size(float64(*one.QueuedBytes))
		}
		t.rows = append(t.rows, []string{name, optional(one.Connections), optional(one.Rooms), queued, optional(one.Slow)})
	}
	t.way = func(row int) string {
		if slices.Contains(n.Missing, n.Nodes[row].ID) {
			return alarm
		}
		return plain
	}
	return t
}

func busiest(b *Busiest) table {
	t := table{title: "CONNECTIONS by " + b.By, columns: []string{"in", "out", "queued", "idle", "wire", "address"}, widths: []int{7, 7, 8, 7, 9, 21}}
	for _, c := range b.Connections {
		idle := "-"
		if c.Idle != nil {
			idle = age(time.Duration(*c.Idle) * time.Millisecond)
		}
		t.rows = append(t.rows, []string{
			clean(cmp.Or(c.User, c.ID), maxName), count(float64(c.MessagesIn)), count(float64(c.MessagesOut)), size(float64(c.QueuedBytes)), idle,
			clean(c.Wire, maxName), clean(c.Address, maxName),
		})
	}
	return t
}
