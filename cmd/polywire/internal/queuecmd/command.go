// Package queuecmd is `polywire queue`: it looks into queues, fills and empties
// them, and deals with dead letters.
package queuecmd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/polywire/polywire/cmd/polywire/internal/cli"
	"github.com/polywire/polywire/natsembed"
	"github.com/polywire/polywire/queue"
	"github.com/polywire/polywire/queue/jetstream"
	"github.com/polywire/polywire/queue/rabbitmq"
)

// New makes `polywire queue`.
func New() *cobra.Command {
	c := &cobra.Command{
		Use:   "queue",
		Short: "Look into queues, fill and empty them, replay dead letters",
		Long: `Look into queues, fill and empty them, and deal with dead letters: messages that
were given up, by their handler or after too many attempts.

Queues are in a NATS (--nats), in the directory of a server that does not run
(--data-dir), or in a RabbitMQ (--amqp). A server that runs has its directory for
itself; give it a --nats-listen, and say that to --nats here.

  polywire queue ls --nats nats://127.0.0.1:4222
  polywire queue publish orders '{"n": 1}' --kind order.new
  polywire queue tail orders --follow
  polywire queue dead ls orders --since 1h
  polywire queue replay orders --error timeout --rate 20

Exit status: 0 when all was done, 2 when there is no such queue or dead letter,
1 after any other error. Answers go to standard output, all else to standard error.`,
	}
	c.AddCommand(newList(), newPublish(), newTail(), newDead(), newReplay(), newPurge())
	return c
}

// brokerFlags are those of every command that looks into queues.
type brokerFlags struct {
	nats, natsCreds string
	dataDir         string
	amqp            string
	prefix          string
	timeout         time.Duration
	json            bool
}

func (f *brokerFlags) register(c *cobra.Command) {
	flags := c.Flags()
	flags.StringVar(&f.nats, "nats", "", "`URL` of the NATS that has the queues, or several with commas ("+cli.EnvNATS+")")
	flags.StringVar(&f.natsCreds, "nats-creds", "", "credentials `file` for --nats")
	flags.StringVar(&f.dataDir, "data-dir", "", "`directory` of a server that does not run")
	flags.StringVar(&f.amqp, "amqp", "", "`URL` of the RabbitMQ that has the queues, or several with commas ("+cli.EnvAMQP+")")
	flags.StringVar(&f.prefix, "prefix", "", "what the names of streams or queues begin with, where programs have set one")
	flags.DurationVar(&f.timeout, "timeout", 10*time.Second, "time to connect, and for each answer of the broker")
	flags.BoolVar(&f.json, "json", false, "print JSON")
}

// check leaves one place where the queues are.
func (f *brokerFlags) check() error {
	given := 0
	for _, place := range []string{f.nats, f.dataDir, f.amqp} {
		if place != "" {
			given++
		}
	}
	if given == 0 {
		f.nats, f.amqp = os.Getenv(cli.EnvNATS), os.Getenv(cli.EnvAMQP)
		if f.nats != "" && f.amqp != "" {
			return fmt.Errorf("both %s and %s are set: say --nats or --amqp", cli.EnvNATS, cli.EnvAMQP)
		}
	}
	switch {
	case given > 1:
		return errors.New("--nats, --data-dir and --amqp are three places: use one")
	case f.nats == "" && f.dataDir == "" && f.amqp == "":
		return errors.New("where are the queues? Say --nats URL, --amqp URL, or the --data-dir of a server that does not run")
	case f.natsCreds != "" && f.nats == "":
		return errors.New("--nats-creds is for --nats")
	case f.timeout <= 0:
		return fmt.Errorf("--timeout %v: want more than nothing", f.timeout)
	}
	return nil
}

// with runs do on a broker.
func (f *brokerFlags) with(c *cobra.Command, do func(ctx context.Context, b *queue.Broker) error) (err error) {
	if err := f.check(); err != nil {
		return err
	}
	ctx := c.Context()
	defer func() {
		if errors.Is(err, context.Canceled) && ctx.Err() != nil { // what has not been done is not well
			err = fmt.Errorf("interrupted: %s", err) //nolint:errorlint // see above: it ends as an error
		}
	}()
	driver, end, err := f.driver(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end()) }()
	b, err := queue.New(driver, queue.Options{PublishTimeout: f.timeout})
	if err != nil {
		return err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), f.timeout)
		defer cancel()
		err = errors.Join(err, b.Shutdown(closing))
	}()
	return do(ctx, b)
}

// driver connects. end comes after the driver was closed.
func (f *brokerFlags) driver(ctx context.Context) (d queue.Driver, end func() error, err error) {
	none := func() error { return nil }
	connecting, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	switch {
	case f.amqp != "":
		d, err = rabbitmq.New(connecting, rabbitmq.Options{
			URLs: strings.Split(f.amqp, ","), Prefix: f.prefix, Name: "polywire queue", DialTimeout: f.timeout,
		})
		return d, none, err
	case f.dataDir != "":
		return f.embedded(ctx)
	}
	o := jetstream.Options{URLs: strings.Split(f.nats, ","), Prefix: f.prefix}
	if f.natsCreds != "" {
		o.NATS = append(o.NATS, nats.UserCredentials(f.natsCreds))
	}
	d, err = jetstream.New(connecting, o)
	if err != nil {
		err = fmt.Errorf("--nats: %w", err)
	}
	return d, none, err
}

// embedded starts the server of a directory that no other process has.
func (f *brokerFlags) embedded(ctx context.Context) (queue.Driver, func() error, error) {
	if _, err := os.Stat(filepath.Join(f.dataDir, "natsembed.json")); errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("--data-dir %s: no server has kept anything there", f.dataDir)
	}
	s, err := natsembed.Start(ctx, natsembed.Options{Dir: f.dataDir})
	if errors.Is(err, natsembed.ErrInUse) {
		return nil, nil, fmt.Errorf("--data-dir: %w: say --nats with the address of that server's --nats-listen", err)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("--data-dir: %w", err)
	}
	end := func() error {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		return s.Shutdown(closing)
	}
	d, err := jetstream.New(ctx, jetstream.Options{Connect: s.Connect, Prefix: f.prefix})
	if err != nil {
		return nil, nil, errors.Join(err, end())
	}
	return d, end, nil
}
