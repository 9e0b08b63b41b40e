package console

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/polywire/polywire/queue"
)

// Bounds of what is asked about queues.
const (
	usualQueues  = 50
	maxQueues    = 200
	inspecting   = 8 // at once
	usualLetters = 20
	maxLetters   = 100
	maxDone      = 1000 // letters, or deliveries, by one request
	maxIDs       = 100
)

type queuesAnswer struct {
	Available     bool              `json:"available"`
	Connection    *queuesConnection `json:"connection,omitempty"`
	Published     int64             `json:"published"`
	PublishErrors int64             `json:"publish_errors"`
	PublishRate   float64           `json:"publish_rate"`
	Queues        []queueView       `json:"queues"`
	Next          string            `json:"next,omitempty"`
}

type queuesConnection struct {
	State      string    `json:"state"`
	Reason     string    `json:"reason,omitempty"`
	Since      time.Time `json:"since,omitzero"`
	Reconnects int64     `json:"reconnects"`
}

type queueView struct {
	Name    string        `json:"name"`
	Waiting *int64        `json:"waiting,omitempty"`
	Delayed *int64        `json:"delayed,omitempty"`
	Unacked *int64        `json:"unacked,omitempty"`
	Dead    *int64        `json:"dead,omitempty"`
	Oldest  time.Time     `json:"oldest,omitzero"`
	Error   string        `json:"error,omitempty"`
	Handler *queueHandler `json:"handler,omitempty"`
}

type queueHandler struct {
	Paused     bool    `json:"paused"`
	Trouble    string  `json:"trouble,omitempty"`
	InHand     int     `json:"in_hand"`
	Running    int64   `json:"running"`
	Received   int64   `json:"received"`
	Done       int64   `json:"done"`
	DoneRate   float64 `json:"done_rate"`
	Failed     int64   `json:"failed"`
	Retried    int64   `json:"retried"`
	Dead       int64   `json:"dead"`
	Duplicates int64   `json:"duplicates"`
	Returned   int64   `json:"returned"`
}

// queues lists the queues, with what they hold.
func (c *Console) queues(r *request) (any, error) {
	limit, err := r.limit(usualQueues, maxQueues)
	if err != nil || r.Queues == nil {
		return queuesAnswer{Queues: []queueView{}}, err
	}
	s := r.Queues.Stats()
	out := queuesAnswer{
		Available: true, Queues: []queueView{}, Published: s.Published, PublishErrors: s.PublishErrors, PublishRate: rounded(s.PublishRate),
		Connection: &queuesConnection{s.Connection.Connection.String(), clip(s.Connection.Reason, maxTextBytes), s.Connection.Since.UTC(), s.Connection.Reconnects},
	}
	names, err := queueNames(r.Context(), r.Queues, s)
	if err != nil {
		return nil, err
	}
	if after := r.values.Get("after"); after != "" {
		names = slices.DeleteFunc(names, func(n string) bool { return n <= after })
	}
	if len(names) > limit {
		names = names[:limit]
		out.Next = names[limit-1]
	}
	out.Queues = inspect(r.Context(), r.Queues, names, s)
	return out, nil
}

// queueNames are those that the broker knows, and those that are handled here.
func queueNames(ctx context.Context, b *queue.Broker, s queue.Stats) ([]string, error) {
	names, err := b.Queues(ctx)
	if err != nil && problemOf(err).code != codeUnsupported {
		return nil, err
	}
	names = slices.Clone(names)
	for name := range s.Queues {
		names = append(names, name)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// inspect asks the broker about queues, several at once.
func inspect(ctx context.Context, b *queue.Broker, names []string, s queue.Stats) []queueView {
	views := make([]queueView, len(names))
	var wg sync.WaitGroup
	places := make(chan struct{}, inspecting)
	for i, name := range names {
		views[i].Name = clip(name, maxTextBytes)
		if h, ok := s.Queues[name]; ok {
			views[i].Handler = &queueHandler{
				h.Paused, clip(h.Trouble, maxTextBytes), h.InHand, h.Running, h.Received, h.Done, rounded(h.DoneRate), h.Failed, h.Retried, h.Dead, h.Duplicates, h.Returned,
			}
		}
		wg.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			d, err := b.Inspect(ctx, name)
			if err != nil {
				views[i].Error = clip(err.Error(), maxTextBytes)
				return
			}
			views[i].Waiting, views[i].Delayed, views[i].Unacked, views[i].Dead = known(d.Waiting), known(d.Delayed), known(d.Unacked), known(d.Dead)
			views[i].Oldest = d.Oldest.UTC()
		})
	}
	wg.Wait()
	return views
}

// known returns nil for what a broker does not tell.
func known(n int64) *int64 {
	if n < 0 {
		return nil
	}
	return &n
}

// deadRequest picks dead letters. Empty, and all false, picks none.
type deadRequest struct {
	Queue  string   `json:"queue"`
	IDs    []string `json:"ids,omitempty"`
	All    bool     `json:"all,omitempty"`
	Kind   string   `json:"kind,omitempty"`
	Reason string   `json:"reason,omitempty"`
	Error  string   `json:"error,omitempty"`
}

// filter checks a request.
func (q *deadRequest) filter(r *request) (f queue.DeadFilter, err error) {
	if r.Queues == nil {
		return f, problem{http.StatusNotImplemented, codeUnsupported, "this server has no queues", 0}
	}
	if err := queue.CheckQueue(q.Queue); err != nil {
		return f, err
	}
	f = queue.DeadFilter{IDs: q.IDs, Kind: q.Kind, Reason: queue.Reason(q.Reason), Error: q.Error}
	reasons := []queue.Reason{"", queue.ReasonDiscarded, queue.ReasonAttempts, queue.ReasonLost, queue.ReasonBroker}
	switch {
	case !slices.Contains(reasons, f.Reason):
		return f, wrong("reason: want one of %v", reasons[1:])
	case len(q.Kind) > queue.MaxKeyBytes || len(q.Error) > maxQueryBytes:
		return f, wrong("kind and error: at most %d and %d bytes", queue.MaxKeyBytes, maxQueryBytes)
	case len(q.IDs) > maxIDs:
		return f, wrong("ids: at most %d", maxIDs)
	}
	for _, id := range q.IDs {
		if id == "" || len(id) > maxQueryBytes {
			return f, wrong("ids: want 1 to %d bytes each", maxQueryBytes)
		}
	}
	return f, nil
}

type lettersAnswer struct {
	Letters []letter `json:"letters"`
	Next    string   `json:"next,omitempty"`
}

type letter struct {
	ID        string            `json:"id"`
	Key       string            `json:"key,omitempty"`
	Kind      string            `json:"kind,omitempty"`
	Published time.Time         `json:"published,omitzero"`
	Died      time.Time         `json:"died,omitzero"`
	Attempts  int               `json:"attempts"`
	Reason    string            `json:"reason"`
	Error     string            `json:"error,omitempty"`
	Stack     string            `json:"stack,omitempty"`
	Header    map[string]string `json:"header,omitempty"`
	body
}

// dead lists dead letters of a queue.
func (c *Console) dead(r *request) (any, error) {
	q := deadRequest{Queue: r.values.Get("queue"), Kind: r.values.Get("kind"), Reason: r.values.Get("reason"), Error: r.values.Get("error")}
	f, err := q.filter(r)
	if err != nil {
		return nil, err
	}
	limit, err := r.limit(usualLetters, maxLetters)
	if err != nil {
		return nil, err
	}
	p, err := r.Queues.Dead(q.Queue).List(r.Context(), f, r.values.Get("after"), limit)
	if err != nil {
		return nil, err
	}
	out := lettersAnswer{Letters: []letter{}, Next: p.Next}
	for i := range p.Letters {
		out.Letters = append(out.Letters, c.viewer.letter(&p.Letters[i]))
	}
	return out, nil
}

func (v *viewer) letter(d *queue.Dead) letter {
	l := letter{
		ID: clip(d.ID, maxQueryBytes), Key: clip(d.Key, maxTextBytes), Kind: clip(d.Kind, maxTextBytes), Published: d.Published.UTC(), Died: d.Died.UTC(),
		Attempts: d.Attempts, Reason: clip(string(d.Reason), maxTextBytes), Error: clip(d.LastError, queue.MaxErrorBytes), Stack: clip(d.Stack, queue.MaxStackBytes),
		Header: showHeader(d.Header), body: body{Size: len(d.Payload.Data), Hidden: hiddenKind(d.Kind)},
	}
	if !l.Hidden {
		v.show(&l.body, d.Kind, d.Payload, false, maxLetterShown)
	}
	return l
}

type done struct {
	Done  int    `json:"done"`
	More  bool   `json:"more,omitempty"`
	Error string `json:"error,omitempty"`
}

// pick reads what a change of dead letters is about.
func (r *request) pick() (q deadRequest, f queue.DeadFilter, err error) {
	if q, err = bind[deadRequest](r); err != nil {
		return q, f, err
	}
	if f, err = q.filter(r); err != nil {
		return q, f, err
	}
	if (len(q.IDs) > 0) == q.All {
		return q, f, wrong("want ids, or all: true")
	}
	return q, f, nil
}

// finished tells how far a change of dead letters came.
func finished(n int, err error, bounded, some bool) (any, error) {
	switch {
	case n == 0 && err != nil:
		return nil, err
	case n == 0 && some:
		return nil, notFound("dead letter")
	case err != nil:
		return done{n, true, clip(err.Error(), maxTextBytes)}, nil
	}
	return done{Done: n, More: bounded && n == maxDone}, nil
}

func (c *Console) replayDead(r *request) (any, error) {
	q, f, err := r.pick()
	if err != nil {
		return nil, err
	}
	n, err := r.Queues.Dead(q.Queue).Replay(r.Context(), f, queue.ReplayOptions{Limit: maxDone})
	c.o.Logger.Info("dead letters were replayed by the console", "queue", q.Queue, "letters", n, "error", err, "from", r.RemoteAddr)
	return finished(n, err, true, !q.All)
}

func (c *Console) discardDead(r *request) (any, error) {
	q, f, err := r.pick()
	if err != nil {
		return nil, err
	}
	n, err := r.Queues.Dead(q.Queue).Purge(r.Context(), f)
	c.o.Logger.Info("dead letters were discarded by the console", "queue", q.Queue, "letters", n, "error", err, "from", r.RemoteAddr)
	return finished(n, err, false, !q.All)
}
