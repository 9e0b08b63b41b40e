package polywiretest

import (
	"bytes"
	"context"
	"fmt"
	"runtime/pprof"
	"strings"
	"time"
)

// label marks the goroutines of a server and its clients, and all that those
// start, since goroutines inherit labels. Other tests' servers may be running.
const label = "polywiretest"

func (s *Server) id() string { return fmt.Sprintf("%p", s) }

// labelled runs f with the server's label.
func (s *Server) labelled(f func()) {
	pprof.Do(context.Background(), pprof.Labels(label, s.id()), func(context.Context) { f() })
}

// checkLeaks fails the test if goroutines are left that the server, its clients
// or their handlers have started.
func (s *Server) checkLeaks() {
	end := time.Now().Add(patience)
	for {
		left := s.goroutines()
		if len(left) == 0 {
			return
		}
		if time.Now().After(end) {
			s.t.Errorf("polywiretest: goroutines are left that the server or its handlers have started:\n\n%s", strings.Join(left, "\n\n"))
			return
		}
		<-time.After(time.Millisecond) // real: nothing tells when a goroutine is really gone
	}
}

// goroutines returns what the server's goroutines are doing.
func (s *Server) goroutines() (left []string) {
	var profile bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&profile, 1); err != nil {
		return []string{err.Error()}
	}
	mark := fmt.Sprintf("%q:%q", label, s.id())
	for group := range strings.SplitSeq(profile.String(), "\n\n") {
		if strings.Contains(group, mark) {
			left = append(left, group)
		}
	}
	return left
}
