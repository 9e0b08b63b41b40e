package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/cmd/polywire/internal/cli"
	"github.com/polywire/polywire/cmd/polywire/internal/config"
	"github.com/polywire/polywire/cmd/polywire/internal/webhookapi"
	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/queue"
	"github.com/polywire/polywire/webhook"
)

// inRule makes messages of webhooks that come in.
type inRule struct {
	path        string
	room, queue string // one of them
	kind        string // empty: the event's type
	verifier    *webhook.Verifier
}

// hookReadTimeout is for the whole of a webhook that comes in.
const hookReadTimeout = 20 * time.Second

// hookKeep is for how long ids of webhooks are remembered: long enough for the
// tries of a sender that had no answer.
const hookKeep = 24 * time.Hour

// checkInRules says which do not fit. A queue needs a broker, or a place for one.
func checkInRules(rules []inRule, broker, place bool) error {
	paths := make(map[string]bool)
	for _, r := range rules {
		var err error
		switch {
		case paths[r.path]:
			err = errors.New("this path is there twice")
		case r.path == webhookAPIPath || strings.HasPrefix(r.path, webhookAPIPath+"/"):
			err = errors.New("this path is the API's")
		case r.queue != "" && !broker && place:
			err = errors.New("a queue needs --webhooks, or a rule of --queue-in or --queue-out")
		case r.queue != "" && !broker:
			err = errors.New("a queue needs --webhooks, and --data-dir or --nats")
		}
		if err != nil {
			return fmt.Errorf("--webhook-in %q: %w", r.path, err)
		}
		paths[r.path] = true
	}
	_, err := inboxMux(rules, func(inRule) http.Handler { return http.NotFoundHandler() })
	return err
}

func inForm() config.Form {
	return config.Form{
		Want: "/path=room:name,secret=env:NAME,kind=...,format=gost,tolerance=5m",
		Fields: []config.Field{
			{Name: "path", Doc: "HTTP path, as /hooks/payments", Required: true},
			{Name: "room", Doc: "room that gets the messages; or:"},
			{Name: "queue", Doc: "queue that gets them"},
			{Name: "secret", Doc: "what to verify with: env:NAME, file:PATH, or a public key (whpk_...)", Required: true, Many: true},
			{Name: "kind", Doc: "kind of the messages; without it the event's type"},
			{Name: "format", Doc: "standard, or gost", Check: config.Words("standard", "gost")},
			{Name: "tolerance", Doc: "by which the clocks may differ; 5m unless given", Check: config.PositiveDuration},
		},
		Split: splitIn,
		Quote: upToEquals,
	}
}

// splitIn takes /path=room:name,secret=env:NAME,... apart.
func splitIn(text string) ([]config.Pair, error) {
	path, rest, ok := strings.Cut(text, "=")
	if !ok {
		return nil, errors.New("want /path=room:name,secret=env:NAME")
	}
	parts := strings.Split(rest, ",")
	what, name, _ := strings.Cut(parts[0], ":")
	if what != "room" && what != "queue" {
		return nil, errors.New("want room:name or queue:name after the path")
	}
	pairs := []config.Pair{{Name: "path", Value: path}, {Name: what, Value: name}}
	for _, part := range parts[1:] {
		name, value, _ := strings.Cut(part, "=")
		pairs = append(pairs, config.Pair{Name: name, Value: value})
	}
	return pairs, nil
}

func checkHookPath(path string) error {
	if !isPath(path) || path == "/" || strings.ContainsAny(path, "{}") {
		return errors.New("want a path that begins with a slash, as /hooks/payments")
	}
	return nil
}

func checkHookRoom(room string) error {
	if room == "" || len(room) > 255 || strings.HasPrefix(room, "$") {
		return errors.New("a room's name has 1 to 255 bytes, and does not begin with $")
	}
	return nil
}

func buildIn(pairs []config.Pair) (r inRule, err error) {
	var o webhook.VerifierOptions
	var secrets []string
	for _, p := range pairs {
		switch p.Name {
		case "path":
			r.path = p.Value
			err = checkHookPath(r.path)
		case "room":
			r.room = p.Value
			err = checkHookRoom(r.room)
		case "queue":
			r.queue = p.Value
			err = queue.CheckQueue(r.queue)
		case "secret":
			text := p.Value
			if !strings.HasPrefix(text, "whpk_") { // that one everybody may see
				if text, err = cli.ReadSecret(text); err != nil {
					return r, fmt.Errorf("secret: %w", err)
				}
			}
			secrets = append(secrets, text)
		case "kind":
			if r.kind = p.Value; r.kind == "" {
				err = errors.New("kind: want a name")
			}
		case "format":
			if o.Format.UnmarshalText([]byte(p.Value)) != nil {
				err = errors.New("format: want standard or gost")
			}
		case "tolerance":
			if o.Tolerance, err = time.ParseDuration(p.Value); err != nil || o.Tolerance <= 0 {
				err = errors.New("tolerance: want a time with its unit, as 5m")
			}
		default:
			err = errors.New("want secret=, kind=, format= or tolerance= behind the room or queue") // what is there may be a part of a secret
		}
		if err != nil {
			return r, err
		}
	}
	if (r.room == "") == (r.queue == "") {
		return r, errors.New("want a room or a queue, one of them")
	}
	r.verifier, err = newVerifier(o, secrets)
	return r, err
}

func newVerifier(o webhook.VerifierOptions, texts []string) (*webhook.Verifier, error) {
	if len(texts) == 0 {
		return nil, errors.New("secret=env:NAME says what to verify with")
	}
	secrets := make([]webhook.Secret, len(texts))
	for i, text := range texts {
		s, err := webhookapi.ParseSecret(o.Format, text)
		if err != nil {
			return nil, err
		}
		secrets[i] = s
	}
	return webhook.NewVerifier(o, secrets...)
}

// handler receives. A message that was handled comes to nobody a second time,
// for as long as its id is remembered.
func (r inRule) handler(srv *polywire.Server, s *sender, seen *seenHooks, t *tracer, logger *slog.Logger) http.Handler {
	put := func(ctx context.Context, m webhook.Received) error {
		return srv.Room(r.room).Send(ctx, r.kindOf(m), hookPayload(m))
	}
	if r.queue != "" {
		broker := srv.Queues() // that of the queues' rules, where they have one
		if broker == nil {
			broker = s.broker
		}
		put = func(ctx context.Context, m webhook.Received) error {
			return t.publisher(broker).Publish(ctx, queue.Message{Queue: r.queue, ID: hookID(r.path, m.ID), Kind: r.kindOf(m), Payload: hookPayload(m)})
		}
	}
	receive := webhook.Middleware(r.verifier, webhook.ReceiverOptions{
		Keep: hookKeep, Replays: seen.of(r.path),
		Refused: func(req *http.Request, err error) {
			logger.Info("a webhook that came in was refused", "path", r.path, "from", req.RemoteAddr, "error", err)
		},
	})
	received := receive(t.handler("POST "+r.path, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		m, _ := webhook.FromContext(req.Context()) // the middleware put it there
		ctx, cancel := context.WithTimeout(req.Context(), publishWait)
		defer cancel()
		if err := put(ctx, m); err != nil {
			logger.Warn("a webhook that came in could not be passed on", "path", r.path, "id", m.ID, "error", err)
			w.Header().Set("Retry-After", "5")
			http.Error(w, http.StatusText(http.StatusServiceUnavailable), http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})))
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(hookReadTimeout)) // of net/http it can be set
		received.ServeHTTP(w, req)
	})
}

// kindOf is the kind of a message that a webhook becomes.
func (r inRule) kindOf(m webhook.Received) string {
	if r.kind == "" && webhook.ValidType(m.Type) {
		return m.Type
	}
	return cmp.Or(r.kind, "webhook") // others' bodies need not have a type
}

// hookPayload is the body as it came.
func hookPayload(m webhook.Received) polywire.Payload {
	t := codec.TypeBytes
	if json.Valid(m.Body) {
		t = codec.TypeJSON
	}
	return polywire.Payload{Type: t, Data: m.Body}
}

// hookID makes an id that is a queue's of one that a sender chose: senders of
// different paths do not share theirs.
func hookID(path, id string) string {
	sum := sha256.Sum256([]byte(path + "\x00" + id))
	return "hook-" + hex.EncodeToString(sum[:])
}
