package queue

import (
	"context"
	"testing"
	"testing/synctest"
)

type deafClaim struct{}

func (deafClaim) Ack(context.Context) error              { return nil }
func (deafClaim) Retry(context.Context, *Envelope) error { return nil }
func (deafClaim) Bury(context.Context, *Dead) error      { return nil }
func (deafClaim) Return(context.Context) error           { return nil }
func (deafClaim) Extend(context.Context) error           { return nil }

// TestBurstForIdleWorker brings two messages before the one worker that is idle has
// woken: the second is not to wait for the end of the first.
func TestBurstForIdleWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := New(NewMemory(MemoryOptions{}), Options{})
		if err != nil {
			t.Fatal(err)
		}
		proceed := make(chan struct{})
		h := func(context.Context, *Delivery) error { <-proceed; return nil }
		c := newConsumer(b, "q", h, HandleOptions{Concurrency: 2})
		s := &session{c: c}
		bring := func(n int) {
			c.mu.Lock()
			for range n {
				j := newJob(s, &Incoming{Claim: deafClaim{}})
				s.held.add(j)
				c.push(j)
			}
			c.mu.Unlock()
			synctest.Wait()
		}
		bring(1)
		proceed <- struct{}{}
		synctest.Wait() // one worker, idle
		bring(2)
		if n := c.stats.running.Load(); n != 2 {
			t.Errorf("%d handlers run, want 2", n)
		}
		close(proceed)
		synctest.Wait()
		c.mu.Lock()
		c.ended = true
		c.wake.Broadcast()
		c.mu.Unlock()
		c.wg.Wait()
		if err := b.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
