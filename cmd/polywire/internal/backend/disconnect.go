package backend

import (
	"time"

	"github.com/polywire/polywire"
)

// disconnected is the data of disconnect.
type disconnected struct {
	Connection connection `json:"connection"`
	Code       int        `json:"code"`
	Reason     string     `json:"reason,omitempty"`
	Remote     bool       `json:"remote"` // the client ended it
	Opened     time.Time  `json:"opened"`
}

// How disconnects are told: by so many goroutines, each so often.
const (
	tellers  = 4
	tellings = 3
	tellWait = time.Second // after the first time; three times that after the second
)

// disconnected is a hook, so it does not wait.
func (b *Backend) disconnected(c *polywire.Conn, why *polywire.CloseError) {
	d := disconnected{Connection: about(c), Opened: c.OpenedAt().UTC()}
	if why != nil {
		d.Code, d.Reason, d.Remote = int(why.Code), why.Reason, why.Remote
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		b.counters.lost.Add(1)
		return
	}
	select {
	case b.gone <- d:
	default:
		b.counters.lost.Add(1)
		b.log.Warn("the backend is not told of a disconnect: too many wait", "connection", d.Connection.ID)
	}
}

// tell tells of disconnects until there are no more.
func (b *Backend) tell() {
	for d := range b.gone {
		if err := b.tellOf(d); err != nil {
			b.counters.lost.Add(1)
			b.log.Warn("the backend was not told of a disconnect", "connection", d.Connection.ID, "error", err)
		}
	}
}

func (b *Backend) tellOf(d disconnected) (err error) {
	wait := tellWait
	for try := range tellings {
		var answer map[string]any // whatever it says
		if err = b.ask(b.ctx, Disconnect, d, &answer); err == nil || b.ctx.Err() != nil || try == tellings-1 {
			break
		}
		select {
		case <-time.After(wait):
		case <-b.ctx.Done():
			return err
		}
		wait *= 3
	}
	return err
}
