package console

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// Bounds of streams of events.
const (
	maxStreams    = 16
	maxWatchers   = 4
	streamTimeout = 3 * time.Second // that one write may be stuck
)

// eventsQuery are the parameters of streams.
func eventsQuery() []string { return []string{"tail", "kind", "room", "conn", "wire", "user", "dir"} }

// readFilter reads the filter of a tail; nil: none is wanted.
func readFilter(r *request) (*filter, error) {
	get := r.values.Get
	switch get("tail") {
	case "", "0":
		return nil, nil
	case "1":
	default:
		return nil, wrong("tail: want 1, or nothing")
	}
	f := filter{kind: get("kind"), room: get("room"), conn: get("conn"), wire: get("wire"), user: get("user"), dir: get("dir"), srv: r.Server}
	for name := range r.values {
		if len(get(name)) > maxFiltered {
			return nil, wrong("%s: at most %d bytes", name, maxFiltered)
		}
	}
	if f.dir != "" && f.dir != dirIn && f.dir != dirOut {
		return nil, wrong("dir: want in or out")
	}
	f.kind, f.prefix = strings.CutSuffix(f.kind, "*")
	return &f, nil
}

// stream is one stream of events.
type stream struct {
	c       *Console
	r       *request
	w       http.ResponseWriter
	control *http.ResponseController
	watcher *watcher // nil: without a tail
}

// events serves a stream until the page goes, or somebody ends it.
func (c *Console) events(w http.ResponseWriter, r *request) {
	f, err := readFilter(r)
	if err != nil {
		c.tell(w, r.Request, err)
		return
	}
	s := &stream{c: c, r: r, w: w, control: http.NewResponseController(w)}
	if s.watcher, err = c.enter(f); err != nil {
		c.tell(w, r.Request, err)
		return
	}
	defer c.exit(s.watcher)
	_ = s.control.SetReadDeadline(time.Time{})    // it would end the stream; a test's recorder cannot
	defer s.control.SetWriteDeadline(time.Time{}) //nolint:errcheck // the same
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // a proxy has to let each event through
	w.WriteHeader(http.StatusOK)
	if _, err := io.WriteString(w, "retry: 2000\n"); err != nil {
		return
	}
	s.run()
}

// enter takes a place for a stream, and begins to watch if there is a filter.
func (c *Console) enter(f *filter) (*watcher, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	tooMany := func(text string, most int) error {
		return problem{http.StatusTooManyRequests, codeTooMany, fmt.Sprintf(text, most), 5 * time.Second}
	}
	switch {
	case c.closed:
		return nil, problem{http.StatusServiceUnavailable, codeUnavailable, "the server is ending", time.Second}
	case c.streams.Load() >= maxStreams:
		return nil, tooMany("there are %d streams of events already", maxStreams)
	case f != nil && c.tail.count() >= maxWatchers:
		return nil, tooMany("there are %d tails already", maxWatchers)
	}
	c.streams.Add(1)
	c.goes.Add(1)
	if f == nil {
		return nil, nil
	}
	return c.tail.watch(*f), nil
}

// exit gives the place up.
func (c *Console) exit(w *watcher) {
	if w != nil {
		c.tail.leave(w)
	}
	c.streams.Add(-1)
	c.goes.Done()
}

// run writes events.
func (s *stream) run() {
	c := s.c
	hello := map[string]any{"node": s.r.Server.Nodes().ID(), "started": c.started.UTC(), "tail": s.watcher != nil}
	if !s.send("hello", hello) || !s.figures() {
		return
	}
	var batch <-chan time.Time
	if s.watcher != nil {
		t := time.NewTicker(batchEvery)
		defer t.Stop()
		batch = t.C
	}
	tick := c.tick.wait()
	for {
		select {
		case <-s.r.Context().Done():
			return
		case <-c.done:
			s.send("end", map[string]string{"reason": "the server is ending"})
			return
		case <-tick:
			tick = c.tick.wait()
			if !c.o.Admin.Authorized(s.r.Request) {
				s.send("end", map[string]string{"reason": "logged out"})
				return
			}
			if !s.figures() {
				return
			}
		case <-batch:
			if !s.entries() {
				return
			}
		}
	}
}

// figures writes the latest ones.
func (s *stream) figures() bool {
	f := s.c.latest.Load()
	if f == nil {
		return true
	}
	if f.encoded == nil { // of the time before there was a stream
		fresh := *f
		fresh.encode()
		f = &fresh
	}
	return s.write("figures", f.encoded)
}

// entries writes what the tail has brought.
func (s *stream) entries() bool {
	var event struct {
		Entries []entryView `json:"entries"`
		Dropped int64       `json:"dropped"`
	}
	for range maxBatch {
		select {
		case e := <-s.watcher.entries:
			event.Entries = append(event.Entries, s.c.viewer.entry(e))
			continue
		default:
		}
		break
	}
	if event.Dropped = s.watcher.missed.Swap(0); event.Dropped == 0 && event.Entries == nil {
		return true
	}
	if event.Entries == nil {
		event.Entries = []entryView{}
	}
	return s.send("tail", event)
}

func (s *stream) send(name string, v any) bool {
	b, err := json.Marshal(v)
	return err == nil && s.write(name, b)
}

// write writes an event, whose data is one line. A page that does not read is
// left: it comes again.
func (s *stream) write(name string, data []byte) bool {
	_ = s.control.SetWriteDeadline(time.Now().Add(streamTimeout)) // a test's recorder cannot
	_, err := fmt.Fprintf(s.w, "event: %s\ndata: %s\n\n", name, data)
	return err == nil && s.control.Flush() == nil
}
