package top

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Options are those of [NewClient].
type Options struct {
	// URL is the admin listener's, as http://127.0.0.1:9090; host:port is one, too.
	URL string
	// Token is the listener's. Empty: it has none.
	Token string
	// Timeout bounds a question. Zero: 3 s.
	Timeout time.Duration
	// Clock says what time it is. Nil: [time.Now].
	Clock func() time.Time
}

// Client asks a server's console. It is not for concurrent use.
type Client struct {
	o    Options
	base *url.URL
	http *http.Client
	last Figures
	due  map[string]time.Time // when a part is asked for again
}

// maxAnswerBytes bounds an answer.
const maxAnswerBytes = 4 << 20

// How often parts are asked for: those that take work less often.
const (
	partPause = 1900 * time.Millisecond
	scanPause = 4900 * time.Millisecond // all connections are looked at
	partRows  = "50"
)

// NewClient returns a client. The error is about the URL.
func NewClient(o Options) (*Client, error) {
	text := o.URL
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.Port() == "" && !strings.Contains(o.URL, "://") {
		return nil, errors.New("want the address of an admin listener: host:port, or a URL with http or https")
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("the address of an admin listener has no user and no query: the token is given as such")
	}
	if ip := net.ParseIP(u.Hostname()); u.Hostname() == "" || ip != nil && ip.IsUnspecified() { // as the server has it
		u.Host = net.JoinHostPort("localhost", u.Port())
	}
	if o.Timeout == 0 {
		o.Timeout = 3 * time.Second
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: 8, IdleConnTimeout: time.Minute}
	return &Client{
		o: o, base: u, due: make(map[string]time.Time), last: Figures{Server: u.Host},
		http: &http.Client{
			Transport:     transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // the token goes nowhere else
		},
	}, nil
}

// Close lets go of connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Ask returns the figures of now; by is the order of the busiest connections:
// in, out, queued or idle. When the server cannot be asked they are those of
// before, with the error in them.
func (c *Client) Ask(ctx context.Context, by string) Figures {
	ctx, cancel := context.WithTimeout(ctx, c.o.Timeout)
	defer cancel()
	now := c.o.Clock()
	var o Overview
	f := c.last
	f.At, f.Error = now, ""
	if err := c.get(ctx, "overview", nil, &o); err != nil {
		f.Error = err.Error()
		clear(c.due) // a server that is back is another one
		c.last = f
		return f
	}
	f.Overview = &o
	var wg sync.WaitGroup
	if o.Parts.Cluster {
		part(ctx, c, &wg, "nodes", partPause, nil, &f.Nodes)
	}
	if o.Parts.Queues {
		part(ctx, c, &wg, "queues", partPause, url.Values{"limit": {partRows}}, &f.Queues)
	}
	if o.Parts.Webhooks {
		part(ctx, c, &wg, "webhooks", partPause, nil, &f.Webhooks)
	}
	if f.Busiest != nil && f.Busiest.By != by {
		f.Busiest = nil
		delete(c.due, "connections")
	}
	part(ctx, c, &wg, "connections", scanPause, url.Values{"sort": {by}, "limit": {partRows}}, &f.Busiest)
	wg.Wait()
	if f.Busiest != nil {
		f.Busiest.By = by
	}
	c.last = f
	return f
}

// part asks for a part beside the others, when it is due again. What is not
// answered stays as it was.
func part[T any](ctx context.Context, c *Client, wg *sync.WaitGroup, path string, pause time.Duration, query url.Values, to **T) {
	now := c.o.Clock()
	if now.Before(c.due[path]) {
		return
	}
	c.due[path] = now.Add(pause)
	wg.Go(func() {
		answer := new(T)
		if c.get(ctx, path, query, answer) == nil {
			*to = answer
		}
	})
}

func (c *Client) get(ctx context.Context, path string, query url.Values, to any) error {
	u := c.base.JoinPath("/console/api/", path)
	u.RawQuery = query.Encode()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return err
	}
	r.Header.Set("Accept", "application/json")
	if c.o.Token != "" {
		r.Header.Set("Authorization", "Bearer "+c.o.Token)
	}
	resp, err := c.http.Do(r)
	if err != nil {
		if told := (*url.Error)(nil); errors.As(err, &told) {
			err = told.Err
		}
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // it was read
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes+1))
	switch {
	case err != nil:
		return err
	case resp.StatusCode == http.StatusUnauthorized:
		return ErrToken
	case resp.StatusCode == http.StatusNotFound:
		return errors.New("there is no console: is it the admin listener?")
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("the server says %s", resp.Status)
	case len(body) > maxAnswerBytes:
		return fmt.Errorf("an answer of more than %d bytes", maxAnswerBytes)
	}
	if err := json.Unmarshal(body, to); err != nil {
		return errors.New("an answer that is none of a console: is it the admin listener?")
	}
	return nil
}

// ErrToken says that the token is missing, or not the server's.
var ErrToken = errors.New("the token is missing, or wrong")
