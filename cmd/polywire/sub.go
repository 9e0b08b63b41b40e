package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/cmd/polywire/internal/cli"
)

// arrived is a line that `polywire sub` prints.
type arrived struct {
	Room    string            `json:"room,omitempty"`
	Kind    string            `json:"kind"`
	Headers map[string]string `json:"headers,omitempty"`
	Payload json.RawMessage   `json:"payload,omitempty"`
}

func newSub() *cobra.Command {
	var f peerFlags
	var count int
	c := &cobra.Command{
		Use:   "sub ROOM...",
		Short: "Subscribe to rooms and print what arrives",
		Long: `Subscribe to rooms and print each message as a line of JSON. It reconnects by
itself; that, and that it listens, it says on standard error.

  polywire sub news
  polywire sub lobby support --url tcp://127.0.0.1:7000 --count 10
  polywire sub news --url sse+http://127.0.0.1:8080`,
		Args: cli.Args,
		RunE: func(c *cobra.Command, rooms []string) error {
			if count < 0 {
				return fmt.Errorf("--count %d: want 0 or more", count)
			}
			return f.subscribe(c, rooms, count)
		},
	}
	f.register(c)
	c.Flags().IntVarP(&count, "count", "n", 0, "end after so many messages; 0 is never")
	return c
}

func (f *peerFlags) subscribe(c *cobra.Command, rooms []string, count int) error {
	var mu sync.Mutex
	left := count
	enough := make(chan struct{})
	printed := func(_ context.Context, m *polywire.Message) (any, error) {
		text, err := cli.PayloadJSON(m.Args()...)
		if err != nil {
			return nil, err
		}
		line, err := json.Marshal(arrived{m.Room(), m.Kind(), m.Headers(), text})
		if err != nil {
			return nil, err
		}
		mu.Lock()
		defer mu.Unlock()
		if count > 0 && left == 0 {
			return nil, nil
		}
		if _, err := fmt.Fprintf(c.OutOrStdout(), "%s\n", line); err != nil {
			return nil, err
		}
		if left--; left == 0 {
			close(enough)
		}
		return nil, nil
	}
	asked := strings.Join(rooms, ", ")
	rooms, err := f.askFor(rooms)
	if err != nil {
		return err
	}
	cl, err := f.client(client.WithHooks(client.Hooks{
		Retry: func(_ int, wait time.Duration, why error) {
			fmt.Fprintf(c.ErrOrStderr(), "connection lost (%v), trying again in %v\n", why, wait.Round(time.Millisecond))
		},
		Error: func(err error) { fmt.Fprintln(c.ErrOrStderr(), err) },
	}))
	if err != nil {
		return err
	}
	cl.Handle("*", printed) // before the first event
	if err := cl.Connect(c.Context()); err != nil {
		return describe(err)
	}
	defer cl.Close() //nolint:errcheck // nothing to lose
	for _, room := range rooms {
		ctx, cancel := context.WithTimeout(c.Context(), f.timeout)
		err := cl.Subscribe(ctx, room)
		cancel()
		if err != nil {
			return fmt.Errorf("subscribe to %q: %w", room, describe(err))
		}
	}
	fmt.Fprintln(c.ErrOrStderr(), "listening to", asked)
	select {
	case <-enough:
	case <-c.Context().Done():
	case <-cl.Done():
		return cl.Err()
	}
	return nil
}

// askFor puts the rooms into the URL where a client can subscribe in no other
// way, and returns those that are left to subscribe to.
func (f *peerFlags) askFor(rooms []string) (left []string, err error) {
	if !strings.HasPrefix(f.url, "sse+") {
		return rooms, nil
	}
	u, err := url.Parse(f.url)
	if err != nil {
		return nil, fmt.Errorf("--url: %w", err)
	}
	q := u.Query()
	q["room"] = append(q["room"], rooms...)
	u.RawQuery = q.Encode()
	f.url = u.String()
	return nil, nil
}
