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

// parseInRules takes all apart. A queue needs a broker, or a place for one.
func parseInRules(texts []string, broker, place bool) ([]inRule, error) {
	var rules []inRule
	paths := make(map[string]bool)
	for _, text := range texts {
		r, err := parseInRule(text)
		switch {
		case err != nil:
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
			path, _, _ := strings.Cut(text, "=") // what follows may be a secret
			return nil, fmt.Errorf("--webhook-in %q: %w", path, err)
		}
		paths[r.path] = true
		rules = append(rules, r)
	}
	return rules, nil
}

// parseInRule takes /path=room:name,secret=env:NAME,... apart.
func parseInRule(text string) (r inRule, err error) {
	path, rest, ok := strings.Cut(text, "=")
	if !ok {
		return r, errors.New("want /path=room:name,secret=env:NAME")
	}
	if r.path = path; !isPath(path) || path == "/" || strings.ContainsAny(path, "{}") {
		return r, errors.New("want a path that begins with a slash, as /hooks/payments")
	}
	parts := strings.Split(rest, ",")
	if r.room, r.queue, err = hookTarget(parts[0]); err != nil {
		return r, err
	}
	var o webhook.VerifierOptions
	var secrets []string
	for _, part := range parts[1:] {
		name, value, _ := strings.Cut(part, "=")
		switch name {
		case "secret":
			text := value
			if !strings.HasPrefix(value, "whpk_") { // that one everybody may see
				if text, err = readSecret(value); err != nil {
					return r, fmt.Errorf("secret: %w", err)
				}
			}
			secrets = append(secrets, text)
		case "kind":
			if r.kind = value; value == "" {
				return r, errors.New("kind: want a name")
			}
		case "format":
			if o.Format.UnmarshalText([]byte(value)) != nil {
				return r, errors.New("format: want standard or gost")
			}
		case "tolerance":
			if o.Tolerance, err = time.ParseDuration(value); err != nil || o.Tolerance <= 0 {
				return r, errors.New("tolerance: want a time with its unit, as 5m")
			}
		default:
			return r, fmt.Errorf("%q: want secret=, kind=, format= or tolerance=", name)
		}
	}
	r.verifier, err = newVerifier(o, secrets)
	return r, err
}

func hookTarget(text string) (room, queueName string, err error) {
	what, name, _ := strings.Cut(text, ":")
	switch {
	case what == "room" && name != "" && len(name) <= 255 && !strings.HasPrefix(name, "$"):
		return name, "", nil
	case what == "room":
		return "", "", errors.New("a room's name has 1 to 255 bytes, and does not begin with $")
	case what == "queue":
		return "", name, queue.CheckQueue(name)
	}
	return "", "", errors.New("want room:name or queue:name after the path")
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
func (r inRule) handler(srv *polywire.Server, s *sender, seen *seenHooks, logger *slog.Logger) http.Handler {
	put := func(ctx context.Context, m webhook.Received) error {
		return srv.Room(r.room).Send(ctx, r.kindOf(m), hookPayload(m))
	}
	if r.queue != "" {
		broker := srv.Queues() // that of the queues' rules, where they have one
		if broker == nil {
			broker = s.broker
		}
		put = func(ctx context.Context, m webhook.Received) error {
			return broker.Publish(ctx, queue.Message{Queue: r.queue, ID: hookID(r.path, m.ID), Kind: r.kindOf(m), Payload: hookPayload(m)})
		}
	}
	receive := webhook.Middleware(r.verifier, webhook.ReceiverOptions{
		Keep: hookKeep, Replays: seen.of(r.path),
		OnReject: func(req *http.Request, err error) {
			logger.Info("a webhook that came in was refused", "path", r.path, "from", req.RemoteAddr, "error", err)
		},
	})
	received := receive(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
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
	}))
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
