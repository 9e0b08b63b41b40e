// Package polywiretest helps to test programs that use Polywire: a server and
// its clients in memory, without ports and without waiting.
//
//	func TestSaying(t *testing.T) {
//		srv := polywiretest.New(t)              // or Serve(t, the server of your program)
//		chat.Register(srv.Server)
//		ana, bob := srv.Client(polywiretest.As("ana")), srv.Client(polywiretest.As("bob"))
//		ana.MustSubscribe("chat")
//		bob.MustCall("chat.say", "hello", nil)
//		said := ana.Expect("chat.said")
//		bob.ExpectNone("chat.said")
//	}
//
// Everything is the real thing but for the network: the server, the wires and
// package client. In a bubble of testing/synctest time is virtual throughout:
// a heartbeat, a timeout and a backoff of minutes take no time, and
// [Client.ExpectNone] is exact. Servers, clients and the functions of this
// package belong to the bubble in which they were made.
//
// What is made is closed when the test ends: clients first, then servers, each
// of which fails the test if handlers do not return or goroutines that they
// have started go on. A program's parts that such goroutines belong to are to
// be closed by a t.Cleanup behind the call of [New] or [Serve].
package polywiretest
