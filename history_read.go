package polywire

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/polywire/polywire/cluster"
)

// ErrNoHistory says that a room keeps no messages; see [WithHistory].
var ErrNoHistory = errors.New("polywire: the room keeps no history")

// Kept is a message of a room's history.
type Kept struct {
	Position string // see [Conn.SubscribeFrom]
	Kind     string
	Header   map[string]string
	Args     []Payload // not to be changed
}

// maxHistoryReads is how often a log is asked for one history: as often as it
// takes to find the oldest message that it has.
const maxHistoryReads = 100

// History returns the latest messages of a room, oldest first, at most limit.
// The target must be of one room. Members that a message was not for are not
// considered. Errors: [ErrNoHistory]; those of the cluster's log.
func (t Target) History(ctx context.Context, limit int) ([]Kept, error) {
	if len(t.rooms) != 1 || t.ns.match != nil || limit < 1 {
		return nil, errors.New("polywire: history is asked of one room, at least one message")
	}
	if t.srv.State() != StateRunning {
		return nil, ErrNotRunning
	}
	h := t.srv.history
	k := h.of(t.rooms[0])
	if k == nil {
		return nil, fmt.Errorf("%w: %.255q", ErrNoHistory, t.rooms[0])
	}
	topic := topicRoom(t.ns.name, t.rooms[0])
	if k.log == nil {
		h.mu.RLock()
		f := h.feeds[topic]
		h.mu.RUnlock()
		if f == nil {
			return nil, nil
		}
		return f.latest(limit), nil
	}
	messages, err := latest(ctx, k.log, topic, limit)
	if err != nil {
		return nil, fmt.Errorf("polywire: history of room %q: %w", t.rooms[0], err)
	}
	var all []Kept
	for i := range messages {
		if e, err := entryOf(&messages[i]); err == nil {
			all = append(all, e.kept(messages[i].At.Epoch))
		}
	}
	return all[max(0, len(all)-limit):], nil
}

func (e *entry) kept(epoch string) Kept {
	k := Kept{Position: formatPosition(position{Epoch: epoch, Offset: e.offset}), Kind: e.kind, Header: e.header}
	switch v := e.value.(type) {
	case Payload:
		k.Args = []Payload{v}
	case Args:
		for _, a := range v {
			if p, ok := a.(Payload); ok {
				k.Args = append(k.Args, p)
			}
		}
	}
	return k
}

// latest returns the last entries of a feed without a log.
func (f *feed) latest(limit int) []Kept {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.trim(time.Now())
	entries := f.entries.all()
	entries = entries[max(0, len(entries)-limit):]
	all := make([]Kept, len(entries))
	for i := range entries {
		all[i] = entries[i].kept(f.at.Epoch)
	}
	return all
}

// latest returns at least so many of the last messages of a topic, or all that
// the log has. A log tells what comes after a place, or that it has not got all
// of that; so the place is looked for: back in growing steps, and forth again
// by halves when it was too far.
func latest(ctx context.Context, log cluster.Log, topic string, limit int) ([]cluster.Message, error) {
	page, err := log.After(ctx, topic, position{})
	if err != nil {
		return nil, err
	}
	top := page.Top
	if top.Offset == 0 {
		return nil, nil
	}
	var best []cluster.Message
	good, bad := top.Offset, uint64(0) // after good all is there; after what is below bad it is not
	step := uint64(limit)
	for range maxHistoryReads {
		var at uint64
		switch {
		case bad > 0:
			at = bad + (good-bad)/2
		case step < good:
			at = good - step
		}
		step *= 4
		page, err := log.After(ctx, topic, position{Epoch: top.Epoch, Offset: at})
		switch {
		case err != nil:
			return nil, err
		case page.Top.Epoch != top.Epoch:
			return nil, cluster.ErrUnavailable // it was lost this moment
		case page.Complete:
			best, good = page.Messages, at
		default:
			bad = at + 1
		}
		if len(best) >= limit || good == 0 || bad >= good {
			break
		}
	}
	return best, nil
}
