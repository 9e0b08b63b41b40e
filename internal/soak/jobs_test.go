package soak_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/internal/badnet"
	"github.com/polywire/polywire/internal/scrape"
	"github.com/polywire/polywire/webhook"
	"github.com/polywire/polywire/wire/native"
)

// through is an HTTP client on a bad network.
func through(t *testing.T, p *badnet.Proxy) *http.Client {
	t.Helper()
	tr := &http.Transport{DialContext: by(p)}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// program speaks in a room by the API. Who gets no answer asks again with the
// same key: that must not say it twice.
func program(t *testing.T, l *ledger, p *badnet.Proxy, room string) speaker {
	t.Helper()
	c := through(t, p)
	return speaker{l, "a program", func(ctx context.Context, n note) error {
		body := map[string]any{"kind": kindNote, "json": n}
		for try := 0; ; try++ {
			one, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerTime)
			status, answer, err := ask(one, c, http.MethodPost, "http://soak/api/v1/rooms/"+room+"/send", body, fmt.Sprintf("note-%d", n.N))
			cancel()
			switch {
			case err == nil && status/100 == 2:
				return nil
			case err == nil && status != http.StatusConflict && status < 500: // else it is still being done, or was not confirmed
				l.wrong("the API answered %d: %s", status, answer)
				return errors.New("refused")
			case try > 100:
				return fmt.Errorf("the API gives no answer: %d, %w", status, err)
			}
			<-time.After(50 * time.Millisecond) // real: between two requests
		}
	}}
}

// receiver is somebody else's program, which gets webhooks and now and then
// says that it could not take one.
type receiver struct {
	l        *ledger
	verifier *webhook.Verifier

	mu   sync.Mutex
	seen map[string]bool
	all  int
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // the server has gone, and comes again
	}
	m, err := r.verifier.Verify(req.Header, body)
	var event struct{ Data json.RawMessage }
	if err != nil || json.Unmarshal(body, &event) != nil {
		r.l.wrong("a webhook that is none: %v: %s", err, body)
	}
	if r.fails(m.ID) {
		http.Error(w, "not now", http.StatusServiceUnavailable)
		return
	}
	r.l.hears("webhooks", "", event.Data)
}

// fails is true for the first attempt of every seventh; it takes some seconds
// until the next.
func (r *receiver) fails(id string) bool {
	if testing.Short() {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen[id] {
		return false
	}
	r.seen[id] = true
	r.all++
	return r.all%7 == 0
}

// receive registers an endpoint.
func receive(t *testing.T, s *server, l *ledger) {
	t.Helper()
	r := &receiver{l: l, seen: make(map[string]bool)}
	l.member("webhooks", atLeastOnce)
	secret := webhook.GenerateSecret()
	var err error
	if r.verifier, err = webhook.NewVerifier(webhook.VerifierOptions{}, secret); err != nil {
		t.Fatal(err)
	}
	at := httptest.NewServer(r)
	t.Cleanup(at.Close)
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	body := map[string]any{"id": "soak", "url": at.URL, "types": []string{"order.*"}, "secret": secret.Reveal()}
	status, answer, err := ask(t.Context(), c, http.MethodPost, "http://"+s.http+"/api/v1/webhooks/endpoints", body, "")
	if err != nil || status != http.StatusCreated {
		t.Fatalf("adding an endpoint: %d %s, %v", status, answer, err)
	}
}

// slowReaders let a flood come at clients whose network is narrow: the server
// has to send them away, one after the other, until ctx ends.
func slowReaders(ctx context.Context, t *testing.T, s *server, count *tally) {
	p, err := badnet.New(s.http)
	if err != nil {
		t.Error(err)
		return
	}
	defer p.Close()
	p.Throttle(50_000)
	w := way{"slow", "ws://soak", native.New(), by(p)}
	flood, err := way{"flood", "unix://" + s.unix, native.New(), nil}.client()
	if err == nil {
		err = flood.Connect(context.WithoutCancel(ctx))
	}
	if err != nil {
		t.Error(err)
		return
	}
	defer flood.Close()
	wave := bytes.Repeat([]byte("wave"), 16<<10)
	for first := true; first || pass(ctx, time.Second); first = false { // one at least, however busy the machine is
		if err := drown(context.WithoutCancel(ctx), s, w, flood, wave); err != nil {
			count.add("slow readers not sent away: " + err.Error())
		} else {
			count.add("slow readers")
		}
	}
}

// drown floods a room with one slow reader until the server has sent it away.
// The reader learns of that later: it has much to read before.
func drown(ctx context.Context, s *server, w way, flood *client.Client, wave []byte) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	slow := func() (float64, error) {
		page, err := scrape.Fetch(ctx, s.admin+"/metrics")
		return page.Sum("polywire_server_slow_consumers_total"), err
	}
	before, err := slow()
	if err != nil {
		return err
	}
	c, err := w.client(client.WithoutReconnect())
	if err != nil {
		return err
	}
	defer c.Close()
	c.Handle("*", func(context.Context, *polywire.Message) (any, error) { return nil, nil })
	if err := errors.Join(c.Connect(ctx), c.Subscribe(ctx, roomFlood)); err != nil {
		return err
	}
	for {
		for range 16 {
			if err := flood.Publish(ctx, roomFlood, "wave", wave); err != nil {
				return err
			}
		}
		if now, err := slow(); err != nil || now > before {
			return err
		}
	}
}
