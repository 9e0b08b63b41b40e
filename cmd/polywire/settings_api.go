package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/polywire/polywire/cmd/polywire/internal/api"
	"github.com/polywire/polywire/cmd/polywire/internal/backend"
	"github.com/polywire/polywire/cmd/polywire/internal/cli"
	"github.com/polywire/polywire/cmd/polywire/internal/config"
	"github.com/polywire/polywire/webhook"
)

func (f *apiRules) declare(s *config.Set) {
	s.Add(config.Setting{
		Key: "api.keys", Flag: "api-access", Reload: true, Secret: config.Secret,
		Doc: "serve the HTTP API at " + api.DefaultBase + ", and gRPC, to who shows one of these keys: `name=secret,scope,...`;\n" +
			"a secret is env:NAME, file:PATH, or sha256: and its hash, a scope read, history, send, manage, queues, webhooks or all",
	}, config.Rules(&f.keys, keyForm(), f.buildKey))
	s.Add(config.Setting{
		Key: "api.listen", Flag: "api-listen",
		Doc: "`host:port` of the HTTP API alone, with HTTP/2 for gRPC; without TLS", Default: "the addresses of --listen, with HTTP/1.1 only",
	}, config.Text(&f.listen, "", "host:port", nil))
}

func scopeWords() (words []string) {
	for _, s := range api.Scopes() {
		words = append(words, string(s))
	}
	return words
}

func keyForm() config.Form {
	return config.Form{
		Want: "name=secret,scope,...",
		Fields: []config.Field{
			{Name: "name", Doc: "name of the key, for logs", Required: true},
			{Name: "secret", Doc: "what is shown: env:NAME, file:PATH, or sha256: and its hash", Required: true},
			{Name: "scopes", Doc: "what it opens: read, history, send, manage, queues, webhooks or all", Required: true, Many: true, Check: config.Words(scopeWords()...)},
		},
		Split: func(text string) ([]config.Pair, error) {
			name, rest, ok := strings.Cut(text, "=")
			if !ok {
				return nil, errors.New("want name=secret,scope")
			}
			parts := strings.Split(rest, ",")
			pairs := []config.Pair{{Name: "name", Value: name}, {Name: "secret", Value: parts[0]}}
			for _, scope := range parts[1:] {
				pairs = append(pairs, config.Pair{Name: "scopes", Value: scope})
			}
			return pairs, nil
		},
		Quote: upToEquals,
	}
}

// upToEquals is what of a rule may be shown that has a secret behind the equals
// sign; one without the sign may be the secret itself.
func upToEquals(line string) string {
	name, _, found := strings.Cut(line, "=")
	if !found {
		return ""
	}
	return name
}

func (f *apiRules) buildKey(pairs []config.Pair) (api.Key, error) {
	var name, secret string
	var scopes []api.Scope
	for _, p := range pairs {
		switch p.Name {
		case "name":
			name = p.Value
		case "secret":
			secret = p.Value
		case "scopes":
			scopes = append(scopes, api.Scope(p.Value))
		}
	}
	if !strings.HasPrefix(secret, "sha256:") { // which everybody may see
		text, err := cli.ReadSecret(secret)
		if err != nil {
			return api.Key{}, fmt.Errorf("secret: %w", err)
		}
		secret = text
	}
	return api.NewKey(name, secret, scopes...)
}

func (f *backendRules) declare(s *config.Set) {
	var events, decisions []string
	for _, e := range backend.Events() {
		events = append(events, string(e))
		if e != backend.Disconnect {
			decisions = append(decisions, string(e))
		}
	}
	s.Add(config.Setting{
		Key: "backend.url", Flag: "backend-url", Reload: true, Secret: config.SecretInURL,
		Doc: "`URL` of a program that decides, and answers messages: it gets signed requests, as webhooks are; see docs/backend.md",
	}, config.Text(&f.url, "", "a URL with http or https", nil))
	s.Add(config.Setting{Key: "backend.secret", Flag: "backend-secret", Reload: true, Secret: config.Secret, Doc: "`secret` that signs the requests: whsec_..., or a key whsk_..."},
		config.Text(&f.secret, "", "whsec_... or whsk_...", func(text string) error {
			if strings.HasPrefix(text, "env:") || strings.HasPrefix(text, "file:") || text == "" {
				return nil
			}
			_, err := webhook.ParseSecret(text)
			return err
		}))
	s.Add(config.Setting{
		Key: "backend.events", Flag: "backend-event", Reload: true,
		Doc: "`events` that the backend decides or is told: connect, disconnect, subscribe, publish, broadcast",
	}, config.List(&f.events, nil, "a list of connect, disconnect, subscribe, publish, broadcast", true, config.Words(events...)))
	s.Add(config.Setting{Key: "backend.kinds", Flag: "backend-kind", Reload: true, Doc: "`kinds` of messages that the backend answers; a kind may be a beginning and *: 'order.*'"},
		config.List(&f.kinds, nil, "a list of kinds", true, notEmpty("want a kind, as order.place or order.*")))
	s.Add(config.Setting{
		Key: "backend.allow_when_down", Flag: "backend-allow-when-down", Reload: true,
		Doc: "`events` that are allowed when the backend gives no answer: connect, subscribe, publish, broadcast", Default: "none",
	}, config.List(&f.allowDown, nil, "a list of connect, subscribe, publish, broadcast", true, config.Words(decisions...)))
	s.Add(config.Setting{
		Key: "backend.headers", Flag: "backend-header", Reload: true,
		Doc: "HTTP `headers` of clients that connect which the backend gets", Default: "Authorization, Cookie, Origin and User-Agent",
	}, config.List(&f.headers, nil, "a list of names of headers", true, notEmpty("want a name")))
	s.Add(config.Setting{Key: "backend.timeout", Flag: "backend-timeout", Reload: true, Doc: "`time` for an answer"},
		config.Duration(&f.timeout, backend.DefaultTimeout, time.Millisecond, time.Minute))
	s.Add(config.Setting{Key: "backend.concurrency", Flag: "backend-concurrency", Reload: true, Doc: "requests to the backend at a time"},
		config.Int(&f.concurrency, backend.DefaultConcurrency, 1, 10_000))
	s.Add(config.Setting{Key: "backend.queue", Flag: "backend-queue", Reload: true, Doc: "further requests that wait for their turn; more are answered as if the backend were down"},
		config.Int(&f.queue, backend.DefaultQueue, 1, 1_000_000))
	s.Add(config.Setting{Key: "backend.max_answer", Flag: "backend-max-answer-bytes", Reload: true, Doc: "largest answer of the backend"},
		config.Bytes(&f.maxAnswer, backend.DefaultMaxAnswerBytes, 1, 64<<20))
}
