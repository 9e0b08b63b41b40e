package rabbitmq

import (
	"crypto/sha256"
	"encoding/hex"
	"math/bits"
	"strconv"
	"strings"
	"time"

	"github.com/polywire/polywire/queue"
)

// names makes the broker's names out of the users'.
type names struct{ prefix string }

const (
	deadPart  = "dead."
	delayPart = "delay."
	lockPart  = "lock."
	duePart   = delayPart + "due"
)

// work is the queue of a user's queue: its own name. Names that are somebody
// else's get their first byte escaped.
func (n names) work(q string) string {
	for _, taken := range []string{deadPart, delayPart, lockPart, "amq.", "%"} {
		if strings.HasPrefix(q, taken) {
			q = "%" + strings.ToUpper(hex.EncodeToString([]byte{q[0]})) + q[1:]
			break
		}
	}
	return n.prefix + q
}

func (n names) dead(q string) string   { return n.prefix + deadPart + q }
func (n names) lock(q string) string   { return n.prefix + lockPart + q }
func (n names) due() string            { return n.prefix + duePart }
func (n names) delay(level int) string { return n.prefix + delayPart + strconv.Itoa(level) }

// The ladder. A delay is a number of units; level k is a queue whose messages
// expire after 2^k of them, and a message walks down through those levels
// whose bits are set in its number. All messages of one queue have the same
// expiry, so none waits behind one that has longer to go.
const (
	unit     = 250 * time.Millisecond
	levels   = 25                // 2^24 units are 48.5 days; RabbitMQ takes 2^32-1 ms at most
	maxUnits = 1 << (levels - 1) // of one walk; the rest is walked when the message arrives
	// A number is rounded up to so many bits: fewer steps, and no delay is more
	// than 2^-9 too long.
	precisionBits = 10
)

// delayUnits returns the units of a delay, rounded up, and what is left of one
// that is too long for a walk.
func delayUnits(d time.Duration) (units int, rest time.Duration) {
	if d <= 0 {
		return 0, 0
	}
	n := (d + unit - 1) / unit
	if n > maxUnits {
		return maxUnits, d - maxUnits*unit
	}
	units = int(n)
	if extra := bits.Len(uint(units)) - precisionBits; extra > 0 {
		step := 1 << extra
		units = (units + step - 1) &^ (step - 1)
	}
	return units, 0
}

// delayKey is the routing key of a message on the ladder: a word for each
// level up to the one at whose exchange it enters, the shortest level first,
// and one for the queue. What a broker does to find a key's way grows with its
// words, so short delays have few.
func delayKey(units int, q string) (key string, level int) {
	var b strings.Builder
	for ; units > 0; units >>= 1 {
		b.WriteByte('0' + byte(units&1))
		b.WriteByte('.')
		level++
	}
	b.WriteString(word(q))
	return b.String(), level - 1
}

// stepPattern matches the keys whose word for the level is bit.
func stepPattern(level int, bit byte) string {
	return strings.Repeat("*.", level) + string(rune(bit)) + ".#"
}

// duePattern matches the keys of a queue.
func duePattern(q string) string { return "#." + word(q) }

// word makes a queue's name one word of a routing key, without wildcards. No
// two names have the same.
func word(q string) string {
	const upperHex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(q) {
		switch c := q[i]; c {
		case '.', '*', '#', '%':
			b.WriteByte('%')
			b.WriteByte(upperHex[c>>4])
			b.WriteByte(upperHex[c&15])
		default:
			b.WriteByte(c)
		}
	}
	if b.Len() <= 2*queue.MaxNameBytes {
		return b.String()
	}
	sum := sha256.Sum256([]byte(q)) // a key has 255 bytes at most
	return "%h" + hex.EncodeToString(sum[:16])
}
