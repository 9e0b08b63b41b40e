package websocket

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
)

// extension is one element of Sec-WebSocket-Extensions (RFC 6455 section 9.1).
type extension struct {
	name   string
	params []param
}

type param struct {
	name, value string
	hasValue    bool
}

const (
	deflateName      = "permessage-deflate"
	serverNoTakeover = "server_no_context_takeover"
	clientNoTakeover = "client_no_context_takeover"
	serverWindowBits = "server_max_window_bits"
	clientWindowBits = "client_max_window_bits"

	// deflateOffer has no client_max_window_bits: this compressor knows one
	// window only.
	deflateOffer = deflateName + "; " + serverNoTakeover + "; " + clientNoTakeover

	maxWindowBits = 15
)

var errExtensions = errors.New("websocket: malformed Sec-WebSocket-Extensions")

// parseExtensions parses the header's values, which together are one list.
func parseExtensions(h http.Header) ([]extension, error) {
	var all []extension
	for _, line := range h.Values("Sec-WebSocket-Extensions") {
		for rest := line; rest != ""; {
			var e extension
			var ok bool
			if e, rest, ok = cutExtension(rest); !ok {
				return nil, errExtensions
			}
			if e.name != "" { // lists may have empty elements
				all = append(all, e)
			}
		}
	}
	return all, nil
}

// cutExtension parses the first element of a list.
func cutExtension(s string) (e extension, rest string, ok bool) {
	e.name, rest = cutToken(s)
	for {
		rest = skipSpace(rest)
		switch {
		case rest == "":
			return e, "", true
		case rest[0] == ',':
			return e, rest[1:], true
		case rest[0] != ';' || e.name == "":
			return e, rest, false
		}
		var p param
		if p.name, rest = cutToken(rest[1:]); p.name == "" {
			return e, rest, false
		}
		if after, has := strings.CutPrefix(skipSpace(rest), "="); has {
			p.hasValue = true
			if p.value, rest, ok = cutValue(skipSpace(after)); !ok {
				return e, rest, false
			}
		}
		e.params = append(e.params, p)
	}
}

func skipSpace(s string) string { return strings.TrimLeft(s, " \t") }

// cutToken returns the token that s begins with, after spaces; it may be empty.
func cutToken(s string) (token, rest string) {
	s = skipSpace(s)
	n := 0
	for n < len(s) && isToken(s[n:n+1]) {
		n++
	}
	return s[:n], s[n:]
}

// cutValue parses a token, or a quoted string whose content is one.
func cutValue(s string) (value, rest string, ok bool) {
	if after, quoted := strings.CutPrefix(s, `"`); quoted {
		value, rest, ok = strings.Cut(after, `"`)
		value = strings.ReplaceAll(value, `\`, "")
		return value, rest, ok && isToken(value)
	}
	value, rest = cutToken(s)
	return value, rest, value != ""
}

// windowBits parses the value of a window parameter: 8 to 15, without leading
// zeros (RFC 7692 section 7.1.2).
func windowBits(p param) (int, bool) {
	n, err := strconv.Atoi(p.value)
	return n, err == nil && n >= 8 && n <= maxWindowBits && p.value == strconv.Itoa(n)
}

// acceptDeflate answers the first offer of permessage-deflate that this side
// can live up to, or returns "". It declines those with parameters that it
// does not know (RFC 7692 section 7.1) and windows smaller than compress/flate
// has.
func acceptDeflate(offers []extension) string {
	for _, offer := range offers {
		if !strings.EqualFold(offer.name, deflateName) {
			continue
		}
		if answer, ok := answerOffer(offer); ok {
			return answer
		}
	}
	return ""
}

func answerOffer(offer extension) (answer string, ok bool) {
	answer = deflateOffer
	seen := map[string]bool{}
	for _, p := range offer.params {
		if seen[p.name] {
			return "", false
		}
		seen[p.name] = true
		switch p.name {
		case serverNoTakeover, clientNoTakeover:
			ok = !p.hasValue
		case clientWindowBits:
			_, ok = windowBits(p)
			ok = ok || !p.hasValue
		case serverWindowBits:
			var bits int
			bits, ok = windowBits(p)
			ok = ok && bits == maxWindowBits
			answer += "; " + serverWindowBits + "=15"
		default:
			ok = false
		}
		if !ok {
			return "", false
		}
	}
	return answer, true
}

// checkAnswer checks a server's choice of extensions against what was offered:
// nothing, or deflateOffer.
func checkAnswer(chosen []extension, offered bool) error {
	if len(chosen) == 0 {
		return nil
	}
	if len(chosen) > 1 || !offered || !strings.EqualFold(chosen[0].name, deflateName) {
		return errors.New("an extension that was not offered")
	}
	seen := map[string]bool{}
	for _, p := range chosen[0].params {
		ok := !seen[p.name]
		seen[p.name] = true
		switch p.name {
		case serverNoTakeover, clientNoTakeover:
			ok = ok && !p.hasValue
		case serverWindowBits: // what it is does not matter to who inflates
			_, valid := windowBits(p)
			ok = ok && valid
		default:
			ok = false
		}
		if !ok {
			return errors.New("a wrong parameter of " + deflateName)
		}
	}
	if !seen[serverNoTakeover] {
		return errors.New("context takeover, which was not offered")
	}
	return nil
}
