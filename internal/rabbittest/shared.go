package rabbittest

import (
	"sync"
	"testing"
)

// Shared is one broker for all tests of a package that leave it running: to
// start one costs seconds. The zero value is ready. It may be asked by several
// tests at a time.
type Shared struct {
	mu     sync.Mutex
	broker *Broker
	err    error
}

// Broker starts the broker, the first time, and returns it.
func (s *Shared) Broker(t testing.TB) *Broker {
	t.Helper()
	server := need(t)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broker == nil && s.err == nil {
		s.broker, s.err = start(server)
	}
	if s.err != nil {
		t.Fatal(s.err)
	}
	return s.broker
}

// Main wraps a package's tests so that the broker ends before goroutines are counted:
//
//	func TestMain(m *testing.M) { goleak.VerifyTestMain(shared.Main(m)) }
func (s *Shared) Main(m *testing.M) *Main { return &Main{m, s} }

// Main is what [Shared.Main] returns.
type Main struct {
	m      *testing.M
	shared *Shared
}

// Run runs the tests and ends the broker.
func (m *Main) Run() int {
	code := m.m.Run()
	m.shared.mu.Lock()
	defer m.shared.mu.Unlock()
	if m.shared.broker != nil {
		m.shared.broker.Close()
	}
	return code
}
