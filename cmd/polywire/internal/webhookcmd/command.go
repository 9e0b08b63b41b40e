// Package webhookcmd is `polywire webhook`: it manages outgoing webhooks, and
// helps those who write receivers.
package webhookcmd

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/polywire/polywire/cmd/polywire/internal/cli"
	"github.com/polywire/polywire/cmd/polywire/internal/webhookstore"
	"github.com/polywire/polywire/natsembed"
	"github.com/polywire/polywire/queue"
	"github.com/polywire/polywire/queue/jetstream"
	"github.com/polywire/polywire/webhook"
	"github.com/polywire/polywire/webhook/dispatch"
	"github.com/polywire/polywire/webhook/natsstore"
)

// placeFlags say where webhooks are kept, and how to print.
type placeFlags struct {
	nats      string
	natsCreds string
	dataDir   string
	json      bool
	first     bool // what keeps webhooks may be made
}

// New makes `polywire webhook`.
func New() *cobra.Command {
	f := new(placeFlags)
	c := &cobra.Command{
		Use:   "webhook",
		Short: "Manage outgoing webhooks, and help to write receivers",
		Long: `Manage outgoing webhooks: who gets which events, what was delivered and what was
not, and deliver again. The deliveries themselves are made by polywire serve
--webhooks, or by a program of yours.

They are kept by NATS: a server elsewhere, or the one inside of polywire serve,
which is reached while it runs if it has --nats-listen.

  polywire webhook endpoints add https://customer.example/hook --type 'order.*' --nats nats://127.0.0.1:4222
  polywire webhook send order.paid '{"order": 7}' --nats nats://127.0.0.1:4222
  polywire webhook attempts ep_... --nats nats://127.0.0.1:4222

For those who write a receiver, without any server:

  polywire webhook listen --secret env:SECRET --status 500,200
  polywire webhook verify request.txt --secret env:SECRET`,
	}
	flags := c.PersistentFlags()
	flags.StringVar(&f.nats, "nats", "", "`URL` of the NATS server that keeps the webhooks, or several with commas ("+cli.EnvNATS+");\n"+
		"its token is in "+cli.EnvNATSToken)
	flags.StringVar(&f.natsCreds, "nats-creds", "", "credentials `file` for --nats")
	flags.StringVar(&f.dataDir, "data-dir", "", "`directory` of a polywire serve that is not running")
	flags.BoolVar(&f.json, "json", false, "print JSON, for programs")
	c.AddCommand(newEndpoints(f), newSend(f), newAttempts(f), newReplay(f), newListen(f), newVerify(f))
	return c
}

// opened are those of a place, opened.
type opened struct {
	*dispatch.Dispatcher

	broker   *queue.Broker
	conn     *nats.Conn
	embedded *natsembed.Server
	client   *webhook.Client
}

// with opens the webhooks for one thing to do. client says where endpoints may
// be; nil: anywhere, for what does not change their URLs.
func (f *placeFlags) with(c *cobra.Command, client *webhook.Client, do func(ctx context.Context, w *opened) error) error {
	w, err := f.open(c.Context(), client)
	if err != nil {
		return describe(err)
	}
	return errors.Join(describe(do(c.Context(), w)), w.close())
}

func (f *placeFlags) open(ctx context.Context, client *webhook.Client) (*opened, error) {
	if f.dataDir == "" {
		f.nats = cmp.Or(f.nats, os.Getenv(cli.EnvNATS))
	}
	switch {
	case f.nats == "" && f.dataDir == "":
		return nil, errors.New("say where the webhooks are kept: --nats URL, or --data-dir DIR of a server that is not running")
	case f.nats != "" && f.dataDir != "":
		return nil, errors.New("--nats is a NATS server that runs, --data-dir the directory of one that does not: use one or the other")
	case f.natsCreds != "" && f.nats == "":
		return nil, errors.New("--nats-creds is for --nats")
	}
	ctx, cancel := context.WithTimeout(ctx, webhookstore.Wait)
	defer cancel()
	w := &opened{client: client}
	if err := w.open(ctx, f); err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

func (w *opened) open(ctx context.Context, f *placeFlags) (err error) {
	if w.client == nil {
		if w.client, err = anywhere(); err != nil {
			return err
		}
	}
	connect := func(o ...nats.Option) (*nats.Conn, error) {
		return nats.Connect(f.nats, append(f.natsOptions(), o...)...)
	}
	if f.dataDir != "" {
		if _, err := os.Stat(f.dataDir); err != nil {
			return fmt.Errorf("--data-dir: %w", err)
		}
		w.embedded, err = natsembed.Start(ctx, natsembed.Options{Dir: f.dataDir})
		if errors.Is(err, natsembed.ErrInUse) {
			return fmt.Errorf("%w: a server is running on it; with --nats-listen it can be reached by --nats", err)
		}
		if err != nil {
			return err
		}
		connect = w.embedded.Connect
	}
	if w.conn, err = connect(nats.Name("polywire webhook")); err != nil {
		return fmt.Errorf("--nats %s: %w", cli.HideUser(f.nats), err)
	}
	store, err := webhookstore.Open(ctx, w.conn, webhookstore.Bounds{}, f.first)
	if err != nil {
		return err
	}
	d, err := jetstream.New(ctx, jetstream.Options{Connect: connect})
	if err != nil {
		return err
	}
	if w.broker, err = queue.New(d, queue.Options{PublishTimeout: webhookstore.Wait}); err != nil {
		return err
	}
	w.Dispatcher, err = dispatch.New(ctx, dispatch.Options{
		Broker: w.broker, Client: w.client, Endpoints: store.Endpoints, Events: store.Events, Attempts: store.Attempts, PublishOnly: true,
	})
	return err
}

func (f *placeFlags) natsOptions() []nats.Option {
	opts := []nats.Option{nats.Timeout(5 * time.Second)}
	if f.natsCreds != "" {
		opts = append(opts, nats.UserCredentials(f.natsCreds))
	}
	if token := os.Getenv(cli.EnvNATSToken); token != "" {
		opts = append(opts, nats.Token(token))
	}
	return opts
}

// anywhere is a client for tools that make no requests: whether an endpoint may
// be reached is the server's to say.
func anywhere() (*webhook.Client, error) {
	return webhook.NewClient(webhook.ClientOptions{
		AllowHTTP: true, AllowNetworks: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")},
	})
}

// close ends what was opened, as far as that got.
func (w *opened) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), webhookstore.Wait)
	defer cancel()
	var errs []error
	if w.Dispatcher != nil {
		errs = append(errs, w.Dispatcher.Shutdown(ctx))
	}
	if w.broker != nil {
		errs = append(errs, w.broker.Shutdown(ctx))
	}
	if w.conn != nil {
		w.conn.Close()
	}
	if w.embedded != nil {
		errs = append(errs, w.embedded.Shutdown(ctx))
	}
	if w.client != nil {
		errs = append(errs, w.client.Close())
	}
	return errors.Join(errs...)
}

// describe says what to do about an error.
func describe(err error) error {
	if err == nil {
		return nil
	}
	hint := ""
	switch {
	case errors.Is(err, natsstore.ErrMissing):
		hint = "they are made by polywire serve --webhooks, or by the first polywire webhook endpoints add"
	case errors.Is(err, dispatch.ErrFull):
		hint = "events are kept for their age; there is a bound on how many bytes they may have"
	case errors.Is(err, dispatch.ErrNotFound):
		hint = "polywire webhook endpoints ls shows the endpoints; events and attempts are kept for some days"
	case errors.Is(err, webhook.ErrForbidden):
		hint = "an address inside is permitted by --allow-network or --allow-host, here and at polywire serve"
	case errors.Is(err, webhook.ErrURL):
		hint = "http is permitted by --allow-http, here and at polywire serve"
	case errors.Is(err, queue.ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
		hint = "the NATS server did not answer in time"
	}
	text := strings.TrimPrefix(err.Error(), "webhook: ")
	if hint != "" {
		text += "\n\n" + hint
	}
	return &hinted{text, err}
}

// hinted is an error with a hint.
type hinted struct {
	text  string
	cause error
}

// Error returns the text.
func (e *hinted) Error() string { return e.text }

// Unwrap returns the cause.
func (e *hinted) Unwrap() error { return e.cause }

// printJSON prints a value as one that programs and people can read.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func shownTime(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}
