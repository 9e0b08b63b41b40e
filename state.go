package polywire

import "fmt"

// State is where a server or a client is in its life. A server goes from New
// to Closed once; a client may go from Closed to Running again.
type State int32

// The states.
const (
	StateNew State = iota + 1
	StateRunning
	StateClosing
	StateClosed
)

// String returns the state's name in lower case.
func (s State) String() string {
	switch s {
	case StateNew:
		return "new"
	case StateRunning:
		return "running"
	case StateClosing:
		return "closing"
	case StateClosed:
		return "closed"
	}
	return fmt.Sprintf("state %d", int32(s))
}

// State returns where the server is in its life.
func (s *Server) State() State { return State(s.state.Load()) }

// become changes the state if it is from, and tells the hooks.
func (s *Server) become(from, to State) bool {
	if !s.state.CompareAndSwap(int32(from), int32(to)) {
		return false
	}
	if h := s.hooks.Status; h != nil {
		h(from, to)
	}
	return true
}
