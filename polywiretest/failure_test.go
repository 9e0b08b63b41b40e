package polywiretest_test

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/internal/testenv"
	"github.com/polywire/polywire/polywiretest"
	"github.com/polywire/polywire/wire/native"
)

// failing is a test that may fail: it notes what is said.
type failing struct {
	testing.TB
	mu       sync.Mutex
	said     strings.Builder
	cleanups []func()
}

func (f *failing) Helper()                  {}
func (f *failing) Context() context.Context { return context.Background() }
func (f *failing) Output() io.Writer        { return io.Discard }
func (f *failing) Cleanup(c func())         { f.cleanups = append(f.cleanups, c) }

func (f *failing) Errorf(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fmt.Fprintf(&f.said, format+"\n", args...)
}

func (f *failing) Fatalf(format string, args ...any) {
	f.Errorf(format, args...)
	runtime.Goexit()
}

// end does what is to be done when the test is over.
func (f *failing) end() {
	for _, c := range slices.Backward(f.cleanups) {
		c()
	}
}

// outcome plays a test and its cleanups, and returns what it fails with.
func outcome(test func(t testing.TB)) string {
	f := &failing{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer f.end()
		test(f)
	}()
	<-done
	return f.said.String()
}

// failure is a test that fails, and what it has to say.
type failure struct {
	name string
	test func(t testing.TB)
	want []string
}

// Every way to fail fails, and says what somebody needs to find out why.
func TestFailures(t *testing.T) {
	for _, c := range append(failedExpectations(), failedConversations()...) {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				said := outcome(c.test)
				for _, want := range c.want {
					if !strings.Contains(said, want) {
						t.Errorf("it says %q\nwithout %q", said, want)
					}
				}
			})
		})
	}
}

func failedExpectations() []failure {
	return []failure{
		{"nothing came", func(t testing.TB) {
			polywiretest.New(t).Client().Expect("said")
		}, []string{`want a message of kind "said", none came within 10s`, "nothing else came"}},
		{"something else came", func(t testing.TB) {
			srv := polywiretest.New(t)
			c := srv.Client()
			_ = srv.All().Send(t.Context(), "typed", map[string]string{"who": "ana"})
			c.Expect("said")
		}, []string{`kind "said"`, `typed {"who":"ana"}`}},
		{"of another room", func(t testing.TB) {
			srv := polywiretest.New(t, polywire.WithPublishPolicy(polywire.AllowPublish))
			c := srv.Client()
			c.MustSubscribe("a")
			c.MustPublish("a", "said", 1)
			c.ExpectIn("b", "said")
		}, []string{`kind "said" in "b"`, "said in a 1"}},
		{"the client has ended", func(t testing.TB) {
			srv := polywiretest.New(t)
			c := srv.Client()
			_ = srv.All().Disconnect(t.Context(), polywire.CloseForbidden, "banned")
			c.Expect("said")
		}, []string{"the client has ended", "banned"}},
		{"not what it should be", func(t testing.TB) {
			srv := polywiretest.New(t)
			c := srv.Client()
			_ = srv.All().Send(t.Context(), "said", []int{1})
			polywiretest.Expect[string](c, "said")
		}, []string{"said [1] is no string"}},
		{"something came", func(t testing.TB) {
			srv := polywiretest.New(t)
			c := srv.Client()
			_ = srv.All().Send(t.Context(), "said", strings.Repeat("x", 500))
			c.ExpectNone("said", "typed")
		}, []string{`want no message of ["said" "typed"]`, "said \"xxx", "..."}},
	}
}

func failedConversations() []failure {
	return []failure{
		{"a call that fails", func(t testing.TB) {
			polywiretest.New(t).Client().MustCall("add", 1, nil)
		}, []string{"calling add", "not_found"}},
		{"a call that does not fail", func(t testing.TB) {
			srv := polywiretest.New(t)
			srv.Handle("add", handler(func(context.Context, *polywire.Message) (any, error) { return 3, nil }))
			srv.Client().CallError("add", 1, polywire.CodeForbidden)
		}, []string{"calling add: answered with 3, want an error of code forbidden"}},
		{"a call that fails in another way", func(t testing.TB) {
			polywiretest.New(t).Client().CallError("add", 1, polywire.CodeForbidden)
		}, []string{"calling add", "not_found", "want an error of code forbidden"}},
		{"a subscription that is refused", func(t testing.TB) {
			refuse := func(context.Context, *polywire.Conn, string) error {
				return polywire.Errorf(polywire.CodeForbidden, "not this one")
			}
			polywiretest.New(t, polywire.WithSubscribePolicy(refuse)).Client().MustSubscribe("secret")
		}, []string{"subscribing to secret", "not this one"}},
		{"not closed", func(t testing.TB) {
			polywiretest.New(t).Client().ExpectClosed(polywire.CloseExpired)
		}, []string{"want the connection closed with 3005, it is open after 10s"}},
		{"closed in another way", func(t testing.TB) {
			srv := polywiretest.New(t)
			c := srv.Client()
			_ = srv.All().Disconnect(t.Context(), polywire.CloseForbidden, "banned")
			c.ExpectClosed(polywire.CloseExpired)
		}, []string{"want the connection closed with 3005", "banned"}},
		{"refused", func(t testing.TB) {
			polywiretest.New(t, polywire.WithAuth(func(context.Context, *polywire.Handshake) (*polywire.Identity, error) {
				return nil, polywire.Errorf(polywire.CodeForbidden, "members only")
			})).Client()
		}, []string{"connecting", "members only"}},
		{"options that are wrong", func(t testing.TB) {
			polywiretest.New(t, polywire.WithHistory("", polywire.History{}))
		}, []string{"history"}},
		{"a wire that the server does not have", func(t testing.TB) {
			polywiretest.New(t).Client(polywiretest.Over("gopher"))
		}, []string{"no wire for the scheme"}},
		{"a listener that the server does not have", func(t testing.TB) {
			polywiretest.New(t, polywire.WithWires(native.New())).Client(polywiretest.Over("drs+tcp"))
		}, []string{`no wire serves "drs+tcp"`}},
		{"a handler that does not return", func(t testing.TB) {
			free := make(chan struct{})
			t.Cleanup(func() { close(free) }) // when the server has given up
			srv := polywiretest.New(t)
			srv.Handle("stuck", handler(func(context.Context, *polywire.Message) (any, error) { <-free; return nil, nil }))
			srv.Client().MustSend("stuck", nil)
			synctest.Wait()
		}, []string{"not shut down in order"}},
	}
}

// A goroutine that a handler has left behind fails the test; another server's
// do not.
func TestLeaks(t *testing.T) {
	t.Parallel()
	testenv.Long(t) // a leak is one after 10 s
	end := make(chan struct{})
	stop := make(chan struct{})
	other := make(chan string, 1)
	leaking := func(until chan struct{}) polywire.Handler {
		return handler(func(context.Context, *polywire.Message) (any, error) {
			go func() { <-until }()
			return nil, nil
		})
	}
	said := outcome(func(t testing.TB) {
		srv := polywiretest.New(t)
		srv.Handle("leak", leaking(end))
		srv.Client().MustCall("leak", nil, nil)
		go func() {
			other <- outcome(func(t testing.TB) {
				srv := polywiretest.New(t)
				srv.Handle("leak", leaking(stop))
				srv.Client().MustCall("leak", nil, nil)
				close(stop)
			})
		}()
	})
	close(end)
	if !strings.Contains(said, "goroutines are left") || !strings.Contains(said, "failure_test.go") {
		t.Errorf("it says %q", said)
	}
	if said := <-other; said != "" {
		t.Errorf("a test that leaves nothing: %s", said)
	}
}

// exampleT stands in for a test in examples, which have none; end ends it.
func exampleT() (t testing.TB, end func()) {
	f := &failing{}
	return f, func() {
		f.end()
		fmt.Print(f.said.String())
	}
}
