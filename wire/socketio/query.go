package socketio

import (
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/internal/jsonscan"
	"github.com/polywire/polywire/internal/msgscan"
)

// Version 4 has no payload in a connect: its clients put credentials into a
// query behind the namespace's name.

// maxQueryValues bounds the credentials of a connect.
const maxQueryValues = 100

// queryPayload makes of a query the object that clients of version 5 send. Of
// equal names the last counts.
func queryPayload(query []byte, parser Parser) (codec.Payload, error) {
	var members []member
	for pair := range strings.SplitSeq(string(query), "&") {
		if pair == "" {
			continue
		}
		key, value, _ := strings.Cut(pair, "=")
		m := member{unescape(key), unescape(value)}
		known := false
		for i := range members {
			if known = members[i].key == m.key; known {
				members[i].value = m.value
				break
			}
		}
		if known {
			continue
		}
		if len(members) == maxQueryValues {
			return codec.Payload{}, errManyQueries
		}
		members = append(members, m)
	}
	switch {
	case len(members) == 0:
		return codec.Payload{}, nil
	case parser == Msgpack:
		b := msgscan.AppendMapHeader(nil, len(members))
		for _, m := range members {
			b = msgscan.AppendStr(msgscan.AppendStr(b, m.key), m.value)
		}
		return codec.Payload{Type: codec.TypeMsgpack, Data: b}, nil
	}
	b := []byte{'{'}
	for i, m := range members {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(jsonscan.AppendString(b, m.key), ':')
		b = jsonscan.AppendString(b, m.value)
	}
	return codec.Payload{Type: codec.TypeJSON, Data: append(b, '}')}, nil
}

// unescape returns what a part of a query says; one that is not escaped well
// says itself.
func unescape(s string) string {
	if u, err := url.QueryUnescape(s); err == nil {
		s = u
	}
	return validUTF8(s)
}

func validUTF8(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// appendQuery appends credentials as a query: strings as they are, all else as
// JSON text.
func appendQuery(b []byte, header map[string]string, object []byte) []byte {
	sep := byte('?')
	add := func(key, value string) {
		b = append(append(b, sep), url.QueryEscape(key)...)
		b = append(append(b, '='), url.QueryEscape(value)...)
		sep = '&'
	}
	for _, k := range sortedKeys(header) {
		if jsonValue(object, k) == nil {
			add(k, header[k])
		}
	}
	onlyMembers(object, func(key string, value []byte) bool {
		text, ok := jsonText(codec.Payload{Type: codec.TypeJSON, Data: value})
		if !ok {
			text = string(value)
		}
		add(key, text)
		return true
	})
	return b
}
