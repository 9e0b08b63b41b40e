package clustertest

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/polywire/polywire/cluster"
)

func closeChecks() []check {
	return []check{
		{name: "use after close", run: checkUseAfterClose},
		{name: "close more than once", run: checkCloseTwice},
		{name: "close under load", run: checkCloseUnderLoad},
		{name: "close without time for a goodbye", run: checkCloseHasty, long: true, waits: true},
		{name: "close waits for the receiver", run: checkCloseWaits},
	}
}

// checkUseAfterClose: everything says that it is closed.
func checkUseAfterClose(t *trial) {
	nodes := t.joinAll("a", "b")
	a, b := nodes[0], nodes[1]
	b.wants("topic")
	calls := map[string]func() error{
		"Sync":     func() error { return a.bus.Sync(t.patient()) },
		"Publish":  func() error { return a.bus.Publish(t.patient(), []string{"topic"}, nil) },
		"Announce": func() error { return a.bus.Announce(a.self) },
	}
	var l *logOf
	if !t.features.NoLogs {
		l = a.log(unique("log"), cluster.LogOptions{Size: 5})
		calls["Log"] = func() error {
			_, err := a.historian().Log(t.patient(), unique("log"), cluster.LogOptions{Size: 5})
			return err
		}
		calls["Append"] = func() error { _, err := l.log.Append(t.patient(), "topic", nil); return err }
		calls["After"] = func() error { _, err := l.log.After(t.patient(), "topic", cluster.Position{}); return err }
	}
	a.close()
	for name, call := range calls {
		t.lasts(atOnce, name+" after Close", func() {
			if err := call(); !errors.Is(err, cluster.ErrClosed) {
				t.Errorf("%s after Close: %v, want %v", name, err, cluster.ErrClosed)
			}
		})
	}
	a.bus.Interest("topic", true)
	a.bus.Interest("topic", false)
	if l != nil {
		l.log.Interest("topic", true)
	}
	t.known(b)
	t.known(b, t.join("a"))
	b.has()
}

// checkCloseTwice: again, and at the same time.
func checkCloseTwice(t *trial) {
	nodes := t.joinAll("a", "b")
	var goes sync.WaitGroup
	for range 4 {
		goes.Go(nodes[0].close)
	}
	goes.Wait()
	nodes[0].close()
	if err := nodes[0].bus.Shutdown(ended()); err != nil {
		t.Errorf("Close again: %v", err)
	}
	t.known(nodes[1])
}

// checkCloseUnderLoad: the receiver hears nothing after Close, though there is
// plenty to hear; senders notice nothing.
func checkCloseUnderLoad(t *trial) {
	a := t.join("a")
	for round := range 5 {
		b := t.join("b")
		b.wants("topic")
		stop := make(chan struct{})
		var goes sync.WaitGroup
		for range 3 {
			goes.Go(func() { a.publishUntil(stop, "topic") })
		}
		t.until("some have arrived", func() bool { return len(b.messages()) > 100*round })
		b.close()
		a.sees(a) // there has been time for more
		close(stop)
		goes.Wait()
	}
}

// publishUntil publishes numbers, and pauses now and then.
func (n *node) publishUntil(stop chan struct{}, topic string) {
	ctx := n.t.patient()
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		default:
		}
		if err := n.bus.Publish(ctx, []string{topic}, fmt.Append(nil, i)); err != nil {
			n.t.Errorf("Publish while another node closes: %v", err)
			return
		}
		if i%10 == 9 {
			pass(time.Millisecond)
		}
	}
}

// checkCloseHasty: a context that is over leaves out the goodbye, at most.
func checkCloseHasty(t *trial) {
	nodes := t.joinAll("a", "b")
	a, b := nodes[0], nodes[1]
	a.wants("topic")
	a.quiet.Store(true)
	t.lasts(noticeWithin, "Close with a context that is over", func() {
		_ = a.bus.Shutdown(ended()) // it may have something to say about that
		a.over.Store(true)
	})
	b.publish("late", "topic")
	t.known(b)
	if err := a.bus.Publish(t.patient(), []string{"topic"}, nil); !errors.Is(err, cluster.ErrClosed) {
		t.Errorf("Publish after Close: %v, want %v", err, cluster.ErrClosed)
	}
}

// checkCloseWaits: a call that runs has ended when Close returns.
func checkCloseWaits(t *trial) {
	holding, hold := make(chan struct{}), make(chan struct{})
	a := t.joinWith(selfNode("a"), func(m cluster.Message) {
		if m.Topic == "topic" {
			close(holding)
			<-hold
		}
	})
	release := sync.OnceFunc(func() { close(hold) })
	t.Cleanup(release)
	b := t.join("b")
	t.known(a, b)
	a.wants("topic")
	b.publish("hold", "topic")
	select {
	case <-holding:
	case <-t.patient().Done():
		t.Fatalf("nothing arrives")
	}
	closed := make(chan struct{})
	go func() {
		a.close()
		close(closed)
	}()
	t.known(b) // the goodbye need not wait
	select {
	case <-closed:
		t.Errorf("Close returned while the receiver was being called")
	default:
	}
	release()
	<-closed
	a.has("hold")
}
