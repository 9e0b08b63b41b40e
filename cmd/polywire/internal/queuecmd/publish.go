package queuecmd

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/polywire/polywire/cmd/polywire/internal/cli"
	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/queue"
)

// publishFlags describe messages.
type publishFlags struct {
	brokerFlags
	message queue.Message
	headers []string
	at      string
	lines   bool
}

// Bounds of publishing lines.
const (
	batchMessages = 500
	batchBytes    = 4 << 20
	maxLineBytes  = 64 << 20
)

func newPublish() *cobra.Command {
	var f publishFlags
	c := &cobra.Command{
		Use:   "publish QUEUE [JSON | -]",
		Short: "Put a message into a queue",
		Long: `Put a message into a queue, and print its id when the broker has it for good. The
payload is an argument or comes from standard input. The queue is made if there
is none.

After an error that says "not available" the broker may have it or not: publish
again with the same --id, and it is there once, as long as the broker remembers
ids (JetStream: 2 min; RabbitMQ does not).

With --lines each line of standard input is a message. --id nightly gives them the
ids nightly-1, nightly-2 and so on.

  polywire queue publish orders '{"n": 1}' --kind order.new --nats nats://127.0.0.1:4222
  polywire queue publish mails '"hello"' --delay 5m --header traceparent=00-...-01
  polywire queue publish orders --lines < orders.ndjson`,
		Args: cli.Args,
		RunE: f.run,
	}
	f.register(c)
	flags := c.Flags()
	flags.StringVarP(&f.message.Kind, "kind", "k", "", "the routing name for handlers")
	flags.StringVar(&f.message.Key, "key", "", "what messages share whose order matters")
	flags.StringVar(&f.message.ID, "id", "", "the message's id; default: a new one")
	flags.StringArrayVarP(&f.headers, "header", "H", nil, "`name=value`; may be repeated")
	flags.StringVar(&f.message.Payload.Type, "type", codec.TypeJSON, "content `type`; what is not JSON is taken as it comes")
	flags.DurationVar(&f.message.Delay, "delay", 0, "how long it waits before it may be delivered")
	flags.StringVar(&f.at, "at", "", "the `time` (2026-01-02T15:04:05Z) before which it is not delivered")
	flags.BoolVar(&f.lines, "lines", false, "publish each line of standard input")
	return c
}

// published is what is printed of a message as JSON.
type published struct {
	Queue string `json:"queue"`
	ID    string `json:"id"`
}

func (f *publishFlags) run(c *cobra.Command, args []string) error {
	if err := f.prepare(c, args); err != nil {
		return err
	}
	if f.lines {
		return f.with(c, func(ctx context.Context, b *queue.Broker) error { return f.publishLines(ctx, c, b) })
	}
	p, err := f.payload(c, args)
	if err != nil {
		return err
	}
	m := f.message
	m.Payload = p
	if m.ID == "" {
		m.ID = queue.NewID(time.Now())
	}
	return f.with(c, func(ctx context.Context, b *queue.Broker) error {
		if err := b.Publish(ctx, m); err != nil {
			if errors.Is(err, queue.ErrUnavailable) {
				err = fmt.Errorf("%w; to try again: --id %s", err, m.ID)
			}
			return err
		}
		if f.json {
			return cli.JSONLine(c.OutOrStdout(), published{m.Queue, m.ID})
		}
		_, err := fmt.Fprintln(c.OutOrStdout(), m.ID)
		return err
	})
}

// prepare completes the message, but for its payload.
func (f *publishFlags) prepare(c *cobra.Command, args []string) error {
	m := &f.message
	m.Queue = args[0]
	if err := queue.CheckQueue(m.Queue); err != nil {
		return err
	}
	if f.lines && len(args) > 1 {
		return errors.New("--lines takes the messages from standard input, and none as an argument")
	}
	if f.at != "" {
		if c.Flags().Changed("delay") {
			return errors.New("--at and --delay say the same in two ways: use one")
		}
		var err error
		if m.At, err = time.Parse(time.RFC3339, f.at); err != nil {
			return fmt.Errorf("--at %q: want a time like %s", f.at, time.Now().UTC().Format(time.RFC3339))
		}
	}
	if m.Delay < 0 {
		return fmt.Errorf("--delay %v: want a time from now on", m.Delay)
	}
	if len(f.headers) > 0 {
		m.Header = make(map[string]string, len(f.headers))
	}
	for _, h := range f.headers {
		name, value, ok := strings.Cut(h, "=")
		if !ok || name == "" {
			return fmt.Errorf("--header %q: want name=value", h)
		}
		m.Header[name] = value
	}
	return nil
}

func (f *publishFlags) payload(c *cobra.Command, args []string) (codec.Payload, error) {
	p := codec.Payload{Type: f.message.Payload.Type}
	if p.Type == codec.TypeJSON {
		text, err := cli.Payload(c, args, 1)
		if err != nil {
			return p, err
		}
		if text == nil {
			p.Type = "" // none
		}
		p.Data = text
		return p, nil
	}
	switch {
	case len(args) > 1 && args[1] != "-":
		p.Data = []byte(args[1])
	case len(args) > 1 || cli.Piped(c.InOrStdin()):
		var err error
		if p.Data, err = io.ReadAll(c.InOrStdin()); err != nil {
			return p, fmt.Errorf("standard input: %w", err)
		}
	}
	return p, nil
}

// publishLines publishes batches of lines until the input, or the broker, ends it.
func (f *publishFlags) publishLines(ctx context.Context, c *cobra.Command, b *queue.Broker) error {
	bar := cli.StartCounter(c.ErrOrStderr(), cli.Terminal(c.ErrOrStderr()), -1, "publishing")
	n, err := f.readLines(ctx, c.InOrStdin(), b, bar)
	bar.Clear()
	if err != nil {
		err = fmt.Errorf("%w; published before: %d", err, n)
	}
	if f.json {
		return errors.Join(err, cli.JSONLine(c.OutOrStdout(), struct {
			Queue     string `json:"queue"`
			Published int    `json:"published"`
		}{f.message.Queue, n}))
	}
	if err == nil {
		_, err = fmt.Fprintln(c.OutOrStdout(), n, "published")
	}
	return err
}

func (f *publishFlags) readLines(ctx context.Context, r io.Reader, b *queue.Broker, bar *cli.Counter) (done int, err error) {
	in := bufio.NewScanner(r)
	in.Buffer(nil, maxLineBytes)
	var batch []queue.Message
	size := 0
	flush := func() error {
		n, err := publishBatch(ctx, b, batch)
		done += n
		batch, size = batch[:0], 0
		bar.At(done)
		return err
	}
	for number := 1; in.Scan(); number++ {
		line := in.Bytes()
		if f.message.Payload.Type == codec.TypeJSON {
			if line = bytes.TrimSpace(line); len(line) == 0 {
				continue
			}
			if !json.Valid(line) {
				return done, errors.Join(flush(), fmt.Errorf("line %d is not JSON: %.60q", number, line))
			}
		}
		m := f.message
		m.Payload.Data = bytes.Clone(line)
		if m.ID != "" {
			m.ID = fmt.Sprintf("%s-%d", m.ID, number)
		}
		batch, size = append(batch, m), size+len(line)
		if len(batch) == batchMessages || size >= batchBytes {
			if err := flush(); err != nil {
				return done, err
			}
		}
	}
	err = in.Err()
	if errors.Is(err, bufio.ErrTooLong) {
		err = fmt.Errorf("a line is longer than %d MiB", maxLineBytes>>20)
	}
	ferr := flush() // done is only right behind it
	return done, errors.Join(err, ferr)
}

// publishBatch returns how many are published.
func publishBatch(ctx context.Context, b *queue.Broker, batch []queue.Message) (int, error) {
	if len(batch) == 0 {
		return 0, ctx.Err()
	}
	err := b.PublishBatch(ctx, batch)
	var failed *queue.BatchError
	switch {
	case err == nil:
		return len(batch), nil
	case errors.As(err, &failed):
		return len(batch) - len(failed.Unwrap()), err
	}
	return 0, err
}
