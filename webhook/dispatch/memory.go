package dispatch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/polywire/polywire/webhook"
)

// MemoryOptions are those of [NewMemory]. The zero value is good.
type MemoryOptions struct {
	// MaxEntries is how many attempts, and how many events, are kept: the newest.
	// Zero: 100,000.
	MaxEntries int
	// Age is for how long they are kept. Zero: seven days.
	Age time.Duration
}

// Memory keeps endpoints, events and attempts in this program's memory. Its parts
// are the ports.
type Memory struct {
	Endpoints *MemoryEndpoints
	Events    *MemoryEvents
	Attempts  *MemoryAttempts
}

// NewMemory returns an empty store.
func NewMemory(o MemoryOptions) *Memory {
	o.MaxEntries = cmp.Or(max(o.MaxEntries, 0), 100_000)
	o.Age = cmp.Or(max(o.Age, 0), DefaultAge)
	return &Memory{
		Endpoints: &MemoryEndpoints{records: make(map[string]Record), changed: make(chan struct{})},
		Events:    &MemoryEvents{log: memoryLog[Stored]{limit: o.MaxEntries, age: o.Age}},
		Attempts:  &MemoryAttempts{log: memoryLog[Entry]{limit: o.MaxEntries, age: o.Age}},
	}
}

// DefaultAge is for how long stores keep events and attempts by default.
const DefaultAge = 7 * 24 * time.Hour

// MemoryEndpoints implements [Endpoints], for many goroutines at once.
type MemoryEndpoints struct {
	mu       sync.Mutex
	records  map[string]Record
	revision uint64
	removals []removal // of late, oldest first
	dropped  uint64    // the revision of the last one that is not in removals any more
	changed  chan struct{}
}

type removal struct {
	id       string
	revision uint64
}

// maxRemovals is how many removals a watch may lag behind.
const maxRemovals = 1000

// Load implements Endpoints.
func (m *MemoryEndpoints) Load(_ context.Context, id string) (Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.records[id]
	if !ok {
		return Record{}, ErrNotFound
	}
	return r.clone(), nil
}

// Save implements Endpoints.
func (m *MemoryEndpoints) Save(_ context.Context, r Record) (uint64, error) {
	if _, err := MarshalRecord(r); err != nil {
		return 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.records[r.Endpoint.ID].Revision != r.Revision {
		return 0, ErrConflict
	}
	m.revision++
	r = r.clone()
	r.Revision = m.revision
	m.records[r.Endpoint.ID] = r
	m.tell()
	return r.Revision, nil
}

// Delete implements Endpoints.
func (m *MemoryEndpoints) Delete(_ context.Context, id string, revision uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.records[id]
	switch {
	case !ok:
		return ErrNotFound
	case r.Revision != revision:
		return ErrConflict
	}
	m.revision++
	delete(m.records, id)
	m.removals = append(m.removals, removal{id, m.revision})
	if len(m.removals) > maxRemovals {
		m.dropped = m.removals[0].revision
		m.removals = slices.Clone(m.removals[1:])
	}
	m.tell()
	return nil
}

// tell wakes watchers. m.mu is held.
func (m *MemoryEndpoints) tell() {
	close(m.changed)
	m.changed = make(chan struct{})
}

// Watch implements Endpoints. Several changes of one endpoint may become one.
func (m *MemoryEndpoints) Watch(ctx context.Context, f func(Change)) error {
	var seen uint64
	for first := true; ; first = false {
		m.mu.Lock()
		if !first && m.dropped > seen {
			m.mu.Unlock()
			return errors.New("dispatch: the watch fell behind")
		}
		changed := m.changed
		news := m.news(seen, first)
		seen = m.revision
		m.mu.Unlock()
		for _, c := range news {
			f(c)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// news is what has changed since a revision. m.mu is held.
func (m *MemoryEndpoints) news(since uint64, first bool) []Change {
	var news []Change
	for _, id := range slices.Sorted(maps.Keys(m.records)) {
		if r := m.records[id].clone(); r.Revision > since {
			news = append(news, Change{id, &r})
		}
	}
	if first {
		return append(news, Change{})
	}
	for _, r := range m.removals { // also of endpoints that came and went since
		if _, again := m.records[r.id]; r.revision > since && !again {
			news = append(news, Change{ID: r.id})
		}
	}
	return news
}

// clone returns a record that shares nothing that could be changed.
func (r Record) clone() Record {
	r.Endpoint = cloneEndpoint(r.Endpoint)
	r.Retire = slices.Clone(r.Retire)
	return r
}

func cloneEndpoint(e webhook.Endpoint) webhook.Endpoint {
	e.Types, e.Secrets, e.Headers = slices.Clone(e.Types), slices.Clone(e.Secrets), maps.Clone(e.Headers)
	return e
}

// memoryLog is a bounded list with the time at which each was appended.
type memoryLog[T any] struct {
	limit int
	age   time.Duration

	mu    sync.Mutex
	items []T
	times []time.Time
	first int // the number of items[0]; they count from 0
}

func (l *memoryLog[T]) append(v T) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.items, l.times = append(l.items, v), append(l.times, now)
	gone := max(len(l.items)-l.limit, 0)
	for gone < len(l.times) && now.Sub(l.times[gone]) > l.age {
		gone++
	}
	clear(l.items[:gone])
	l.items, l.times = l.items[gone:], l.times[gone:]
	l.first += gone
}

// all returns what was appended in a time, oldest first.
func (l *memoryLog[T]) all(since, until time.Time) []T {
	l.mu.Lock()
	defer l.mu.Unlock()
	from, to := 0, len(l.items)
	if !since.IsZero() {
		from, _ = slices.BinarySearchFunc(l.times, since, time.Time.Compare)
	}
	if !until.IsZero() {
		to, _ = slices.BinarySearchFunc(l.times, until, time.Time.Compare)
	}
	return slices.Clone(l.items[from:max(from, to)])
}

// MemoryEvents implements [Events], for many goroutines at once.
type MemoryEvents struct{ log memoryLog[Stored] }

// Append implements Events.
func (m *MemoryEvents) Append(_ context.Context, e Stored) error {
	e.Data = slices.Clone(e.Data)
	m.log.append(e)
	return nil
}

// Load implements Events.
func (m *MemoryEvents) Load(_ context.Context, id string, _ time.Time) (Stored, error) {
	m.log.mu.Lock()
	defer m.log.mu.Unlock()
	for _, e := range slices.Backward(m.log.items) {
		if e.ID == id {
			return e, nil
		}
	}
	return Stored{}, ErrNotFound
}

// Scan implements Events.
func (m *MemoryEvents) Scan(ctx context.Context, pattern string, since, until time.Time, visit func(Stored) bool) error {
	for _, e := range m.log.all(since, until) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if webhook.MatchType(pattern, e.Type) && !visit(e) {
			return nil
		}
	}
	return nil
}

// MemoryAttempts implements [Attempts], for many goroutines at once.
type MemoryAttempts struct{ log memoryLog[Entry] }

// Append implements Attempts.
func (m *MemoryAttempts) Append(_ context.Context, e Entry) error {
	m.log.append(e)
	return nil
}

// Newest implements Attempts.
func (m *MemoryAttempts) Newest(_ context.Context, endpoint, before string, limit int) (Page, error) {
	l := &m.log
	l.mu.Lock()
	defer l.mu.Unlock()
	at := len(l.items)
	if before != "" {
		n, err := strconv.Atoi(before)
		if err != nil || n < 0 {
			return Page{}, fmt.Errorf("%w: no such page", ErrInvalid)
		}
		at = min(max(n-l.first, 0), len(l.items))
	}
	limit = pageSize(limit)
	var p Page
	for at--; at >= 0; at-- {
		if endpoint != "" && l.items[at].Endpoint != endpoint {
			continue
		}
		if len(p.Entries) == limit {
			p.Next = strconv.Itoa(l.first + at + 1)
			break
		}
		p.Entries = append(p.Entries, l.items[at])
	}
	return p, nil
}

// pageSize returns the bounded size of a page.
func pageSize(limit int) int {
	if limit <= 0 || limit > MaxPage {
		return MaxPage
	}
	return limit
}

// Of implements Attempts.
func (m *MemoryAttempts) Of(_ context.Context, event string, _ time.Time) ([]Entry, error) {
	var all []Entry
	for _, e := range m.log.all(time.Time{}, time.Time{}) {
		if e.Attempt.ID == event && len(all) < MaxPage {
			all = append(all, e)
		}
	}
	return all, nil
}

// Scan implements Attempts.
func (m *MemoryAttempts) Scan(ctx context.Context, endpoint string, since, until time.Time, visit func(Entry) bool) error {
	for _, e := range m.log.all(since, until) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if e.Endpoint == endpoint && !visit(e) {
			return nil
		}
	}
	return nil
}
