package jetstream

import (
	"crypto/rand"
	"strconv"
	"strings"
	"time"
)

// names makes the names of streams and subjects.
type names struct{ prefix string }

func (n names) stream(queue string) string { return n.prefix + "-q-" + encodeName(queue) }
func (n names) now(queue string) string    { return n.prefix + ".q." + encodeName(queue) + ".now" }
func (n names) anyAt(queue string) string  { return n.prefix + ".q." + encodeName(queue) + ".at.*" }
func (n names) all(queue string) string    { return n.prefix + ".q." + encodeName(queue) + ".>" }
func (n names) deadStream() string         { return n.prefix + "-dead" }
func (n names) dead(queue string) string   { return n.prefix + ".dead." + encodeName(queue) }
func (n names) anyDead() string            { return n.prefix + ".dead.*" }
func (n names) ownStream() string          { return n.prefix + "-own" }
func (n names) own(queue string) string    { return n.prefix + ".own." + encodeName(queue) }
func (n names) anyOwn() string             { return n.prefix + ".own.*" }

// at returns a subject of its own for one schedule; it tells when that is due.
func (n names) at(queue string, at time.Time) string {
	return n.prefix + ".q." + encodeName(queue) + ".at." + strconv.FormatInt(at.UnixMilli(), 36) + "-" + rand.Text()
}

// due reads the time from such a subject.
func due(subject string) (time.Time, bool) {
	token := subject[strings.LastIndexByte(subject, '.')+1:]
	ms, _, found := strings.Cut(token, "-")
	n, err := strconv.ParseInt(ms, 36, 64)
	return time.UnixMilli(n), found && err == nil
}

// queue is the way back from a stream's name.
func (n names) queue(stream string) (string, bool) {
	enc, found := strings.CutPrefix(stream, n.prefix+"-q-")
	if !found {
		return "", false
	}
	return decodeName(enc)
}

// consumer names the consumer of a queue's stream. When a stream was deleted
// and made again, answers to what the old one delivered must find nobody: they
// go by sequence numbers, which begin again.
func consumer(created time.Time) string {
	return consumerPrefix + strconv.FormatInt(created.UnixNano(), 36)
}

const consumerPrefix = "polywire-"

const upperHex = "0123456789ABCDEF"

// encodeName makes a token of a subject, and a part of a stream's name, of any text.
func encodeName(s string) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if plain(c) {
			b.WriteByte(c)
		} else {
			b.WriteByte('=')
			b.WriteByte(upperHex[c>>4])
			b.WriteByte(upperHex[c&15])
		}
	}
	return b.String()
}

func plain(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}

func decodeName(s string) (string, bool) {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if plain(s[i]) {
			b = append(b, s[i])
			continue
		}
		if s[i] != '=' || i+2 >= len(s) {
			return "", false
		}
		c, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil {
			return "", false
		}
		b = append(b, byte(c))
		i += 2
	}
	return string(b), len(b) > 0
}
