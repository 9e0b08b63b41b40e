package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/polywire/polywire/cmd/polywire/internal/cli"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// errUnhealthy is returned where a check has failed.
var errUnhealthy = errors.New("the server is not well")

func newHealth() *cobra.Command {
	f := newServeFlags()
	var live bool
	var timeout time.Duration
	c := &cobra.Command{
		Use:   "health",
		Short: "Ask a server on this machine whether it is ready",
		Long: `Ask a server's admin listener whether it is ready, and print its checks. It reads
the same file and variables as the server, so that it knows where that is.
Ends with an error where it is not ready, or cannot be asked: for a container's
health check.

  polywire health --config /etc/polywire/polywire.yaml
  polywire health --admin 127.0.0.1:9090 --live`,
		Args: cli.Args,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := f.load(); err != nil {
				return err
			}
			path := "/readyz"
			if live {
				path = "/livez"
			}
			return f.adminFlags.ask(c, path, timeout)
		},
	}
	f.register(c)
	c.Flags().VisitAll(func(flag *pflag.Flag) {
		flag.Hidden = flag.Name != "config" && flag.Name != "admin" && flag.Name != "admin-token"
	})
	c.Flags().BoolVar(&live, "live", false, "ask whether it is alive, not whether it is ready")
	c.Flags().DurationVar(&timeout, "timeout", 5*time.Second, "`time` to answer")
	return c
}

// ask prints what the admin listener says at a path.
func (f *adminFlags) ask(c *cobra.Command, path string, timeout time.Duration) error {
	host, port, err := net.SplitHostPort(f.adminAt)
	if err != nil {
		return errors.New("--admin says where the server's admin listener is, as 127.0.0.1:9090")
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	r, err := http.NewRequestWithContext(c.Context(), http.MethodGet, "http://"+net.JoinHostPort(host, port)+path, nil)
	if err != nil {
		return err
	}
	if f.adminToken != "" {
		r.Header.Set("Authorization", "Bearer "+f.adminToken)
	}
	client := &http.Client{
		Timeout: timeout, Transport: &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // the token goes nowhere else
	}
	resp, err := client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // it was read
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return err
	}
	fmt.Fprintln(c.OutOrStdout(), strings.TrimSpace(string(body)))
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%w: %s says %s", errUnhealthy, path, resp.Status)
	}
	return nil
}
