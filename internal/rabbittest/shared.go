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

// Start starts the broker in the background, for tests that ask for it soon:
// several brokers that start together take little longer than one.
func (s *Shared) Start(t testing.TB) {
	t.Helper()
	server := need(t)
	s.mu.Lock() // until it runs
	if s.broker != nil || s.err != nil {
		s.mu.Unlock()
		return
	}
	go func() {
		defer s.mu.Unlock()
		s.broker, s.err = start(server)
	}()
}

// Main wraps a package's tests so that the broker ends before goroutines are counted:
//
//	func TestMain(m *testing.M) { testenv.VerifyNoLeaks(shared.Main(m)) }
//
// Where there are several brokers, m is what another one's Main returned.
func (s *Shared) Main(m Runner) *Main { return &Main{m, s} }

// Runner is a [testing.M], or a [Main].
type Runner interface{ Run() int }

// Main is what [Shared.Main] returns.
type Main struct {
	m      Runner
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
