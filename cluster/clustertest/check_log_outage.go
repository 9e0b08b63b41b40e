package clustertest

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/polywire/polywire/cluster"
)

func logOutageChecks() []check {
	return []check{
		{name: "a log whose engine was away", run: checkLogBack, needs: hasOutage, waits: true},
		{name: "appending while the engine goes and comes", run: checkLogAppendOutage, needs: hasOutage, waits: true},
		{name: "a log that was lost", run: checkLoss, needs: hasLoss, waits: true},
		{name: "messages missed by a node that was cut off", run: checkLogCut, needs: hasCut, waits: true},
		{name: "a log whose appender was killed", run: checkLogKill, needs: hasKill, waits: true},
	}
}

// checkLogBack: what was there is there, or known to be lost; never some of it.
func checkLogBack(t *trial) {
	nodes := t.joinAll("a", "b")
	all := logs(roomy(), nodes...)
	a, b := all[0], all[1]
	b.wants("topic")
	positions := a.append("topic", "1", "2", "3")
	b.awaits("topic", "1", "2", "3")
	t.stop(nodes...)
	if _, err := a.log.Append(context.Background(), "topic", []byte("never")); !errors.Is(err, cluster.ErrUnavailable) {
		t.Errorf("Append while the engine is away: %v, want %v", err, cluster.ErrUnavailable)
	}
	b.log.Interest("meanwhile", true)
	t.start(nodes...)
	page := b.resumed("topic", positions[0])
	switch {
	case page.Complete && fmt.Sprint(texts(page.Messages)) != "[2 3]":
		t.Errorf("after the outage there is %q", texts(page.Messages))
	case !page.Complete && page.Top.Epoch == positions[0].Epoch:
		t.Errorf("messages were lost, and the epoch is the same")
	case !page.Complete && t.storage == cluster.OnDisk:
		t.Errorf("messages on disk were lost")
	}
	a.append("topic", "4")
	a.append("meanwhile", "5")
	b.awaits("meanwhile", "5")
	t.until("interests survive", func() bool { return len(b.received("topic")) == 4 })
	last := b.received("topic")[3]
	if string(last.Data) != "4" || last.At.Epoch != page.Top.Epoch || page.Complete && last.Prev != positions[2].Offset {
		t.Errorf("after the outage came %q at %+v, after %d", last.Data, last.At, last.Prev)
	}
	b.finds("topic", page.Top, "4")
}

// resumed is after, but waits until the log can be asked again.
func (l *logOf) resumed(topic string, p cluster.Position) (page cluster.Page) {
	t := l.n.t
	t.Helper()
	t.within(answerWithin, "the log answers again", func() (ok bool) {
		var err error
		page, err = l.log.After(t.patient(), topic, p)
		if err != nil && !errors.Is(err, cluster.ErrUnavailable) {
			t.Errorf("After when the engine is back: %v", err)
		}
		return err == nil
	})
	l.sound(topic, p, page)
	return page
}

// checkLogAppendOutage: what was appended with success is there, in order and
// once, unless the epoch says that all was lost.
func checkLogAppendOutage(t *trial) {
	nodes := t.joinAll("a", "b")
	all := logs(roomy(), nodes...)
	begin := all[0].top("topic")
	var mu sync.Mutex
	appended := make(map[string]cluster.Position)
	stop := make(chan struct{})
	var goes sync.WaitGroup
	for _, l := range all {
		goes.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				text := fmt.Sprintf("%s %d", l.n.id, i)
				p, err := l.log.Append(context.Background(), "topic", []byte(text))
				switch {
				case err == nil:
					mu.Lock()
					appended[text] = p
					mu.Unlock()
				case !errors.Is(err, cluster.ErrUnavailable):
					t.Errorf("Append while the engine goes and comes: %v", err)
				}
				pass(leeway / 200)
			}
		})
	}
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(appended)
	}
	t.until("some are appended", func() bool { return count() > 20 })
	t.stop(nodes...)
	before := count()
	t.start(nodes...)
	t.until("some more are appended", func() bool { return count() > before+20 })
	close(stop)
	goes.Wait()
	page := all[0].after("topic", begin)
	if !page.Complete {
		if page.Top.Epoch == begin.Epoch || t.storage == cluster.OnDisk {
			t.Errorf("messages are gone, in epoch %q after %q", page.Top.Epoch, begin.Epoch)
		}
		return
	}
	there := make(map[string]cluster.Position)
	for _, m := range page.Messages {
		if _, twice := there[string(m.Data)]; twice {
			t.Errorf("%q is there twice", m.Data)
		}
		there[string(m.Data)] = m.At
	}
	for text, p := range appended {
		if there[text] != p {
			t.Errorf("%q was appended at %+v, and is at %+v", text, p, there[text])
		}
	}
}

// checkLoss: after a loss nobody takes new messages for the ones that follow
// the old.
func checkLoss(t *trial) {
	nodes := t.joinAll("a", "b")
	all := logs(roomy(), nodes...)
	a, b := all[0], all[1]
	b.wants("topic")
	before := a.append("topic", "1", "2", "3")
	empty := a.top("empty")
	b.awaits("topic", "1", "2", "3")
	t.LoseLogs()
	var first cluster.Position
	t.until("the log takes messages again", func() bool {
		p, err := a.log.Append(t.patient(), "topic", []byte("4"))
		if err != nil && !errors.Is(err, cluster.ErrUnavailable) {
			t.Errorf("Append after a loss: %v", err)
		}
		first = p
		return err == nil
	})
	if first.Epoch == before[0].Epoch {
		t.Fatalf("after the loss the epoch is the same, %q", first.Epoch)
	}
	a.append("topic", "5", "6", "7", "8") // beyond the offsets that were
	for _, p := range append(before, cluster.Position{Epoch: before[0].Epoch}) {
		if top := b.lost("topic", p); top.Epoch != first.Epoch {
			t.Errorf("after the loss the top is %+v, the first message at %+v", top, first)
		}
	}
	b.lost("empty", empty)
	b.finds("topic", first, "5", "6", "7", "8")
	t.until("interests survive a loss", func() bool {
		got := b.received("topic")
		return len(got) > 0 && string(got[len(got)-1].Data) == "8"
	})
	for _, m := range b.received("topic")[3:] {
		if m.At.Epoch != first.Epoch {
			t.Errorf("%q came in epoch %q, want %q", m.Data, m.At.Epoch, first.Epoch)
		}
	}
}

// checkLogCut: a node sees by the links that it has missed something, and
// finds it.
func checkLogCut(t *trial) {
	nodes := t.joinAll("a", "b", "c")
	all := logs(roomy(), nodes...)
	a, b, c := all[0], all[1], all[2]
	for _, l := range all {
		l.wants("topic")
	}
	last := a.append("topic", "1", "2")[1]
	c.awaits("topic", "1", "2")
	t.Cut(nodes[2].id)
	t.notice(nodes[2])
	missed := b.append("topic", "3", "4")
	a.awaits("topic", "1", "2", "3", "4")
	if _, err := c.log.Append(t.patient(), "topic", []byte("never")); !errors.Is(err, cluster.ErrUnavailable) {
		t.Errorf("Append of a node that is cut off: %v, want %v", err, cluster.ErrUnavailable)
	}
	t.Heal(nodes[2].id)
	t.resume(nodes[2])
	page := c.resumed("topic", last)
	if !page.Complete || len(page.Messages) != 2 || page.Messages[0].At != missed[0] {
		t.Fatalf("after the cut the log has %q, complete %v; want what was missed", texts(page.Messages), page.Complete)
	}
	a.append("topic", "5")
	t.until("messages arrive again", func() bool {
		got := c.received("topic")
		return len(got) > 2 && string(got[len(got)-1].Data) == "5"
	})
	got := c.received("topic")
	at := last
	for _, m := range got[2:] { // with or without what was missed, but each once and in order
		if m.At.Offset <= at.Offset {
			t.Errorf("%q came at %+v behind one at %+v", m.Data, m.At, at)
		}
		at = m.At
	}
	if m := got[len(got)-1]; m.Prev != missed[1].Offset {
		t.Errorf("the next message follows %d, the missed one is at %d", m.Prev, missed[1].Offset)
	}
	a.awaits("topic", "1", "2", "3", "4", "5")
}

// checkLogKill: what a node appended is there when the node is not.
func checkLogKill(t *trial) {
	nodes := t.joinAll("a", "b")
	all := logs(roomy(), nodes...)
	all[1].wants("topic")
	first := all[0].append("topic", "1", "2", "3")[0]
	t.kill(nodes[0])
	all[1].awaits("topic", "1", "2", "3")
	all[1].append("topic", "4")
	all[1].finds("topic", first, "2", "3", "4")
	l := t.join("c").log(all[1].name, roomy())
	l.finds("topic", first, "2", "3", "4")
}
