// Package dispatchtest is the suite that every implementation of the stores of package
// webhook/dispatch passes.
package dispatchtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/polywire/polywire/webhook"
	"github.com/polywire/polywire/webhook/dispatch"
)

// Stores are what is tested.
type Stores struct {
	Endpoints dispatch.Endpoints
	Events    dispatch.Events
	Attempts  dispatch.Attempts
}

// patience bounds every wait of the suite.
const patience = 5 * time.Minute

// Run tests the stores that open returns: empty ones for each test. Calls of open with
// the same t return stores with the same content, as another program would have them.
func Run(t *testing.T, open func(t *testing.T) Stores) {
	tests := []struct {
		name string
		run  func(t *testing.T, open func(t *testing.T) Stores)
	}{
		{"endpoint", endpointKept}, {"compare and set", compareAndSet}, {"race", race}, {"watch", watch},
		{"events", events}, {"event types", eventTypes}, {"pages", pages}, {"attempts of an event", attemptsOf},
		{"scan", scan}, {"large attempt", largeAttempt}, {"odd names", oddNames},
		{"names that are none", noNames},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, open) })
	}
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// check ends the test on an error.
func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newEndpoint returns one that is valid.
func newEndpoint(id string) webhook.Endpoint {
	return webhook.Endpoint{
		ID: id, URL: "https://example.com/hook", Types: []string{"payment.*"}, Secrets: []webhook.Secret{webhook.GenerateSecret()},
		Headers: webhook.Headers{"X-Tenant": "7"}, Rate: 5, Description: "zażółć",
	}.WithDefaults()
}

// Entry returns an attempt number n at an event.
func Entry(endpoint, event string, n int) dispatch.Entry {
	now := time.Now().UTC()
	return dispatch.Entry{
		Endpoint: endpoint, Type: "payment.approved", State: dispatch.StateScheduled, Next: now.Add(time.Minute), Accepted: now,
		Attempt: webhook.Attempt{
			ID: event, Try: n, Start: now, Duration: time.Millisecond, Class: webhook.ClassStatus, Status: 500, Body: []byte("no"),
		},
	}
}

func encoded(t *testing.T, v any) string {
	t.Helper()
	if r, ok := v.(dispatch.Record); ok {
		b, err := dispatch.MarshalRecord(r)
		check(t, err)
		return fmt.Sprint(string(b), r.Revision)
	}
	b, err := json.Marshal(v)
	check(t, err)
	return string(b)
}

func endpointKept(t *testing.T, open func(t *testing.T) Stores) {
	s, ctx := open(t).Endpoints, within(t)
	now := time.Now().UTC()
	r := dispatch.Record{
		Endpoint: newEndpoint("a"), Created: now, Updated: now.Add(1), FailingSince: now.Add(2), LastFailure: now.Add(3),
		Retire: []time.Time{now.Add(time.Hour)},
	}
	if _, err := s.Load(ctx, "a"); !errors.Is(err, dispatch.ErrNotFound) {
		t.Errorf("an endpoint that is not there: %v", err)
	}
	var err error
	r.Revision, err = s.Save(ctx, r)
	check(t, err)
	if r.Revision == 0 {
		t.Error("the revision is zero")
	}
	got, err := open(t).Endpoints.Load(ctx, "a")
	check(t, err)
	if want := encoded(t, r); encoded(t, got) != want {
		t.Errorf("got %s, want %s", encoded(t, got), want)
	}
	got.Endpoint.Types[0] = "changed" // what a store gives is the caller's
	again, err := s.Load(ctx, "a")
	check(t, err)
	if encoded(t, again) != encoded(t, r) {
		t.Error("a change of what was loaded is in the store")
	}
	check(t, s.Delete(ctx, "a", r.Revision))
	if _, err := s.Load(ctx, "a"); !errors.Is(err, dispatch.ErrNotFound) {
		t.Errorf("an endpoint that was removed: %v", err)
	}
	if err := s.Delete(ctx, "a", r.Revision); !errors.Is(err, dispatch.ErrNotFound) {
		t.Errorf("removed twice: %v", err)
	}
	r.Revision = 0
	if r.Revision, err = s.Save(ctx, r); err != nil || r.Revision == 0 {
		t.Errorf("added again: %v", err)
	}
	if _, err := s.Save(ctx, dispatch.Record{Endpoint: webhook.Endpoint{ID: "b"}}); !errors.Is(err, webhook.ErrEndpoint) {
		t.Errorf("an endpoint that cannot be used: %v", err)
	}
}

func compareAndSet(t *testing.T, open func(t *testing.T) Stores) {
	s, ctx := open(t).Endpoints, within(t)
	r := dispatch.Record{Endpoint: newEndpoint("a")}
	first, err := s.Save(ctx, r)
	check(t, err)
	if _, err := s.Save(ctx, r); !errors.Is(err, dispatch.ErrConflict) {
		t.Errorf("added twice: %v", err)
	}
	r.Revision = first
	second, err := s.Save(ctx, r)
	check(t, err)
	if second <= first {
		t.Errorf("revision %d after %d", second, first)
	}
	if _, err := s.Save(ctx, r); !errors.Is(err, dispatch.ErrConflict) {
		t.Errorf("an old revision was saved: %v", err)
	}
	if err := s.Delete(ctx, "a", first); !errors.Is(err, dispatch.ErrConflict) {
		t.Errorf("an old revision was removed: %v", err)
	}
	check(t, s.Delete(ctx, "a", second))
	r.Revision = second
	if _, err := s.Save(ctx, r); !errors.Is(err, dispatch.ErrConflict) {
		t.Errorf("a removed one was saved: %v", err)
	}
}

// race changes one endpoint from many sides: no change may get lost.
func race(t *testing.T, open func(t *testing.T) Stores) {
	const writers, each = 4, 10
	ctx := within(t)
	_, err := open(t).Endpoints.Save(ctx, dispatch.Record{Endpoint: newEndpoint("a")})
	check(t, err)
	errs := make(chan error, writers)
	for range writers {
		s := open(t).Endpoints
		go func() {
			for n := 0; n < each; {
				r, err := s.Load(ctx, "a")
				if err != nil {
					errs <- err
					return
				}
				r.Endpoint.Burst++
				_, err = s.Save(ctx, r)
				if err == nil {
					n++
				} else if !errors.Is(err, dispatch.ErrConflict) {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	for range writers {
		check(t, <-errs)
	}
	r, err := open(t).Endpoints.Load(ctx, "a")
	check(t, err)
	if want := newEndpoint("a").Burst + writers*each; r.Endpoint.Burst != want {
		t.Errorf("%d changes, want %d", r.Endpoint.Burst, want)
	}
}

// watch follows what another does.
func watch(t *testing.T, open func(t *testing.T) Stores) {
	s, ctx := open(t).Endpoints, within(t)
	a, b := dispatch.Record{Endpoint: newEndpoint("a")}, dispatch.Record{Endpoint: newEndpoint("b")}
	var err error
	a.Revision, err = s.Save(ctx, a)
	check(t, err)
	watching, stop := context.WithCancel(ctx)
	changes := make(chan dispatch.Change, 100)
	ended := make(chan error, 1)
	other := open(t).Endpoints
	go func() { ended <- other.Watch(watching, func(c dispatch.Change) { changes <- c }) }()
	next := func() dispatch.Change {
		t.Helper()
		select {
		case c := <-changes:
			return c
		case err := <-ended:
			t.Fatalf("the watch has ended: %v", err)
		case <-ctx.Done():
			t.Fatal("no change is told")
		}
		return dispatch.Change{}
	}
	same := func(c dispatch.Change, want dispatch.Record) {
		t.Helper()
		if c.ID != want.Endpoint.ID || c.Record == nil || encoded(t, *c.Record) != encoded(t, want) {
			t.Errorf("got %+v, want %v", c, want)
		}
	}
	same(next(), a)
	if c := next(); c.ID != "" || c.Record != nil {
		t.Errorf("got %+v, want the end of those that were there", c)
	}
	b.Revision, err = s.Save(ctx, b)
	check(t, err)
	same(next(), b)
	a.Endpoint.Disabled = true
	a.Revision, err = s.Save(ctx, a)
	check(t, err)
	same(next(), a)
	check(t, s.Delete(ctx, "b", b.Revision))
	if c := next(); c.ID != "b" || c.Record != nil {
		t.Errorf("got %+v, want that b is removed", c)
	}
	// One that comes and goes is told to be gone: whoever has saved it may know it.
	b.Revision, err = s.Save(ctx, dispatch.Record{Endpoint: b.Endpoint})
	check(t, err)
	check(t, s.Delete(ctx, "b", b.Revision))
	for c := next(); c.ID != "b" || c.Record != nil; c = next() {
		if c.ID != "b" {
			t.Errorf("got %+v, want that b comes or goes", c)
		}
	}
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the watch ended with %v", err)
	}
}

func event(id, eventType string) dispatch.Stored {
	now := time.Now().UTC()
	return dispatch.Stored{ID: id, Type: eventType, Time: now, Accepted: now, Data: json.RawMessage(`{"id":"` + id + `"}`)}
}

func events(t *testing.T, open func(t *testing.T) Stores) {
	s, ctx := open(t).Events, within(t)
	want := event("e1", "payment.approved")
	check(t, s.Append(ctx, want))
	for n := range 600 { // more than a batch
		check(t, s.Append(ctx, event(fmt.Sprint("other", n), "payment.refused")))
	}
	for _, near := range []time.Time{{}, want.Accepted, want.Accepted.Add(time.Hour)} {
		got, err := open(t).Events.Load(ctx, "e1", near)
		check(t, err)
		if encoded(t, got) != encoded(t, want) {
			t.Errorf("got %s, want %s", encoded(t, got), encoded(t, want))
		}
	}
	if _, err := s.Load(ctx, "e2", time.Time{}); !errors.Is(err, dispatch.ErrNotFound) {
		t.Errorf("an event that is not there: %v", err)
	}
	n := 0
	check(t, s.Scan(ctx, "*", time.Time{}, time.Time{}, func(dispatch.Stored) bool { n++; return n < 400 }))
	if n != 400 {
		t.Errorf("visited %d, want 400", n)
	}
}

func eventTypes(t *testing.T, open func(t *testing.T) Stores) {
	s, ctx := open(t).Events, within(t)
	types := []string{"payment.approved", "payment.approved.late", "payment", "user.created", "pay"}
	var middle time.Time
	for i, eventType := range types {
		if i == 2 {
			pause(t)
			middle = time.Now()
			pause(t)
		}
		check(t, s.Append(ctx, event(fmt.Sprint("e", i), eventType)))
	}
	tests := []struct {
		pattern      string
		since, until time.Time
		want         []string
	}{
		{"*", time.Time{}, time.Time{}, []string{"e0", "e1", "e2", "e3", "e4"}},
		{"payment.*", time.Time{}, time.Time{}, []string{"e0", "e1"}},
		{"payment.approved", time.Time{}, time.Time{}, []string{"e0"}},
		{"payment", time.Time{}, time.Time{}, []string{"e2"}},
		{"none", time.Time{}, time.Time{}, nil},
		{"*", middle, time.Time{}, []string{"e2", "e3", "e4"}},
		{"*", time.Time{}, middle, []string{"e0", "e1"}},
		{"*", time.Now().Add(time.Hour), time.Time{}, nil},
	}
	for _, tt := range tests {
		var got []string
		check(t, s.Scan(ctx, tt.pattern, tt.since, tt.until, func(e dispatch.Stored) bool {
			got = append(got, e.ID)
			return true
		}))
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s from %v until %v: got %v, want %v", tt.pattern, tt.since, tt.until, got, tt.want)
		}
	}
}

// pause makes times before and after it differ for every clock.
func pause(t *testing.T) {
	t.Helper()
	timer := time.NewTimer(20 * time.Millisecond)
	<-timer.C
}

// pages reads an endpoint's attempts in pages: those in a bunch, alone among many of
// others, and none.
func pages(t *testing.T, open func(t *testing.T) Stores) {
	s, ctx := open(t).Attempts, within(t)
	var order []string
	add := func(endpoint string, n int) {
		for range n {
			id := fmt.Sprint("e", len(order))
			order = append(order, endpoint)
			check(t, s.Append(ctx, Entry(endpoint, id, 1)))
		}
	}
	add("a", 300)
	add("b", 5)
	for range 10 {
		add("c", 1)
		add("a", 40)
	}
	add("b", 3)
	add("a", 20)
	for _, endpoint := range []string{"a", "b", "c", "none", ""} {
		var want []string
		for i, e := range slices.Backward(order) {
			if e == endpoint || endpoint == "" {
				want = append(want, fmt.Sprint("e", i))
			}
		}
		for _, limit := range []int{1, 4, 50, 0} {
			var got []string
			for next := ""; ; {
				p, err := s.Newest(ctx, endpoint, next, limit)
				check(t, err)
				if limit > 0 && len(p.Entries) > limit {
					t.Fatalf("%d entries in a page of %d", len(p.Entries), limit)
				}
				for _, e := range p.Entries {
					got = append(got, e.Attempt.ID)
				}
				next = p.Next
				if next == "" || len(got) > len(want) || limit == 1 && len(got) > 20 {
					break
				}
			}
			expected := want
			if limit == 1 { // not all, which takes long
				expected = want[:min(len(want), len(got))]
			}
			if !slices.Equal(got, expected) {
				t.Errorf("%q by %d: got %d, want %d", endpoint, limit, len(got), len(expected))
			}
		}
	}
	if _, err := s.Newest(ctx, "a", "nonsense", 5); !errors.Is(err, dispatch.ErrInvalid) {
		t.Errorf("a page that is none: %v", err)
	}
}

func attemptsOf(t *testing.T, open func(t *testing.T) Stores) {
	s, ctx := open(t).Attempts, within(t)
	var want []string
	for n := range 4 {
		for _, endpoint := range []string{"a", "b"} {
			e := Entry(endpoint, "e1", n+1)
			want = append(want, encoded(t, e))
			check(t, s.Append(ctx, e))
		}
		for k := range 100 {
			check(t, s.Append(ctx, Entry("a", fmt.Sprint("other", n, "-", k), 1)))
		}
	}
	for _, near := range []time.Time{{}, time.Now().Add(-time.Minute)} {
		got, err := open(t).Attempts.Of(ctx, "e1", near)
		check(t, err)
		if len(got) != len(want) {
			t.Fatalf("got %d, want %d", len(got), len(want))
		}
		for i := range got {
			if encoded(t, got[i]) != want[i] {
				t.Errorf("got %s, want %s", encoded(t, got[i]), want[i])
			}
		}
	}
	if got, err := s.Of(ctx, "none", time.Time{}); err != nil || len(got) != 0 {
		t.Errorf("an event without attempts: %v, %v", got, err)
	}
}

func scan(t *testing.T, open func(t *testing.T) Stores) {
	s, ctx := open(t).Attempts, within(t)
	var middle time.Time
	for n := range 20 {
		if n == 10 {
			pause(t)
			middle = time.Now()
			pause(t)
		}
		check(t, s.Append(ctx, Entry("a", fmt.Sprint("e", n), 1)))
		check(t, s.Append(ctx, Entry("b", fmt.Sprint("e", n), 1)))
	}
	tests := []struct {
		since, until time.Time
		from, to     int
	}{{to: 20}, {since: middle, from: 10, to: 20}, {until: middle, to: 10}, {since: time.Now().Add(time.Hour)}}
	for _, tt := range tests {
		n := tt.from
		check(t, s.Scan(ctx, "a", tt.since, tt.until, func(e dispatch.Entry) bool {
			if e.Endpoint != "a" || e.Attempt.ID != fmt.Sprint("e", n) {
				t.Errorf("got %s of %s, want e%d of a", e.Attempt.ID, e.Endpoint, n)
			}
			n++
			return true
		}))
		if n != tt.to {
			t.Errorf("from %v until %v: visited up to %d, want %d", tt.since, tt.until, n, tt.to)
		}
	}
	n := 0
	check(t, s.Scan(ctx, "b", time.Time{}, time.Time{}, func(dispatch.Entry) bool { n++; return n < 3 }))
	if n != 3 {
		t.Errorf("visited %d, want 3", n)
	}
}

// largeAttempt has all that an attempt can have.
func largeAttempt(t *testing.T, open func(t *testing.T) Stores) {
	s, ctx := open(t).Attempts, within(t)
	e := Entry("a", "e", 1)
	e.Attempt.Body = make([]byte, webhook.MaxAttemptBodyBytes)
	e.Attempt.Truncated = true
	e.Attempt.Header = map[string][]string{"X": {string(slices.Repeat([]byte("<"), webhook.MaxAttemptHeaderBytes))}}
	e.Replay = "r"
	for range 60 { // a page is larger than a batch
		check(t, s.Append(ctx, e))
	}
	p, err := s.Newest(ctx, "a", "", 50)
	check(t, err)
	if len(p.Entries) != 50 || p.Next == "" {
		t.Fatalf("a page of %d", len(p.Entries))
	}
	for _, got := range p.Entries {
		if encoded(t, got) != encoded(t, e) {
			t.Fatal("an attempt has changed")
		}
	}
}

// oddNames have what subjects and keys of stores may not.
func oddNames(t *testing.T, open func(t *testing.T) Stores) {
	s, ctx := open(t), within(t)
	names := []string{"*", ">", "$", "=2A", "=", "/", "a*", "A", "~!@#%^&()[]{}|:;'<>,?`", string(slices.Repeat([]byte("*"), webhook.MaxIDBytes))}
	for _, name := range names {
		_, err := s.Endpoints.Save(ctx, dispatch.Record{Endpoint: newEndpoint(name)})
		check(t, err)
		check(t, s.Attempts.Append(ctx, Entry(name, name, 1)))
		check(t, s.Events.Append(ctx, event(name, "a-b_c.D")))
	}
	for _, name := range names {
		r, err := s.Endpoints.Load(ctx, name)
		if err != nil || r.Endpoint.ID != name {
			t.Errorf("endpoint %q: %v, %v", name, r, err)
		}
		p, err := s.Attempts.Newest(ctx, name, "", 10)
		if err != nil || len(p.Entries) != 1 || p.Entries[0].Endpoint != name {
			t.Errorf("attempts of %q: %v, %v", name, p, err)
		}
		e, err := s.Events.Load(ctx, name, time.Time{})
		if err != nil || e.ID != name {
			t.Errorf("event %q: %v, %v", name, e, err)
		}
	}
}

// noNames are longer than any name is, or none: nothing is there, and what is
// asked for afterwards is.
func noNames(t *testing.T, open func(t *testing.T) Stores) {
	s, ctx := open(t), within(t)
	for _, name := range []string{"", ".", "..", "\x00", "\xff", "a b", "a\r\nPUB x 1", strings.Repeat("x", webhook.MaxIDBytes+1), strings.Repeat("*", 100_000)} {
		if _, err := s.Endpoints.Load(ctx, name); !errors.Is(err, dispatch.ErrNotFound) {
			t.Errorf("endpoint %.30q is loaded: %v", name, err)
		}
		if err := s.Endpoints.Delete(ctx, name, 1); !errors.Is(err, dispatch.ErrNotFound) {
			t.Errorf("endpoint %.30q is deleted: %v", name, err)
		}
		if _, err := s.Events.Load(ctx, name, time.Time{}); !errors.Is(err, dispatch.ErrNotFound) {
			t.Errorf("event %.30q is loaded: %v", name, err)
		}
		if all, err := s.Attempts.Of(ctx, name, time.Time{}); err != nil || len(all) > 0 {
			t.Errorf("attempts at %.30q: %v, %v", name, all, err)
		}
		if p, err := s.Attempts.Newest(ctx, name, "", 10); err != nil || len(p.Entries) > 0 {
			t.Errorf("attempts of %.30q: %v, %v", name, p, err)
		}
		err := s.Attempts.Scan(ctx, name, time.Time{}, time.Time{}, func(e dispatch.Entry) bool {
			t.Errorf("attempts of %.30q: %v", name, e)
			return true
		})
		if err != nil {
			t.Errorf("attempts of %.30q: %v", name, err)
		}
	}
	_, err := s.Endpoints.Save(ctx, dispatch.Record{Endpoint: newEndpoint("one")})
	check(t, err)
	_, err = s.Endpoints.Load(ctx, "one")
	check(t, err)
}
