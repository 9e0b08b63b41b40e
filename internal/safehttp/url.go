package safehttp

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// MaxURLBytes is the longest URL that is accepted.
const MaxURLBytes = 2048

// ErrURL is in every error about a URL that cannot be used whatever it
// resolves to. Its text never has the URL in it, which may carry a secret.
var ErrURL = errors.New("the URL cannot be used")

func badURL(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrURL, fmt.Sprintf(format, args...))
}

// ParseURL parses an absolute URL and refuses what could be read in two ways:
// another scheme than https and http, user names, fragments, blanks and control
// characters, hosts that are numbers in any form but the canonical one of IPv4
// or IPv6, zones, and letters outside ASCII (write the xn-- form). Errors wrap
// [ErrURL].
func ParseURL(raw string) (*url.URL, error) {
	switch {
	case raw == "":
		return nil, badURL("it is empty")
	case len(raw) > MaxURLBytes:
		return nil, badURL("it is longer than %d bytes", MaxURLBytes)
	case strings.ContainsFunc(raw, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '\\' }):
		return nil, badURL("it has a blank, a control character or a backslash")
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, badURL("it does not parse") // err has the URL in it
	}
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, badURL("its scheme is not https")
	case u.Opaque != "" || u.Host == "":
		return nil, badURL("it names no host")
	case u.User != nil:
		return nil, badURL("it has a user name or password; use a header")
	case u.Fragment != "" || strings.HasSuffix(raw, "#"):
		return nil, badURL("it has a fragment, which is never sent")
	}
	if _, err := portOf(u); err != nil {
		return nil, err
	}
	if _, err := literal(u); err != nil {
		return nil, err
	}
	return u, nil
}

// CheckURL is [ParseURL], and refuses what the client would not connect to:
// http where it is not allowed, ports outside the policy, and literal addresses
// that are not permitted. Names are not resolved: each dial checks what they
// lead to. Errors wrap [ErrURL] or [ErrForbidden].
func (c *Client) CheckURL(raw string) (*url.URL, error) {
	u, err := ParseURL(raw)
	if err != nil {
		return nil, err
	}
	if u.Scheme == "http" && !c.http {
		return nil, badURL("plain http is not allowed; use https")
	}
	port, err := portOf(u)
	if err != nil {
		return nil, err
	}
	if !c.portAllowed(port) {
		return nil, badURL("its port is not allowed")
	}
	a, err := literal(u)
	if err != nil {
		return nil, err
	}
	if a.IsValid() && !c.permits(a) {
		return nil, fmt.Errorf("%w: %s", ErrForbidden, a)
	}
	return u, nil
}

// portOf returns the port that a URL leads to.
func portOf(u *url.URL) (uint16, error) {
	text := u.Port()
	switch {
	case strings.HasSuffix(u.Host, ":"):
		return 0, badURL("its port is empty")
	case text == "" && u.Scheme == "http":
		return 80, nil
	case text == "":
		return 443, nil
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 || strconv.FormatUint(n, 10) != text {
		return 0, badURL("its port is no number from 1 to 65535")
	}
	return uint16(n), nil
}

func (c *Client) portAllowed(p uint16) bool {
	if len(c.ports) == 0 {
		return p == 80 || p == 443 || p >= 1024
	}
	return c.ports[p]
}

// literal returns the address that a URL's host is, or the zero address if it
// is a name.
func literal(u *url.URL) (netip.Addr, error) {
	host := u.Hostname()
	a, err := netip.ParseAddr(host)
	if strings.HasPrefix(u.Host, "[") {
		if err != nil || !a.Is6() || a.Zone() != "" {
			return netip.Addr{}, badURL("its host is no IPv6 address")
		}
		return a, nil
	}
	if err == nil && a.Is4() {
		return a, nil
	}
	return netip.Addr{}, checkName(host)
}

// checkName refuses names that some resolver could take for an address: those
// whose last label is a number, as in 127.1, 0x7f.1 or 2130706433.
func checkName(host string) error {
	if len(host) > 253 {
		return badURL("its host is longer than 253 bytes")
	}
	last := ""
	for label := range strings.SplitSeq(host, ".") {
		if why := checkLabel(label); why != "" {
			return badURL("%s", why)
		}
		last = label
	}
	if numeric(last) {
		return badURL("its host is a number; write an IPv4 address as four decimal numbers")
	}
	return nil
}

func checkLabel(label string) string {
	if label == "" || len(label) > 63 {
		return "a part of its host is empty or longer than 63 bytes"
	}
	for i := range len(label) {
		switch ch := label[i]; {
		case ch >= 'a' && ch <= 'z', ch >= 'A' && ch <= 'Z', ch >= '0' && ch <= '9', ch == '_':
		case ch == '-' && i > 0 && i < len(label)-1:
		case ch >= 0x80:
			return "its host has letters outside ASCII; write the xn-- form"
		default:
			return "its host has a character that names do not have"
		}
	}
	return ""
}

// numeric reports whether a label is a number to any parser: decimal, octal or
// hexadecimal.
func numeric(label string) bool {
	if rest, ok := strings.CutPrefix(strings.ToLower(label), "0x"); ok {
		return strings.Trim(rest, "0123456789abcdef") == ""
	}
	return strings.Trim(label, "0123456789") == ""
}
