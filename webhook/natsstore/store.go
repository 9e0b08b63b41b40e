// Package natsstore keeps what a dispatcher of webhooks (package webhook/dispatch)
// needs on NATS JetStream: endpoints in a key-value bucket, events and attempts in
// streams that forget what is older than a set age. It needs NATS 2.12 or newer.
//
// All of it is as durable as the server keeps what it accepts: with SyncAlways
// (natsembed's default) it is on the disk. [Options.LazyAttempts] trades that, for
// attempts only, for speed.
//
// Whoever can read the bucket has the endpoints' secrets: they are in the clear.
package natsstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/polywire/polywire/internal/natsack"
	"github.com/polywire/polywire/webhook"
	"github.com/polywire/polywire/webhook/dispatch"
)

// Options are those of [Open]. Conn is needed; zero values elsewhere are good.
type Options struct {
	// Conn is the connection, natsembed's Server.Connect for instance. It stays the
	// caller's, who closes it after the dispatcher.
	Conn *nats.Conn
	// Domain is the JetStream domain, where the servers have several.
	Domain string
	// Prefix begins the names of the bucket, the streams and their subjects: letters,
	// digits, '-' and '_', at most 32. Empty: "polywire".
	Prefix string
	// Replicas is on how many servers of a cluster all is kept: 1, 3 or 5. Zero: 1.
	Replicas int
	// Age is for how long attempts are kept, EventAge for events. Zero: seven days. At
	// least the longest schedule, or what fails last cannot be replayed.
	Age, EventAge time.Duration
	// MaxBytes bounds the stream of attempts: the oldest go first. Zero: no bound but
	// the server's.
	MaxBytes int64
	// EventMaxBytes bounds the stream of events. What was accepted stays for EventAge,
	// so that a full stream takes no more: Publish says dispatch.ErrFull, and nobody
	// gets the event. Zero: no bound but the server's.
	EventMaxBytes int64
	// AsIs opens what is there as it is, and changes and makes nothing: Replicas, ages
	// and bounds count for nothing then. Where it is not there, Open says ErrMissing.
	AsIs bool
	// LazyAttempts lets the server write attempts to the disk a moment later: kill -9 of
	// the server, or a power cut, can take the last ones with it. No delivery is lost for
	// that, but those are repeated that a dispatcher then does not know to be done. It
	// holds for streams that are made from now on, without replicas.
	LazyAttempts bool
}

// Store is the three stores.
type Store struct {
	Endpoints *Endpoints
	Events    *Events
	Attempts  *Attempts
}

const minAge = time.Minute

// ErrMissing says that webhooks are not kept there, or only a part of what keeps them.
var ErrMissing = errors.New("natsstore: no webhooks are kept there")

func (o Options) withDefaults() (Options, error) {
	o.Prefix = cmp.Or(o.Prefix, "polywire")
	o.Replicas = cmp.Or(o.Replicas, 1)
	o.Age, o.EventAge = cmp.Or(o.Age, dispatch.DefaultAge), cmp.Or(o.EventAge, dispatch.DefaultAge)
	o.MaxBytes, o.EventMaxBytes = cmp.Or(o.MaxBytes, -1), cmp.Or(o.EventMaxBytes, -1)
	var why string
	switch {
	case o.Conn == nil:
		why = "no connection"
	case len(o.Prefix) > 32 || escape(o.Prefix) != o.Prefix:
		why = fmt.Sprintf("prefix %.100q", o.Prefix)
	case o.Replicas != 1 && o.Replicas != 3 && o.Replicas != 5:
		why = fmt.Sprintf("%d replicas: 1, 3 or 5", o.Replicas)
	case o.Age < minAge || o.EventAge < minAge:
		why = "an age of less than a minute"
	case o.MaxBytes < -1 || o.EventMaxBytes < -1:
		why = "a bound of less than nothing"
	case strings.ContainsAny(o.Domain, ".*> \t\r\n"):
		why = fmt.Sprintf("domain %.100q", o.Domain)
	default:
		return o, nil
	}
	return o, fmt.Errorf("%w: %s", dispatch.ErrInvalid, why)
}

// Open returns the stores, and makes what is not there yet. Ages, Replicas and bounds
// of what is there become those of o, except with AsIs. A cluster that is just starting
// may not answer for some time: Open asks again until ctx is done. Errors: about the
// options, [ErrMissing] with AsIs, and those of NATS.
func Open(ctx context.Context, o Options) (*Store, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	for {
		try, cancel := context.WithTimeout(ctx, openPatience)
		s, err := open(try, o)
		cancel()
		if err == nil || ctx.Err() != nil || !passing(err) {
			return s, err
		}
		pause := time.NewTimer(openPause)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return nil, err
		}
	}
}

// Times of Open.
const (
	openPatience = 5 * time.Second // a server without a leader answers nothing
	openPause    = 250 * time.Millisecond
)

// passing reports whether an error may pass by itself: nothing was answered, or by a
// server that does not see enough others yet (its errors JSClusterNoPeersErrF and
// JSClusterNotAvailErr).
func passing(err error) bool {
	const noPeers, notAvailable = 10005, 10008
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		return api.ErrorCode == noPeers || api.ErrorCode == notAvailable
	}
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout)
}

func open(ctx context.Context, o Options) (*Store, error) {
	js, err := jetstream.New(o.Conn)
	api := "$JS.API."
	if o.Domain != "" {
		js, err = jetstream.NewWithDomain(o.Conn, o.Domain)
		api = "$JS." + o.Domain + ".API."
	}
	if err != nil {
		return nil, fmt.Errorf("natsstore: %w", err)
	}
	kv, err := openBucket(ctx, js, o)
	if err != nil {
		return nil, fmt.Errorf("natsstore: the bucket of endpoints: %w", err)
	}
	events := stream{nc: o.Conn, js: js, name: o.Prefix + "-webhook-events", prefix: o.Prefix + ".webhook.event."}
	attempts := stream{nc: o.Conn, js: js, name: o.Prefix + "-webhook-attempts", prefix: o.Prefix + ".webhook.attempt."}
	events.direct, attempts.direct = api+"DIRECT.GET."+events.name, api+"DIRECT.GET."+attempts.name
	bounded, err := events.open(ctx, o, jetstream.StreamConfig{
		MaxAge: o.EventAge, MaxBytes: o.EventMaxBytes, Discard: jetstream.DiscardNew,
	})
	if err != nil {
		return nil, fmt.Errorf("natsstore: the stream of events: %w", err)
	}
	config := jetstream.StreamConfig{MaxAge: o.Age, MaxBytes: o.MaxBytes, Discard: jetstream.DiscardOld}
	if o.LazyAttempts && o.Replicas == 1 {
		config.PersistMode = jetstream.AsyncPersistMode
	}
	if _, err := attempts.open(ctx, o, config); err != nil {
		return nil, fmt.Errorf("natsstore: the stream of attempts: %w", err)
	}
	// Last of all: it stays on the connection, and Open may have to try again.
	sent, err := natsack.New(o.Conn, func(stored chan error, err error) { stored <- err })
	if err != nil {
		return nil, fmt.Errorf("natsstore: %w", err)
	}
	events.sent, attempts.sent = sent, sent
	return &Store{Endpoints: &Endpoints{kv}, Events: &Events{events, bounded}, Attempts: &Attempts{attempts}}, nil
}

func openBucket(ctx context.Context, js jetstream.JetStream, o Options) (jetstream.KeyValue, error) {
	config := jetstream.KeyValueConfig{
		Bucket: o.Prefix + "-webhook-endpoints", Description: "endpoints of webhooks, with secrets",
		Storage: jetstream.FileStorage, Replicas: o.Replicas, History: 1,
	}
	if !o.AsIs {
		return js.CreateOrUpdateKeyValue(ctx, config)
	}
	kv, err := js.KeyValue(ctx, config.Bucket)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		err = fmt.Errorf("%w: no bucket %s", ErrMissing, config.Bucket)
	}
	return kv, err
}

// open makes the stream, or changes it. How it is written to the disk is decided when
// it is made: the server does not change that. It reports whether there is a bound at
// which the stream takes no more.
func (s *stream) open(ctx context.Context, o Options, config jetstream.StreamConfig) (bounded bool, err error) {
	config.Name, config.Subjects = s.name, []string{s.prefix + ">"}
	config.Storage, config.Replicas, config.Retention = jetstream.FileStorage, o.Replicas, jetstream.LimitsPolicy
	config.AllowDirect, config.Duplicates = true, dedup
	there, err := s.js.Stream(ctx, s.name)
	switch {
	case err == nil:
		config.PersistMode = there.CachedInfo().Config.PersistMode
	case !errors.Is(err, jetstream.ErrStreamNotFound):
		return false, err
	case o.AsIs:
		return false, fmt.Errorf("%w: no stream %s", ErrMissing, s.name)
	}
	if o.AsIs {
		config = there.CachedInfo().Config
		if !config.AllowDirect {
			return false, fmt.Errorf("%w: the stream %s does not allow direct gets", dispatch.ErrInvalid, s.name)
		}
	} else if _, err = s.js.CreateOrUpdateStream(ctx, config); err != nil {
		return false, err
	}
	return config.Discard == jetstream.DiscardNew && config.MaxBytes > 0, nil
}

// dedup is the window in which an event with the same id is kept once.
const dedup = time.Minute

// fits reports whether an id is no longer than an endpoint's may be. A NATS server
// ends the connection of who sends it a subject of some kilobytes.
func fits(id string) bool { return len(id) <= webhook.MaxIDBytes }

// escape makes an id fit for a subject or a key: bytes other than letters, digits, '-'
// and '_' become =XX, in hexadecimal.
func escape(id string) string {
	const hex = "0123456789ABCDEF"
	n := 0
	for n < len(id) && plain(id[n]) {
		n++
	}
	if n == len(id) {
		return id
	}
	b := append(make([]byte, 0, len(id)+16), id[:n]...)
	for ; n < len(id); n++ {
		if ch := id[n]; plain(ch) {
			b = append(b, ch)
		} else {
			b = append(b, '=', hex[ch>>4], hex[ch&15])
		}
	}
	return string(b)
}

// plain reports whether a byte stays as it is.
func plain(ch byte) bool {
	return ch >= 'a' && ch <= 'z' || ch >= 'A' && ch <= 'Z' || ch >= '0' && ch <= '9' || ch == '-' || ch == '_'
}

// unescape is the way back; false: escape never made it.
func unescape(key string) (string, bool) {
	b := make([]byte, 0, len(key))
	for i := 0; i < len(key); i++ {
		if key[i] != '=' {
			b = append(b, key[i])
			continue
		}
		if i+3 > len(key) {
			return "", false
		}
		ch, err := strconv.ParseUint(key[i+1:i+3], 16, 8)
		if err != nil {
			return "", false
		}
		b = append(b, byte(ch))
		i += 2
	}
	return string(b), escape(string(b)) == key
}

// drawers is into how many parts what is looked up by an event's id is divided, so that
// a look-up reads few of the others, and the server does not keep a subject for each id.
const drawers = 1024

// drawer is the part that an event is in, as a token of subjects.
func drawer(event string) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(event)) // it cannot fail
	return strconv.FormatUint(uint64(h.Sum32()%drawers), 36)
}
