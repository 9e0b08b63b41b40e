package api

import (
	"container/list"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
)

// Headers of requests that must not be done twice.
const (
	idempotencyHeader = "Idempotency-Key"
	replayedHeader    = "Idempotency-Replayed"
)

// Bounds of what is remembered of requests with an Idempotency-Key.
const (
	KeepAnswers       = 24 * time.Hour
	MaxAnswerBytes    = 256 << 10 // of one answer; of a larger one only that there was one
	maxIdempotencyKey = 255
	// claimLapse is when a claim counts for nothing that nobody has finished:
	// longer than any operation takes.
	claimLapse = 2 * time.Minute
)

// Record is what is remembered of a request.
type Record struct {
	Print  [sha256.Size]byte // of what was asked
	Done   bool              // else somebody is at it
	Kept   bool              // whether Answer is all of it
	Answer []byte
}

// Store remembers requests. Implementations are safe for concurrent use.
type Store interface {
	// Claim remembers that somebody is at a request, unless there is a record of
	// the key, which it returns then. A claim that is older than what an
	// operation may take counts for nothing. An error keeps the request from
	// being done.
	Claim(ctx context.Context, key string, r Record) (there *Record, claim uint64, err error)
	// Finish replaces a claim by what came of it; nil: it is forgotten.
	Finish(ctx context.Context, key string, claim uint64, r *Record) error
}

// Memory is a store in this process: its answers are forgotten with it, and
// the oldest ones when they are too many.
type Memory struct {
	limit int

	mu    sync.Mutex
	bytes int
	next  uint64
	by    map[string]*list.Element
	order list.List // of *remembered, oldest first
}

type remembered struct {
	Record

	key   string
	claim uint64
	at    time.Time
}

// MaxMemoryBytes is what a [Memory] takes at most, about.
const MaxMemoryBytes = 32 << 20

// rememberedBytes is about what a record costs besides its answer.
const rememberedBytes = 400

// NewMemory returns a store of at most so many bytes; zero: [MaxMemoryBytes].
func NewMemory(bytes int) *Memory {
	if bytes <= 0 {
		bytes = MaxMemoryBytes
	}
	return &Memory{limit: bytes, by: make(map[string]*list.Element)}
}

// Claim implements [Store].
func (m *Memory) Claim(_ context.Context, key string, r Record) (*Record, uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	m.trim(now)
	if e := m.by[key]; e != nil {
		there := e.Value.(*remembered) //nolint:forcetypeassert // nothing else is in the list
		if there.Done || now.Sub(there.at) < claimLapse {
			c := there.Record
			return &c, 0, nil
		}
		m.drop(e)
	}
	m.next++
	m.add(&remembered{Record: r, key: key, claim: m.next, at: now})
	return nil, m.next, nil
}

// Finish implements [Store].
func (m *Memory) Finish(_ context.Context, key string, claim uint64, r *Record) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if e := m.by[key]; e != nil {
		if e.Value.(*remembered).claim != claim { //nolint:forcetypeassert // nothing else is in the list
			return nil // somebody else's by now
		}
		m.drop(e)
	}
	if r != nil {
		m.add(&remembered{Record: *r, key: key, claim: claim, at: now})
	}
	m.trim(now)
	return nil
}

func (m *Memory) add(r *remembered) {
	m.by[r.key] = m.order.PushBack(r)
	m.bytes += rememberedBytes + len(r.Answer)
}

func (m *Memory) drop(e *list.Element) {
	r := m.order.Remove(e).(*remembered) //nolint:forcetypeassert // nothing else is in the list
	delete(m.by, r.key)
	m.bytes -= rememberedBytes + len(r.Answer)
}

// trim forgets what is too old or too much.
func (m *Memory) trim(now time.Time) {
	for e := m.order.Front(); e != nil; e = m.order.Front() {
		if m.bytes <= m.limit && now.Sub(e.Value.(*remembered).at) < KeepAnswers { //nolint:forcetypeassert // nothing else is in the list
			return
		}
		m.drop(e)
	}
}

// once does a request unless it was done before with the same Idempotency-Key.
func (h *Handler) once(ctx context.Context, c call, in proto.Message, do func(context.Context) (proto.Message, error)) (out proto.Message, replayed bool, err error) {
	if len(c.idempotency) == 0 || !c.op.write {
		out, err = do(ctx)
		return out, false, err
	}
	if err := checkIdempotencyKey(c.idempotency); err != nil {
		return nil, false, err
	}
	mark, err := fingerprint(c.op, in)
	if err != nil {
		return nil, false, err
	}
	sum := sha256.Sum256([]byte(c.key.name + "\x00" + c.idempotency[0]))
	key := hex.EncodeToString(sum[:])
	there, claim, err := h.store.Claim(ctx, key, Record{Print: mark})
	switch {
	case err != nil:
		return nil, false, &problem{code: codeUnavailable, detail: "what was done before cannot be read: not done", err: err}
	case there != nil:
		out, err = there.answer(c.op, mark)
		return out, err == nil, err
	}
	// Whoever asked may go; what was begun is done, and remembered.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.op.within())
	defer cancel()
	var done *Record
	defer func() { h.finish(ctx, key, claim, done) }()
	if out, err = do(ctx); err != nil {
		return nil, false, err
	}
	done = &Record{Print: mark, Done: true}
	if b, err := proto.Marshal(out); err == nil && len(b) <= MaxAnswerBytes {
		done.Kept, done.Answer = true, b
	}
	return out, false, nil
}

func (h *Handler) finish(ctx context.Context, key string, claim uint64, r *Record) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeWait)
	defer cancel()
	if err := h.store.Finish(ctx, key, claim, r); err != nil {
		h.log.Warn("API: an answer could not be kept for a repeated Idempotency-Key", "error", err)
	}
}

func checkIdempotencyKey(values []string) error {
	if len(values) > 1 {
		return invalid("%s is there twice", idempotencyHeader)
	}
	key := values[0]
	ok := key != "" && len(key) <= maxIdempotencyKey
	for i := range len(key) {
		ok = ok && key[i] > ' ' && key[i] <= '~'
	}
	if !ok {
		return invalid("%s: want 1 to %d visible ASCII characters", idempotencyHeader, maxIdempotencyKey)
	}
	return nil
}

// fingerprint tells requests apart.
func fingerprint(op *operation, in proto.Message) (sum [sha256.Size]byte, err error) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(in)
	if err != nil {
		return sum, fmt.Errorf("%w: %w", errJSON, err)
	}
	return sha256.Sum256(append([]byte(op.procedure+"\x00"), b...)), nil
}

// answer is what a repeated request gets.
func (r *Record) answer(op *operation, mark [sha256.Size]byte) (proto.Message, error) {
	switch {
	case r.Print != mark:
		return nil, problemf(codeKeyReused, "this %s came with another request before", idempotencyHeader)
	case !r.Done:
		return nil, problemf(codeInProgress, "the request with this %s is being done", idempotencyHeader)
	case !r.Kept:
		return nil, problemf(codeNotKept, "it was done; the answer was too large to keep")
	}
	out := op.newOut()
	if err := proto.Unmarshal(r.Answer, out); err != nil {
		return nil, err
	}
	return out, nil
}

// parseRecord and append are the form in which a [Record] is kept elsewhere.
func (r *Record) append(dst []byte) []byte {
	var flags byte
	if r.Done {
		flags |= 1
	}
	if r.Kept {
		flags |= 2
	}
	return append(append(append(dst, flags), r.Print[:]...), r.Answer...)
}

func parseRecord(b []byte) (r Record, err error) {
	if len(b) < 1+sha256.Size || b[0] > 3 {
		return r, errors.New("malformed")
	}
	r.Done, r.Kept = b[0]&1 != 0, b[0]&2 != 0
	copy(r.Print[:], b[1:])
	r.Answer = b[1+sha256.Size:]
	return r, nil
}

// storeWait bounds a store's work.
const storeWait = 5 * time.Second

func markReplayed(h http.Header, replayed bool) {
	if replayed {
		h.Set(replayedHeader, "true")
	}
}
