package polywire

import (
	"cmp"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
)

// Pattern picks the receivers of one message among a target's members. It gets
// a slice of its own, with at least one member, and returns those that get the
// message. A pattern may be used by many goroutines at once.
type Pattern func(members []Member) []Member

// Everyone picks all members.
func Everyone() Pattern { return func(members []Member) []Member { return members } }

// RoundRobin picks one member after the other, in the order of their opening.
// The turn belongs to the returned value: keep it to go on.
func RoundRobin() Pattern {
	turn := new(atomic.Uint64)
	return func(members []Member) []Member {
		slices.SortFunc(members, func(a, b Member) int {
			if n := cmp.Compare(a.openedNano(), b.openedNano()); n != 0 {
				return n
			}
			if a.conn != nil && b.conn != nil {
				return cmp.Compare(a.conn.token(), b.conn.token())
			}
			return strings.Compare(a.ID(), b.ID())
		})
		return members[(turn.Add(1)-1)%uint64(len(members)):][:1]
	}
}

// Random picks one member by chance.
func Random() Pattern {
	return func(members []Member) []Member {
		return members[rand.IntN(len(members)):][:1] //nolint:gosec // spreading load is no secret
	}
}

// LeastLoaded picks the member that owes the fewest answers to calls, among
// such the one with the fewest queued bytes, and one by chance where several
// have as few of both.
func LeastLoaded() Pattern {
	return func(members []Member) []Member {
		start := rand.IntN(len(members)) //nolint:gosec // spreading load is no secret
		best := start
		calls, bytes := members[start].openCalls(), members[start].queuedBytes()
		for i := 1; i < len(members); i++ {
			at := (start + i) % len(members)
			n, queued := members[at].openCalls(), members[at].queuedBytes()
			if cmp.Or(cmp.Compare(n, calls), cmp.Compare(queued, bytes)) < 0 {
				best, calls, bytes = at, n, queued
			}
		}
		return members[best:][:1]
	}
}

// ByKey picks the member that belongs to a key: the same one as long as it is
// there, and when members come or go only the keys of those move (rendezvous
// hashing, by connection id).
func ByKey(key string) Pattern {
	return func(members []Member) []Member {
		best, top := 0, uint64(0)
		for i, m := range members {
			h := fnv.New64a()
			h.Write([]byte(key))
			h.Write([]byte{0})
			h.Write([]byte(m.ID()))
			if weight := mix(h.Sum64()); weight >= top {
				best, top = i, weight
			}
		}
		return members[best:][:1]
	}
}

// mix spreads the bits of a hash whose last input bytes differ little.
func mix(h uint64) uint64 {
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}
