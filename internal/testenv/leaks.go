package testenv

import (
	"fmt"
	"os"
	"time"

	"go.uber.org/goleak"
)

// leakPatience is how long goroutines have to end after the last test. goleak
// itself waits for less than half a second, which a busy machine may need for
// one that is at its end.
const leakPatience = 30 * time.Second

// VerifyNoLeaks runs a package's tests and ends the process; it fails when
// goroutines are left. It is for TestMain:
//
//	func TestMain(m *testing.M) { testenv.VerifyNoLeaks(m) }
func VerifyNoLeaks(m goleak.TestingM) {
	code := m.Run()
	if code == 0 {
		if err := leaks(time.Now().Add(leakPatience)); err != nil {
			fmt.Fprintln(os.Stderr, "goroutines are left when all tests are over:", err)
			code = 1
		}
	}
	os.Exit(code) //nolint:forbidigo // of tests
}

// leaks returns the goroutines that are left, once there are none or it is late.
func leaks(until time.Time) error {
	for {
		err := goleak.Find()
		if err == nil || !time.Now().Before(until) {
			return err
		}
	}
}
