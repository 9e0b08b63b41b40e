package drs

import (
	"unicode/utf8"

	"github.com/polywire/polywire/internal/jsonscan"
)

// scanner finds the ends of commands on a stream, and keeps what it has read of
// one on the way, for the session.
type scanner struct {
	jsonscan.Extent

	begun   bool    // the value has been looked at
	found   []byte  // it, if it was read
	command command // what it says
}

// Scan implements values.Scanner.
func (s *scanner) Scan(data []byte) (int, error) {
	if !s.begun {
		s.begun, s.found, s.command = true, nil, command{}
		if n := readUsual(data, &s.command); n > 0 {
			s.found = data[:n]
			return n, nil
		}
	}
	n, err := s.Extent.Scan(data)
	if err == nil && !utf8.Valid(data[:n]) {
		return 0, errTextUTF8
	}
	return n, err
}

// Reset implements values.Scanner.
func (s *scanner) Reset() {
	s.begun = false
	s.Extent.Reset()
}

// take returns the command that data is, once and if it is the one that was
// found last. The scanner keeps nothing of it: a buffer would stay with it.
func (s *scanner) take(data []byte, c *command) bool {
	if len(s.found) == 0 || len(s.found) != len(data) || &s.found[0] != &data[0] {
		return false
	}
	*c = s.command
	s.found, s.command = nil, command{}
	return true
}

// What the members of nearly all commands begin with.
const (
	keyText    = `"key":"`
	actionText = `"action":"`
	bodyOf     = `"body":`
)

// readUsual reads the command that data begins with as nearly all are written:
// these members only, without white space between them and without escapes in
// key and action. It returns the command's length, zero for any other, about
// which it says nothing.
func readUsual(data []byte, c *command) int {
	if len(data) == 0 || data[0] != '{' {
		return 0
	}
	for i := 1; ; i++ {
		switch rest := data[i:]; {
		case len(rest) > len(keyText) && string(rest[:len(keyText)]) == keyText:
			i += len(keyText)
			end := jsonscan.Plain(data, i)
			if end < 0 {
				return 0
			}
			c.key, i = data[i:end:end], end+1
		case len(rest) > len(actionText) && string(rest[:len(actionText)]) == actionText:
			i += len(actionText)
			end := jsonscan.Plain(data, i)
			if end <= i {
				return 0
			}
			c.action, i = data[i:end:end], end+1
		case len(rest) > len(bodyOf) && string(rest[:len(bodyOf)]) == bodyOf:
			sc := jsonscan.Scanner{Data: data, Pos: i + len(bodyOf), Inside: 1}
			body, err := sc.Value()
			if err != nil {
				return 0
			}
			c.body, i = body, sc.Pos
		default:
			return 0
		}
		switch {
		case i < len(data) && data[i] == ',':
		case i < len(data) && data[i] == '}' && c.action != nil:
			return i + 1
		default:
			return 0
		}
	}
}

// readCommand reads a command that is all of data.
func readCommand(data []byte, c *command) error {
	if n := readUsual(data, c); n > 0 && n == len(data) {
		return nil
	}
	*c = command{}
	return readJSON(data, c)
}
