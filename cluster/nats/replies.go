package natscluster

import (
	"strconv"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
)

// replies gives answers to those who asked, by one subscription: many answers
// to a question are possible, and no interest has to travel with each.
type replies struct {
	nc    *nats.Conn
	base  string
	ended <-chan struct{} // the bus

	mu    sync.Mutex
	count uint64
	open  map[string]*reply
}

// reply is what came to a question.
type reply struct {
	r    *replies
	key  string
	last func(*nats.Msg) bool // whether a message is the last one
	all  []*nats.Msg
	done chan struct{} // closed when the last is in all
}

func newReplies(nc *nats.Conn, ended <-chan struct{}) (*replies, error) {
	r := &replies{nc: nc, base: nc.NewInbox() + ".", ended: ended, open: make(map[string]*reply)}
	sub, err := nc.Subscribe(r.base+"*", r.take)
	if err != nil {
		return nil, err
	}
	return r, sub.SetPendingLimits(-1, -1) // what is asked for is bounded
}

func (r *replies) take(m *nats.Msg) {
	key := strings.TrimPrefix(m.Subject, r.base)
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.open[key]
	if p == nil {
		return // nobody waits any more
	}
	p.all = append(p.all, m)
	if p.last == nil || p.last(m) {
		delete(r.open, key)
		close(p.done)
	}
}

// ask sends a question. last says which answer ends them; nil: the first does.
func (r *replies) ask(subject string, header nats.Header, data []byte, last func(*nats.Msg) bool) (*reply, error) {
	p := &reply{r: r, last: last, done: make(chan struct{})}
	r.mu.Lock()
	r.count++
	p.key = strconv.FormatUint(r.count, 36)
	r.open[p.key] = p
	r.mu.Unlock()
	err := r.nc.PublishMsg(&nats.Msg{Subject: subject, Reply: r.base + p.key, Header: header, Data: data})
	if err != nil {
		p.forget()
		return nil, err
	}
	return p, nil
}

// forget ends the wait for a reply.
func (p *reply) forget() {
	p.r.mu.Lock()
	defer p.r.mu.Unlock()
	delete(p.r.open, p.key)
}
