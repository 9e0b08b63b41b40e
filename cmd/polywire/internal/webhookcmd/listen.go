package webhookcmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/polywire/polywire/cmd/polywire/internal/cli"
	"github.com/polywire/polywire/webhook"
)

// listenFlags configure `polywire webhook listen`.
type listenFlags struct {
	*placeFlags
	verifyFlags

	address  string
	statuses []int
	delay    time.Duration
	headers  []string
	body     string
	count    int
	maxBytes int64
}

func newListen(f *placeFlags) *cobra.Command {
	l := &listenFlags{placeFlags: f}
	c := &cobra.Command{
		Use:   "listen",
		Short: "Receive webhooks, verify and print them, and answer as you say",
		Long: `Receive webhooks on this machine, for those who write a receiver, or want to see
how a sender behaves. Each request is printed with what is right or wrong about
it. What does not verify is answered 400 or 401, as a receiver should, all else
with --status: several are given in turn, and the last one stays.

  polywire webhook listen --secret env:SECRET
  polywire webhook listen --status 503,503,200 --header 'Retry-After: 2'
  polywire webhook listen --delay 30s --count 1`,
		Args: cli.Args,
		RunE: func(c *cobra.Command, _ []string) error { return l.listen(c) },
	}
	flags := c.Flags()
	flags.StringVarP(&l.address, "listen", "l", "127.0.0.1:8787", "`host:port` to listen on")
	flags.IntSliceVar(&l.statuses, "status", []int{http.StatusOK}, "`statuses` to answer, in turn")
	flags.DurationVar(&l.delay, "delay", 0, "`time` to wait before the answer")
	flags.StringArrayVar(&l.headers, "header", nil, "`Name: value` to answer; may be repeated")
	flags.StringVar(&l.body, "body", "", "`text` to answer")
	flags.IntVarP(&l.count, "count", "n", 0, "end after so many requests; 0 is never")
	flags.Int64Var(&l.maxBytes, "max-body-bytes", webhook.DefaultMaxBodyBytes, "largest body; larger ones are answered 413")
	l.verifyFlags.register(c)
	return c
}

// receiver answers and prints.
type receiver struct {
	*listenFlags

	verifier *webhook.Verifier // nil: nothing is verified
	header   map[string]string
	out      io.Writer
	enough   chan struct{}

	mu      sync.Mutex
	n       int
	printed int
	seen    map[string]bool // ids; at most maxSeen
}

const maxSeen = 10_000

// Received is what is printed of a request.
type Received struct {
	N         int               `json:"n"`
	Time      time.Time         `json:"time"`
	Method    string            `json:"method"`
	Path      string            `json:"path"`
	Verified  string            `json:"verified"` // yes, no, unchecked
	Problem   string            `json:"problem,omitempty"`
	Repeated  bool              `json:"repeated,omitempty"`
	ID        string            `json:"id,omitempty"`
	Type      string            `json:"type,omitempty"`
	Timestamp time.Time         `json:"timestamp,omitzero"`
	Header    map[string]string `json:"header"`
	Body      json.RawMessage   `json:"body,omitempty"`
	Text      string            `json:"text,omitempty"` // where it is not JSON
	Status    int               `json:"status"`
}

func (l *listenFlags) listen(c *cobra.Command) error {
	for _, s := range l.statuses {
		if s < 200 || s > 599 {
			return fmt.Errorf("--status %d: want 200 to 599", s)
		}
	}
	if len(l.statuses) == 0 || l.delay < 0 || l.count < 0 || l.maxBytes < 1 {
		return errors.New("--status wants a status, --delay and --count are not negative, --max-body-bytes is at least 1")
	}
	r := &receiver{listenFlags: l, out: c.OutOrStdout(), enough: make(chan struct{}), seen: make(map[string]bool)}
	var err error
	if r.header, err = parseHeaders(l.headers); err != nil {
		return err
	}
	if len(l.secrets) > 0 {
		if r.verifier, err = l.verifier(); err != nil {
			return err
		}
	}
	listener, err := net.Listen("tcp", l.address)
	if err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	if !l.json {
		fmt.Fprintf(r.out, "listening on http://%s/\n", listener.Addr())
		if r.verifier == nil {
			fmt.Fprintln(r.out, "nothing is verified: --secret env:NAME would do it")
		}
	} else if err := cli.JSONLine(r.out, map[string]string{"listening": "http://" + listener.Addr().String() + "/"}); err != nil {
		return err
	}
	return r.serve(c.Context(), listener)
}

func (r *receiver) serve(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	srv := &http.Server{
		Handler: r, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(l) }()
	select {
	case <-ctx.Done():
	case <-r.enough:
	case err := <-failed:
		return err
	}
	ending, end := context.WithTimeout(context.Background(), 2*time.Second)
	defer end()
	if ctx.Err() == nil { // answers that are under way
		_ = srv.Shutdown(ending)
	}
	return errors.Join(srv.Close(), closedByUs(<-failed))
}

// closedByUs leaves out that a server was closed.
func closedByUs(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// ServeHTTP answers one request.
func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	now := time.Now()
	body, readErr := io.ReadAll(http.MaxBytesReader(w, req.Body, r.maxBytes))
	h := Received{Time: now.UTC(), Method: req.Method, Path: req.URL.RequestURI(), Verified: "unchecked", Header: make(map[string]string)}
	for name, values := range req.Header {
		h.Header[name] = strings.Join(values, ", ")
	}
	refused := r.check(&h, req, body, readErr)
	r.mu.Lock()
	r.n++
	h.N = r.n
	h.Status = refused
	if refused == 0 {
		h.Status = r.statuses[min(h.N, len(r.statuses))-1]
	}
	if h.ID != "" {
		h.Repeated = r.seen[h.ID]
		if len(r.seen) >= maxSeen {
			clear(r.seen)
		}
		r.seen[h.ID] = true
	}
	r.mu.Unlock()
	if json.Valid(body) {
		h.Body = body
	} else {
		h.Text = strings.ToValidUTF8(string(body), "\uFFFD")
	}
	if r.delay > 0 {
		t := time.NewTimer(r.delay)
		defer t.Stop()
		select {
		case <-t.C:
		case <-req.Context().Done():
			h.Problem = strings.TrimPrefix(h.Problem+"; the sender did not wait for the answer", "; ")
		}
	}
	for name, value := range r.header {
		w.Header().Set(name, value)
	}
	w.WriteHeader(h.Status)
	_, _ = io.WriteString(w, r.body) // the sender may have gone
	r.print(h)
}

// check says what is wrong with a request, and the status for it; 0: nothing.
func (r *receiver) check(h *Received, req *http.Request, body []byte, readErr error) int {
	if _, tooLarge := errors.AsType[*http.MaxBytesError](readErr); tooLarge {
		h.Problem = fmt.Sprintf("the body has more than %d bytes", r.maxBytes)
		return http.StatusRequestEntityTooLarge
	}
	if readErr != nil {
		h.Problem = "the body broke off"
		return http.StatusBadRequest
	}
	h.ID = req.Header.Get(webhook.HeaderID)
	if r.verifier == nil {
		return 0
	}
	m, err := r.verifier.Verify(req.Header, body)
	if err != nil {
		h.Verified, h.Problem = "no", strings.TrimPrefix(err.Error(), "webhook: ")
		if errors.Is(err, webhook.ErrMissingHeader) || errors.Is(err, webhook.ErrMalformed) {
			return http.StatusBadRequest
		}
		return http.StatusUnauthorized
	}
	h.Verified, h.ID, h.Type, h.Timestamp = "yes", m.ID, m.Type, m.Timestamp.UTC()
	return 0
}

func (r *receiver) print(h Received) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.count > 0 && r.printed >= r.count {
		return
	}
	if r.json {
		_ = cli.JSONLine(r.out, h) // nobody reads any more
	} else {
		h.write(r.out)
	}
	if r.printed++; r.printed == r.count {
		close(r.enough)
	}
}

// write prints for people; what the sender chose cannot change the terminal.
func (h *Received) write(w io.Writer) {
	fmt.Fprintf(w, "\n#%d %s %s %s: answered %d\n", h.N, h.Time.Format("15:04:05.000"), printable(h.Method), printable(h.Path), h.Status)
	verdict := map[string]string{"yes": "verified", "no": "NOT verified", "unchecked": "not checked"}[h.Verified]
	if h.Problem != "" {
		verdict += ": " + printable(h.Problem)
	}
	if h.Repeated {
		verdict += "; this id came before"
	}
	fmt.Fprintf(w, "  %s\n", verdict)
	if h.Type != "" {
		fmt.Fprintf(w, "  type %s, id %s, signed %s\n", printable(h.Type), printable(h.ID), shownTime(h.Timestamp))
	}
	for _, name := range slices.Sorted(maps.Keys(h.Header)) {
		fmt.Fprintf(w, "  %s: %s\n", printable(name), printable(h.Header[name]))
	}
	text := h.Text
	if len(h.Body) > 0 {
		text = string(h.Body)
	}
	if text != "" {
		fmt.Fprintf(w, "\n%s\n", printable(text))
	}
}

// printable replaces what a terminal would obey.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || r != '\n' && r != '\t' && !unicode.IsPrint(r) {
			return '\uFFFD'
		}
		return r
	}, s)
}

func sortedNames(h map[string][]string) []string { return slices.Sorted(maps.Keys(h)) }
