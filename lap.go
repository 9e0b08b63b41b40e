package polywire

import "time"

// lap is the end of a handler, on the server's clock. Where the next one follows
// at once it begins then: a look at the clock costs as much as a small message's
// decoding.
type lap struct {
	end             time.Duration
	messages, bytes uint64 // read by then
}

// lapBytes is what is read or sent at once, as far as laps go.
const lapBytes = 1 << 10

// lap returns when the present message's handler begins, zero if that is not known.
func (r *reader) lap() time.Duration {
	if r.messages != r.last.messages+1 || r.bytes-r.last.bytes > lapBytes {
		return 0
	}
	return r.last.end
}

// swift reports whether nothing but results' encoding is the application's
// between one handler and the next.
func (s *Server) swift() bool {
	return s.sender == nil && s.hooks.BeforeReply == nil && s.hooks.AfterReply == nil
}
