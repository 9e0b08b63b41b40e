package webhook

import (
	"context"
	"crypto/sha256"
	"errors"
	"sync"
	"time"
)

// Claim is what a [ReplayStore] says of an id.
type Claim int

// The claims.
const (
	ClaimNew     Claim = iota + 1 // nobody had it: the caller handles the message
	ClaimBusy                     // somebody is handling it
	ClaimHandled                  // it was handled
)

// ReplayStore remembers the ids of messages, so that each is handled once.
// Implementations are safe for concurrent use. One that outlives the process
// lets a claim lapse that nobody finished, after longer than handling takes.
type ReplayStore interface {
	// Claim takes an id for handling, in one step, unless it is there already.
	// An error keeps the message from being handled.
	Claim(ctx context.Context, id string, keep time.Duration) (Claim, error)
	// Finish ends a claim: a handled id is kept for the time given, any other is
	// forgotten, so that the sender's next try is handled.
	Finish(ctx context.Context, id string, handled bool, keep time.Duration) error
}

// DefaultReplayIDs is how many ids [NewReplayMemory] keeps by default.
const DefaultReplayIDs = 250_000

// ErrReplayFull is what a full [ReplayMemory] says.
var ErrReplayFull = errors.New("webhook: no room to remember another id")

// ReplayMemory keeps ids in the memory of this process, some 100 bytes each,
// whatever their length. When it is full of ids that are not to be forgotten yet
// it takes no new ones: a forgotten id could be replayed. It is safe for
// concurrent use.
type ReplayMemory struct {
	limit int

	mu    sync.Mutex
	ids   map[idHash]replayEntry
	queue []idHash // handled ones, oldest first; some may be gone from ids
	done  int      // of queue, passed
}

type idHash [16]byte

type replayEntry struct {
	until   time.Time
	handled bool
}

// NewReplayMemory returns a store for a number of ids, 0 for
// [DefaultReplayIDs]. At 100 messages a second and the ten minutes that they are
// kept, 60,000 are there at once.
func NewReplayMemory(limit int) *ReplayMemory {
	if limit <= 0 {
		limit = DefaultReplayIDs
	}
	return &ReplayMemory{limit: limit, ids: make(map[idHash]replayEntry)}
}

func hashID(id string) idHash {
	sum := sha256.Sum256([]byte(id))
	return idHash(sum[:16])
}

// Claim takes an id, or says who has it. It fails with [ErrReplayFull].
func (m *ReplayMemory) Claim(_ context.Context, id string, _ time.Duration) (Claim, error) {
	h := hashID(id)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expire()
	switch e, known := m.ids[h]; {
	case known && e.handled:
		return ClaimHandled, nil
	case known:
		return ClaimBusy, nil
	case len(m.ids) >= m.limit:
		return 0, ErrReplayFull
	}
	m.ids[h] = replayEntry{}
	return ClaimNew, nil
}

// Finish keeps or forgets an id. It does not fail.
func (m *ReplayMemory) Finish(_ context.Context, id string, handled bool, keep time.Duration) error {
	h := hashID(id)
	m.mu.Lock()
	defer m.mu.Unlock()
	if e, known := m.ids[h]; !known || e.handled {
		return nil
	}
	if !handled {
		delete(m.ids, h)
		return nil
	}
	m.ids[h] = replayEntry{until: time.Now().Add(keep), handled: true}
	m.queue = append(m.queue, h)
	return nil
}

// Len returns how many ids are kept.
func (m *ReplayMemory) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expire()
	return len(m.ids)
}

// expire forgets what has been kept for its time. Ids are passed in the order
// in which they were finished: one that is kept for less than those before it
// stays as long as they do.
func (m *ReplayMemory) expire() {
	now := time.Now()
	for m.done < len(m.queue) {
		h := m.queue[m.done]
		if m.ids[h].until.After(now) {
			break
		}
		delete(m.ids, h)
		m.done++
	}
	if m.done > 64 && m.done > len(m.queue)/2 {
		m.queue = append(m.queue[:0], m.queue[m.done:]...)
		m.done = 0
	}
}
