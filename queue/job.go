package queue

import (
	"hash/maphash"
	"slices"
	"sync/atomic"
	"time"
)

// job is one claim in hand. Its fields are guarded by the consumer's mutex,
// except those that belong to the worker while it is running. It is used again
// for another claim when it is out of hand.
type job struct {
	session *session
	claim   Claim
	d       *Delivery // of first, or what a failure made of it
	first   *attempt
	id, key string // the handler may do to d what it likes
	digest  digest // of id, where done ones are remembered

	succeeded bool      // the handler returned nil; it only wants its answer
	ended     time.Time // when it did

	answered atomic.Bool // the claim needs no more signs of life
	stale    atomic.Bool // the claim is known to be lost

	running   bool // a worker has it, or waiting
	waiting   bool // for its next attempt, in hand
	known     bool // byID holds it
	duplicate bool // its id was done lately: to be acknowledged only
	timer     *time.Timer
	lane      *lane  // its turn in its key's order
	twins     []*job // deliveries of the same id that came meanwhile

	next, prev *job // in the session's list; next also among those to be used again
	line       *fifo
	after      *job // in line
	before     *job
	lent       int // to how many that look at it without the mutex
}

// attempt is what a handler gets, in one piece. It may keep that.
type attempt struct {
	d   Delivery
	ctx lazyContext
}

// newJob makes a job, of one that is out of hand if there is any. c.mu is held.
func newJob(s *session, in *Incoming) *job {
	j := s.c.spare
	if j == nil {
		j = new(job)
	} else {
		s.c.spare, j.next = j.next, nil
	}
	j.session, j.claim, j.id, j.key = s, in.Claim, in.ID, in.Key
	j.first = new(attempt)
	j.first.d.Envelope, j.first.d.Lost = in.Envelope, in.Lost
	j.d = &j.first.d
	return j
}

// recycle keeps a job that nobody knows any more, to be used again. As many are
// kept as ever were in hand at once. c.mu is held.
func (c *consumer) recycle(j *job) {
	if j.lent > 0 || j.timer != nil {
		return
	}
	*j = job{next: c.spare}
	c.spare = j
}

// held reports whether the claim still is, as far as is known.
func (j *job) held() bool {
	if j.stale.Load() {
		return false
	}
	h, ok := j.claim.(Holder)
	return !ok || h.Held()
}

// jobs is a list in the order of arrival.
type jobs struct{ first, last *job }

func (l *jobs) add(j *job) {
	j.prev = l.last
	if l.last == nil {
		l.first = j
	} else {
		l.last.next = j
	}
	l.last = j
}

func (l *jobs) remove(j *job) {
	if j.prev == nil {
		l.first = j.next
	} else {
		j.prev.next = j.next
	}
	if j.next == nil {
		l.last = j.prev
	} else {
		j.next.prev = j.prev
	}
	j.next, j.prev = nil, nil
}

// fifo is a line of jobs; a job stands in one at most.
type fifo struct{ head, tail *job }

func (f *fifo) push(j *job) {
	j.line, j.before = f, f.tail
	if f.tail == nil {
		f.head = j
	} else {
		f.tail.after = j
	}
	f.tail = j
}

func (f *fifo) pop() *job {
	j := f.head
	if j != nil {
		f.remove(j)
	}
	return j
}

// remove takes a job out, if it stands in this line.
func (f *fifo) remove(j *job) {
	if j.line != f {
		return
	}
	if j.before == nil {
		f.head = j.after
	} else {
		j.before.after = j.after
	}
	if j.after == nil {
		f.tail = j.before
	} else {
		j.after.before = j.before
	}
	j.line, j.before, j.after = nil, nil, nil
}

func without(list []*job, j *job) []*job {
	if i := slices.Index(list, j); i >= 0 {
		return slices.Delete(list, i, i+1)
	}
	return list
}

// remembered is the ids that were done lately, in two generations: the older
// one is forgotten when the younger is full or has become old. Of an id it
// keeps 128 bits that cannot be foreseen: two ids with the same ones do not happen.
type remembered struct {
	age        time.Duration // not positive: nothing is remembered
	young, old map[digest]time.Duration
	start      time.Time     // the times in the maps are since then
	since      time.Duration // of young
	seeds      [2]maphash.Seed
}

type digest [2]uint64

func newRemembered(age time.Duration) remembered {
	return remembered{age: age, start: time.Now(), seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}}
}

func (r *remembered) digest(id string) digest {
	return digest{maphash.String(r.seeds[0], id), maphash.String(r.seeds[1], id)}
}

func (r *remembered) has(d digest, at time.Time) bool {
	t, ok := r.when(d)
	return ok && at.Sub(r.start)-t < r.age
}

// when is when an id was done, however long ago that is.
func (r *remembered) when(d digest) (time.Duration, bool) {
	t, ok := r.young[d]
	if !ok {
		t, ok = r.old[d]
	}
	return t, ok
}

func (r *remembered) add(d digest, at time.Time) {
	if r.age <= 0 {
		return
	}
	now := at.Sub(r.start)
	if len(r.young) >= MaxRemembered/2 || now-r.since >= r.age || r.young == nil {
		r.old, r.young, r.since = r.young, make(map[digest]time.Duration, len(r.young)), now
	}
	r.young[d] = now
}
