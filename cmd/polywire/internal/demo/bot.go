package demo

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
)

const (
	botName   = "Wiry"
	botPause  = 400 * time.Millisecond // an answer in no time looks like an echo
	callLimit = 5 * time.Second
)

// bot is a member of the lobby, on the binary form of the native wire.
type bot struct{ c *client.Client }

// StartBot puts the bot into the lobby of the server at url, until ctx ends.
func (c *Chat) StartBot(ctx context.Context, url string) {
	c.bots.Go(func() {
		if err := runBot(ctx, c, url); err != nil && ctx.Err() == nil {
			c.logger.Error("demo: bot", "error", err)
		}
	})
}

func runBot(ctx context.Context, chat *Chat, url string) error {
	cl, err := client.New(url, client.WithHooks(client.Hooks{
		Connect: func(conn *polywire.Conn) { chat.markBot(conn.RemoteID()) },
	}))
	if err != nil {
		return err
	}
	b := &bot{cl}
	polywire.HandleFunc(cl, "chat.said", b.said)
	cl.Handle("chat.*", func(context.Context, *polywire.Message) (any, error) { return nil, nil })
	if err := cl.Connect(ctx); err != nil {
		return err
	}
	defer cl.Close() //nolint:errcheck // the demo ends
	if err := cl.Call(ctx, "chat.join", joinRequest{"lobby", botName}, nil); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case <-cl.Done():
	}
	return cl.Err()
}

// said answers people, not itself.
func (b *bot) said(ctx context.Context, in *Said) (*struct{}, error) {
	if in.From.Bot {
		return nil, nil
	}
	select {
	case <-time.After(botPause):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	return nil, b.c.Call(ctx, "chat.say", sayRequest{in.Room, b.answer(in)}, nil)
}

func (b *bot) answer(in *Said) string {
	text := strings.ToLower(in.Text)
	switch {
	case strings.Contains(text, "time"):
		return "It is " + time.Now().Format("15:04:05") + " where I run."
	case strings.Contains(text, "help"), strings.HasSuffix(text, "?"):
		return "I am a Go program on the binary wire; you are a browser on the JSON one. " +
			"Ask me for the time, open a second tab, or try `polywire sub lobby` in a terminal."
	case strings.Contains(text, "hello"), strings.Contains(text, "hi"), strings.Contains(text, "hey"):
		return fmt.Sprintf("Hello %s! Nice to have you on the wire.", in.From.Name)
	}
	return fmt.Sprintf("%s, I heard %d characters. Say “help” if you want to know more.", in.From.Name, len([]rune(in.Text)))
}
