// Package httphead reads and writes the parts of HTTP's heads that the openings
// of several transports and wires have in common.
package httphead

import (
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Elements returns the elements of a header's comma-separated lists, without
// empty ones. A comma in a quoted string parts elements like any other.
func Elements(h http.Header, name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, line := range h.Values(name) {
			for element := range strings.SplitSeq(line, ",") {
				if element = strings.Trim(element, " \t"); element != "" && !yield(element) {
					return
				}
			}
		}
	}
}

// Has reports whether a header's lists have the token, in any case.
func Has(h http.Header, name, token string) bool {
	for element := range Elements(h, name) {
		if strings.EqualFold(element, token) {
			return true
		}
	}
	return false
}

// SameOrigin reports whether a request comes from a page of this host, or from
// something that is no browser.
func SameOrigin(r *http.Request) bool {
	origins := r.Header.Values("Origin")
	if len(origins) == 0 {
		return true
	}
	u, err := url.Parse(origins[0])
	return err == nil && len(origins) == 1 && u.Host != "" && strings.EqualFold(u.Host, r.Host)
}

// RetryAfter returns how long an answer asks to wait: seconds, or a date (RFC
// 9110 section 10.2.3). Zero: it does not.
func RetryAfter(h http.Header) time.Duration {
	s := h.Get("Retry-After")
	if seconds, err := strconv.ParseUint(s, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(s); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}

// Final reports whether an answer that refuses is the server's last word: its
// status does not say that this is a matter of time.
func Final(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	}
	return status < 500
}

// Copy adds a caller's headers to those of a request, but for the reserved
// ones, which are named in their canonical form. It returns what Host says,
// which net/http has in a field of its own; empty: nothing.
func Copy(to, from http.Header, reserved map[string]bool) (host string) {
	for name, values := range from {
		switch name = http.CanonicalHeaderKey(name); {
		case name == "Host":
			if len(values) > 0 {
				host = values[0]
			}
		case !reserved[name]:
			to[name] = slices.Clone(values)
		}
	}
	return host
}

// Authorize adds a URL's user and password to a request without credentials.
func Authorize(h http.Header, user *url.Userinfo) {
	if user == nil || h.Get("Authorization") != "" {
		return
	}
	password, _ := user.Password()
	(&http.Request{Header: h}).SetBasicAuth(user.Username(), password)
}
