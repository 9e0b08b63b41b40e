package natscluster

import (
	"encoding/base64"
	"strings"
)

// Below the prefix:
//
//	b.<topic>               messages of the bus
//	n                       what nodes tell all others of themselves
//	n.<node>                and one other
//	l.<log>.<epoch>.<topic> appended to a log: the stream's subjects
//	r.<log>.<epoch>.<topic> what a stream sends to those who are interested
//
// The epoch is in the subject, so that nothing can be appended to, or arrive
// from, another epoch than its sender thinks of.

func alphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// plainIn reports whether a byte stands for itself in a token.
func plainIn(c byte) bool {
	return alphanumeric(c) || strings.IndexByte("-_/:#@+,", c) >= 0
}

// token encodes a topic, or an ID, as one token of a subject.
func token(s string) string { return encode(s, plainIn) }

// encode keeps plain bytes and writes others as =hh; where that would be long,
// it is ~ and base64url, so that the result is at most 4/3 of the text and a
// byte or two. Different texts have different results.
func encode(s string, plain func(byte) bool) string {
	escaped := 0
	for i := range len(s) {
		if !plain(s[i]) {
			escaped++
		}
	}
	switch {
	case escaped == 0:
		return s
	case 2*escaped > len(s)/3+1:
		return "~" + base64.RawURLEncoding.EncodeToString([]byte(s))
	}
	const hex = "0123456789abcdef"
	t := make([]byte, 0, len(s)+2*escaped)
	for i := range len(s) {
		if c := s[i]; plain(c) {
			t = append(t, c)
		} else {
			t = append(t, '=', hex[c>>4], hex[c&15])
		}
	}
	return string(t)
}

// streamName is the name of a log's stream, which is that of a directory too.
// A prefix has no '~', so different logs have different streams.
func streamName(prefix, log string) string {
	return strings.ReplaceAll(prefix, ".", "=2e") + "~" + encode(log, func(c byte) bool {
		return alphanumeric(c) || c == '-' || c == '_'
	})
}
