package rabbitmq

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// said is a confirmation that comes when it is closed.
type said chan struct{}

func (s said) Done() <-chan struct{} { return s }

func (s said) Acked() bool {
	select {
	case <-s:
		return true
	default:
		return false
	}
}

// Confirmations that come in another order than that of sending are told soon,
// each once, and one that does not come holds up nobody.
func TestConfirmationsOutOfTurn(t *testing.T) {
	for name, order := range map[string][]int{
		"in order": {0, 1, 2, 3, 4, 5}, "backwards": {5, 4, 3, 2, 1, 0}, "the first is late": {1, 2, 3, 4, 5, 0}, "mixed": {2, 0, 5, 1, 4, 3},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := len(order)
				p := newPublisher(&Options{Window: n}, nil)
				f := &flight{p: p, sent: make(chan sent, n), returned: make(map[string]int)}
				ended := make(chan struct{})
				go func() { f.confirm(); close(ended) }()
				messages, confirmations := make([]*outgoing, n), make([]said, n)
				send := func(i int) {
					messages[i], confirmations[i] = &outgoing{done: make(chan struct{})}, make(said)
					p.slot <- struct{}{}
					p.flights.Add(1)
					f.sent <- sent{messages[i], confirmations[i]}
				}
				for i := range n - 1 {
					send(i)
				}
				time.Sleep(time.Minute) // nothing is confirmed, and the last one comes much later
				send(n - 1)
				for i, which := range order {
					close(confirmations[which])
					time.Sleep(2 * outOfTurn)
					for j, m := range messages {
						if told := isClosed(m.done); told != slices.Contains(order[:i+1], j) {
							t.Errorf("after %v: message %d is told: %v", order[:i+1], j, told)
						}
					}
				}
				close(f.sent)
				<-ended
				p.flights.Wait()
				if len(p.slot) != 0 {
					t.Errorf("%d slots are held", len(p.slot))
				}
			})
		})
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
