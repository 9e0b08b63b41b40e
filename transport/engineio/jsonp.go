package engineio

import (
	"strings"
)

// maxCallbackDigits bounds what a session keeps of its client's callback.
const maxCallbackDigits = 20

// jsonpHead returns the beginning of answers to script elements: a call of the
// client's callback, of whose number only digits count.
func jsonpHead(index string) (head string, ok bool) {
	digits := strings.Map(func(r rune) rune {
		if r < '0' || r > '9' {
			return -1
		}
		return r
	}, index)
	return "___eio[" + digits + "](", len(digits) <= maxCallbackDigits
}

// jsonpBody makes a payload the argument of the callback. The encoder escapes
// the two line ends that JSON has and old scripts have not.
func jsonpBody(head string, payload []byte) []byte {
	body := append([]byte(head), toJSON(string(payload))...)
	return append(body, ");"...)
}

// jsonpData returns the payload of a form that a page has posted, false when
// it has none.
func jsonpData(form []byte) ([]byte, bool) {
	s, ok := param(string(form), "d")
	if !ok {
		return nil, false
	}
	// Line ends are escaped, as browsers would change them in a form: \n is
	// one, \\n is the text \n.
	out := make([]byte, 0, len(s))
	for len(s) > 0 {
		switch {
		case strings.HasPrefix(s, `\\n`):
			out = append(out, `\n`...)
			s = s[3:]
		case strings.HasPrefix(s, `\n`):
			out = append(out, '\n')
			s = s[2:]
		default:
			out = append(out, s[0])
			s = s[1:]
		}
	}
	return out, true
}
