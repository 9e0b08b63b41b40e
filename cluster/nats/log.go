package natscluster

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/polywire/polywire/cluster"
)

const (
	// shortestAge is the least that NATS takes.
	shortestAge = 100 * time.Millisecond
	// repeatWindow is how long a repeated Append is known as such.
	repeatWindow = 10 * time.Second
	// maxStreamName is what NATS takes.
	maxStreamName = 255
	// readsAtOnce bounds the questions of After that are out at a time.
	readsAtOnce = 32
	epochLength = 10
)

// Log implements [cluster.Log] by a stream: one subject a topic, the latest
// Size messages of each. The stream republishes what it has stored, so that
// only nodes that are interested get it.
type Log struct {
	b      *Bus
	name   string
	stream string
	opts   cluster.LogOptions
	now    atomic.Pointer[era]
	reads  chan struct{} // as many as may be out
	fixing chan struct{} // one at a time

	found atomic.Int64 // unix nanoseconds: when the last look that found the stream began
}

var _ cluster.Log = (*Log)(nil)

// era is a stream while it has lost nothing but what its bounds say.
type era struct {
	epoch string
	top   atomic.Uint64 // the largest sequence that this node has heard of
	lost  atomic.Bool   // the stream has given a sequence twice
}

// heard takes note of a sequence.
func (e *era) heard(seq uint64) {
	for {
		top := e.top.Load()
		if seq <= top || e.top.CompareAndSwap(top, seq) {
			return
		}
	}
}

// Log implements [cluster.Historian]. The age is 0 or at least 100 ms. Options
// that differ from those of the stream that is there are an error while
// another node has the log open, else they are put in force; with another
// Storage the log begins anew. Without a deadline in ctx it gives up after 10 s.
func (b *Bus) Log(ctx context.Context, name string, o cluster.LogOptions) (cluster.Log, error) {
	stream := streamName(b.opts.Prefix, name)
	switch {
	case name == "" || len(stream) > maxStreamName:
		return nil, fmt.Errorf("natscluster: a log's name of %d bytes", len(name))
	case o.Size < 1 || o.Age < 0 || o.Bytes < 0 || o.Storage != cluster.InMemory && o.Storage != cluster.OnDisk:
		return nil, fmt.Errorf("natscluster: log %q: a Size of at least 1 is needed, and bounds that are not negative", name)
	case o.Age > 0 && o.Age < shortestAge:
		return nil, fmt.Errorf("natscluster: log %q: an Age of %v; NATS takes %v and more", name, o.Age, shortestAge)
	}
	if err := b.usable(ctx); err != nil {
		return nil, err
	}
	b.mu.Lock()
	l := b.logs[name]
	b.mu.Unlock()
	if l != nil && l.opts != o {
		return nil, fmt.Errorf("natscluster: log %q is open here with other options: %s", name, differences(o, l.opts))
	}
	if l != nil {
		return l, nil
	}
	l = &Log{
		b: b, name: name, stream: stream, opts: o,
		reads: make(chan struct{}, readsAtOnce), fixing: make(chan struct{}, 1),
	}
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, 2*answerTimeout)
		defer cancel()
	}
	if err := l.renew(ctx, time.Now()); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if there := b.logs[name]; there != nil && there.opts == o {
		return there, nil
	}
	b.logs[name] = l
	b.members.uses(name, o)
	return l, nil
}

// Interest implements [cluster.Log].
func (l *Log) Interest(topic string, on bool) {
	if validTopic(topic) {
		l.b.interests.set(l.sent("*")+token(topic), topic, l.place, on)
	}
}

// appended is where messages of an epoch are appended; the topic follows.
func (l *Log) appended(epoch string) string {
	return l.b.opts.Prefix + ".l." + token(l.name) + "." + epoch + "."
}

// sent is where the stream sends them; the topic follows.
func (l *Log) sent(epoch string) string {
	return l.b.opts.Prefix + ".r." + token(l.name) + "." + epoch + "."
}

// place fills in where a message stands. Called by the deliverer only.
func (l *Log) place(it *item, in *interest, msg *cluster.Message) verdict {
	m := it.msg
	seq, err := strconv.ParseUint(header(m, jetstream.SequenceHeader), 10, 64)
	last, err2 := strconv.ParseUint(header(m, jetstream.LastSequenceHeader), 10, 64)
	epoch := epochOf(m.Subject, l.sent(""))
	if err != nil || err2 != nil || epoch == "" || seq == 0 || last >= seq {
		return malformed
	}
	now := l.now.Load()
	if now.epoch == epoch {
		now.heard(seq)
	}
	msg.Log, msg.At, msg.Prev = l.name, cluster.Position{Epoch: epoch, Offset: seq}, last
	at := header(m, jetstream.TimeStampHeaer)
	in.of.mu.Lock()
	defer in.of.mu.Unlock()
	seen := &in.seen
	if seen.at.Epoch == epoch && seq <= seen.at.Offset {
		if now.epoch == epoch && later(at, seen.time) {
			now.lost.Store(true)
		}
		l.b.keeper.suspect(l)
		return unwanted
	}
	if last == 0 {
		// NATS does not know what was before messages that have expired. What
		// this node knows counts, unless it may have missed some.
		switch {
		case seen.gaps != it.gaps:
			msg.Prev = seq - 1
		case seen.at.Epoch == epoch:
			msg.Prev = seen.at.Offset
		}
	}
	*seen = sight{at: msg.At, time: at, gaps: it.gaps}
	return wanted
}

// header is m.Header.Get for a key in its canonical form.
func header(m *nats.Msg, key string) string {
	if v := m.Header[key]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// later compares times as NATS writes them.
func later(a, b string) bool {
	at, err := time.Parse(time.RFC3339Nano, a)
	bt, err2 := time.Parse(time.RFC3339Nano, b)
	return err == nil && err2 == nil && at.After(bt)
}

// epochOf cuts the epoch out of a subject; base is what is before it, with one
// dot too many at its end.
func epochOf(subject, base string) string {
	rest, ok := strings.CutPrefix(subject, base[:len(base)-1])
	epoch, _, more := strings.Cut(rest, ".")
	if !ok || !more || epoch == "" || len(epoch) > 32 {
		return ""
	}
	return epoch
}

// config is the stream as this node would make it.
func (l *Log) config(epoch string, replicas int) jetstream.StreamConfig {
	c := jetstream.StreamConfig{
		Name: l.stream, Description: "Log " + l.name + " of Polywire",
		Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardOld,
		// One more than is promised: with Size messages left it would not be
		// known whether there were others.
		MaxMsgsPerSubject: int64(l.opts.Size) + 1,
		MaxAge:            l.opts.Age,
		MaxBytes:          cmp.Or(l.opts.Bytes, -1),
		MaxMsgs:           -1, MaxConsumers: -1, MaxMsgSize: -1,
		Storage: jetstream.MemoryStorage, Replicas: replicas,
		Duplicates: repeatWindow, AllowDirect: true,
	}
	if l.opts.Age > 0 {
		c.Duplicates = min(repeatWindow, l.opts.Age)
	}
	if l.opts.Storage == cluster.OnDisk {
		c.Storage = jetstream.FileStorage
	}
	l.rename(&c, epoch)
	return c
}

// rename gives a stream the subjects of an epoch.
func (l *Log) rename(c *jetstream.StreamConfig, epoch string) {
	c.Subjects = []string{l.appended(epoch) + "*"}
	c.RePublish = &jetstream.RePublish{Source: l.appended(epoch) + ">", Destination: l.sent(epoch) + ">"}
}

// optionsOf returns what a stream was made for.
func optionsOf(c *jetstream.StreamConfig) cluster.LogOptions {
	o := cluster.LogOptions{Size: int(c.MaxMsgsPerSubject - 1), Age: c.MaxAge, Bytes: max(c.MaxBytes, 0)}
	if c.Storage == jetstream.FileStorage {
		o.Storage = cluster.OnDisk
	}
	return o
}

// differences says how options that were asked for differ from what there is.
func differences(asked, there cluster.LogOptions) string {
	var d []string
	add := func(name string, a, b any) {
		if a != b {
			d = append(d, fmt.Sprintf("%s is %v, not %v", name, b, a))
		}
	}
	add("Storage", asked.Storage, there.Storage)
	add("Size", asked.Size, there.Size)
	add("Age", asked.Age, there.Age)
	add("Bytes", asked.Bytes, there.Bytes)
	return strings.Join(d, ", ")
}

func newEpoch() string { return strings.ToLower(rand.Text()[:epochLength]) }

// nextEpoch is the one after another, the same for all nodes that find out at
// a time that a log was lost.
func nextEpoch(epoch string) string {
	sum := sha256.Sum256([]byte(epoch))
	return strings.ToLower(base32.StdEncoding.EncodeToString(sum[:])[:epochLength])
}

// unavailable gives an error the port's name.
func unavailable(err error) error {
	if errors.Is(err, cluster.ErrUnavailable) || errors.Is(err, cluster.ErrClosed) {
		return err
	}
	return fmt.Errorf("%w: %w", cluster.ErrUnavailable, err)
}
