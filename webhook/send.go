package webhook

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

// gostTimeout is how long the Gost framework waits for an answer.
const gostTimeout = 10 * time.Second

// Send makes one try to tell a URL about an event, in [FormatGost], as the Gost
// framework's SendWebhook does: data is encoded as JSON, and the receiver has
// 10 s to answer with a status of 2xx. The secret is any text. Errors have an
// [*AttemptError] in them, or [ErrEndpoint], [ErrType] or [ErrSecret].
func (c *Client) Send(ctx context.Context, url, secret, event string, data any) error {
	d, body, err := c.gost(url, secret, event, data)
	if err != nil {
		return err
	}
	return failure(ctx, d.Deliver(ctx, "", event, body, 1))
}

// failure returns the error of an attempt, with the context's if that ended.
func failure(ctx context.Context, a Attempt) error {
	err := a.Err()
	if err != nil && ctx.Err() != nil {
		return errors.Join(err, ctx.Err())
	}
	return err
}

// DispatchWithRetry is [Client.Send] with the Gost framework's five tries: the
// first at once, the next 1 s, 2 s, 3 s and 4 s after the one before. It
// returns nil once the event was delivered, and the last error after five
// tries, when the receiver answers 410 (Gone), or when ctx ends. All tries send
// the same bytes. The event lives in memory: it is lost if the program ends
// before.
func (c *Client) DispatchWithRetry(ctx context.Context, url, secret, event string, data any) error {
	d, body, err := c.gost(url, secret, event, data)
	if err != nil {
		return err
	}
	return retry(ctx, GostSchedule(), func(try int) Attempt { return d.Deliver(ctx, "", event, body, try) })
}

// retry makes the tries of a schedule until one of them is the last.
func retry(ctx context.Context, s Schedule, deliver func(try int) Attempt) error {
	for try := 1; ; try++ {
		a := deliver(try)
		a.RetryAfter = 0                         // the caller waits here; it has the schedule's word
		wait, again := s.Next(a, rand.Float64()) //nolint:gosec // spreading load is no secret
		if !again || a.Verdict() == Canceled {
			return failure(ctx, a)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return failure(ctx, a)
		}
	}
}

// gost makes an endpoint and a body as the Gost framework has them.
func (c *Client) gost(url, secret, event string, data any) (*Destination, []byte, error) {
	s, err := GostSecret(secret)
	if err != nil {
		return nil, nil, err
	}
	body, err := Event{Type: event, Time: time.Now(), Data: data}.Body(FormatGost)
	if err != nil {
		return nil, nil, err
	}
	d, err := c.Prepare(Endpoint{
		ID: "gost", URL: url, Types: []string{"*"}, Secrets: []Secret{s}, Format: FormatGost, Timeout: gostTimeout,
	})
	return d, body, err
}

// Send is [Client.Send] of a client that is made for this one call, with the
// options given or, without any, the zero [ClientOptions]. Who sends often
// keeps a [Client] and with it the connections.
func Send(ctx context.Context, url, secret, event string, data any, o ...ClientOptions) error {
	c, err := clientFor(o)
	if err != nil {
		return err
	}
	defer c.http.Close()
	return c.Send(ctx, url, secret, event, data)
}

// DispatchWithRetry is [Client.DispatchWithRetry] of a client that is made for
// this one call; see [Send].
func DispatchWithRetry(ctx context.Context, url, secret, event string, data any, o ...ClientOptions) error {
	c, err := clientFor(o)
	if err != nil {
		return err
	}
	defer c.http.Close()
	return c.DispatchWithRetry(ctx, url, secret, event, data)
}

func clientFor(o []ClientOptions) (*Client, error) {
	if len(o) == 0 {
		return NewClient(ClientOptions{})
	}
	return NewClient(o[len(o)-1])
}
