package cli

import "strings"

// HideUser leaves out what stands before the @ in URLs of NATS servers, which
// have commas between them.
func HideUser(urls string) string {
	parts := strings.Split(urls, ",")
	for i, u := range parts {
		scheme, rest, found := strings.Cut(u, "://")
		if !found {
			scheme, rest = "nats", u
		}
		parts[i] = scheme + "://" + rest[strings.LastIndexByte(rest, '@')+1:]
	}
	return strings.Join(parts, ",")
}
