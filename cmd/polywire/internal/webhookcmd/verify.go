package webhookcmd

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/polywire/polywire/cmd/polywire/internal/cli"
	"github.com/polywire/polywire/cmd/polywire/internal/webhookapi"
	"github.com/polywire/polywire/webhook"
)

// verifyFlags say what a message is verified with.
type verifyFlags struct {
	secrets   []string
	format    string
	tolerance time.Duration
	anyTime   bool
}

func (f *verifyFlags) register(c *cobra.Command) {
	flags := c.Flags()
	flags.StringArrayVar(&f.secrets, "secret", nil, "what to verify with: `env:NAME` or file:PATH, or a public key (whpk_...); may be repeated")
	flags.StringVar(&f.format, "format", "standard", "`format` of the messages: standard, or gost")
	flags.DurationVar(&f.tolerance, "tolerance", 0, "`time` by which the clocks may differ; default: 5m")
	flags.BoolVar(&f.anyTime, "insecure-ignore-timestamp", false, "accept messages of any time, which can be replayed")
}

func (f *verifyFlags) verifier() (*webhook.Verifier, error) {
	o := webhook.VerifierOptions{Tolerance: f.tolerance, InsecureIgnoreTimestamp: f.anyTime}
	if o.Format.UnmarshalText([]byte(f.format)) != nil {
		return nil, fmt.Errorf("--format %q: want standard or gost", f.format)
	}
	secrets := make([]webhook.Secret, len(f.secrets))
	for i, text := range f.secrets {
		if !strings.HasPrefix(text, "whpk_") { // that one everybody may see
			var err error
			if text, err = cli.ReadSecret(text); err != nil {
				return nil, fmt.Errorf("--secret: %w", err)
			}
		}
		s, err := webhookapi.ParseSecret(o.Format, text)
		if err != nil {
			return nil, fmt.Errorf("--secret: %w", err)
		}
		secrets[i] = s
	}
	return webhook.NewVerifier(o, secrets...)
}

// verified is what `polywire webhook verify` prints.
type verified struct {
	Verified  bool      `json:"verified"`
	Problem   string    `json:"problem,omitempty"`
	ID        string    `json:"id,omitempty"`
	Type      string    `json:"type,omitempty"`
	Timestamp time.Time `json:"timestamp,omitzero"`
	Secret    int       `json:"secret,omitempty"`
}

func newVerify(f *placeFlags) *cobra.Command {
	var v verifyFlags
	var headers []string
	c := &cobra.Command{
		Use:   "verify [FILE]",
		Short: "Verify a request that was saved",
		Long: `Verify a request in a file, or on standard input: a request as HTTP has it, with
or without its first line; or with --header the body alone, byte by byte as it
came. It ends with an error if the message is not right.

  polywire webhook verify request.txt --secret env:SECRET
  polywire webhook verify body.json --secret file:secret.txt --header 'webhook-id: msg_1' \
      --header 'webhook-timestamp: 1700000000' --header 'webhook-signature: v1,...'`,
		Args: cli.Args,
		RunE: func(c *cobra.Command, args []string) error {
			if len(v.secrets) == 0 {
				return errors.New("--secret says what to verify with: env:NAME, file:PATH, or a public key")
			}
			verifier, err := v.verifier()
			if err != nil {
				return err
			}
			b, err := readInput(c.InOrStdin(), args)
			if err != nil {
				return err
			}
			h, body, err := takeApart(b, headers)
			if err != nil {
				return err
			}
			m, problem := verifier.Verify(h, body)
			return printVerified(c.OutOrStdout(), f.json, m, problem)
		},
	}
	c.Flags().StringArrayVar(&headers, "header", nil, "`Name: value` of the request, whose body is the file; may be repeated")
	v.register(c)
	return c
}

func readInput(in io.Reader, args []string) ([]byte, error) {
	if len(args) == 1 && args[0] != "-" {
		f, err := os.Open(args[0])
		if err != nil {
			return nil, err
		}
		defer f.Close() //nolint:errcheck // it was read only
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, maxStdinBytes+1))
	if err == nil && len(b) > maxStdinBytes {
		err = fmt.Errorf("the request has more than %d bytes", maxStdinBytes)
	}
	return b, err
}

// takeApart returns the header and the body of a saved request.
func takeApart(b []byte, lines []string) (http.Header, []byte, error) {
	if len(lines) > 0 {
		h := make(http.Header)
		for _, line := range lines {
			name, value, ok := strings.Cut(line, ":")
			if !ok || strings.TrimSpace(name) == "" {
				return nil, nil, errors.New("--header: want 'Name: value'")
			}
			h.Add(strings.TrimSpace(name), strings.TrimSpace(value))
		}
		return h, b, nil
	}
	first, rest, _ := bytes.Cut(b, []byte("\n"))
	if words := strings.Fields(string(first)); len(words) == 3 && strings.HasPrefix(words[2], "HTTP/") {
		b = rest
	}
	buffered := bufio.NewReader(bytes.NewReader(b))
	h, err := textproto.NewReader(buffered).ReadMIMEHeader()
	if err != nil {
		return nil, nil, errors.New("want a request: lines of its header, an empty line, and the body; or --header for each line and the body alone")
	}
	body, err := io.ReadAll(buffered)
	return http.Header(h), body, err
}

func printVerified(out io.Writer, asJSON bool, m webhook.Received, problem error) error {
	v := verified{Verified: problem == nil, ID: m.ID, Type: m.Type, Secret: m.Secret + 1}
	if problem != nil {
		v.Problem, v.Secret = strings.TrimPrefix(problem.Error(), "webhook: "), 0
	} else {
		v.Timestamp = m.Timestamp.UTC()
	}
	switch {
	case asJSON:
		if err := printJSON(out, v); err != nil {
			return err
		}
	case problem == nil:
		fmt.Fprintf(out, "verified: type %s, id %s, signed %s, by secret number %d\n", printable(v.Type), printable(v.ID), shownTime(v.Timestamp), v.Secret)
	}
	if problem == nil {
		return nil
	}
	hint := ""
	switch {
	case errors.Is(problem, webhook.ErrTooOld), errors.Is(problem, webhook.ErrTooNew):
		hint = "; --insecure-ignore-timestamp looks at the signature alone"
	case errors.Is(problem, webhook.ErrNoMatch):
		hint = "; the body has to be byte by byte as it came, and the secret that of this endpoint"
	}
	return fmt.Errorf("not verified: %s%s", v.Problem, hint)
}
