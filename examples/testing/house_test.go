package main

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/internal/testenv"
	"github.com/polywire/polywire/polywiretest"
	"github.com/polywire/polywire/queue"
	"github.com/polywire/polywire/wire/native"
	"github.com/polywire/polywire/wire/socketio"
)

func TestMain(m *testing.M) { testenv.VerifyNoLeaks(m) }

// serve returns a house that is open, in the bubble of the test.
func serve(t *testing.T, opts ...polywire.Option) *polywiretest.Server {
	t.Helper()
	house, err := NewHouse(append(opts, polywire.WithWires(native.New(), socketio.New()),
		polywire.WithAuth(polywiretest.Auth(nil)), polywire.WithQueues(polywiretest.Queues(t, queue.Options{})))...)
	if err != nil {
		t.Fatal(err)
	}
	srv := polywiretest.Serve(t, house.srv)
	t.Cleanup(house.Close)
	return srv
}

// chair is a lot of an hour.
var chair = Lot{Name: "chair", Minimum: 10, Lasts: time.Hour}

func TestHighestBidWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := serve(t)
		ana, bob := srv.Client(polywiretest.As("ana")), srv.Client(polywiretest.As("bob"), polywiretest.Over("socketio+ws"))
		viewer := srv.Client()
		viewer.MustSubscribe("lot:chair")
		ana.MustCall("lot.open", chair, nil)
		ana.MustCall("lot.bid", Bid{Lot: "chair", Amount: 10}, nil)
		bob.MustCall("lot.bid", Bid{Lot: "chair", Amount: 15}, nil)
		for _, want := range []Bid{{"chair", 10, "ana"}, {"chair", 15, "bob"}} {
			if got := polywiretest.Expect[Bid](viewer, "lot.raised"); got != want {
				t.Errorf("heard %+v, want %+v", got, want)
			}
		}
		time.Sleep(59 * time.Minute)
		viewer.ExpectNone("lot.sold")
		time.Sleep(time.Minute)
		if sold := polywiretest.Expect[Bid](viewer, "lot.sold"); sold.By != "bob" {
			t.Errorf("sold to %q", sold.By)
		}
		if text := polywiretest.Expect[string](bob, "invoice"); text != "chair: 15" {
			t.Errorf("invoice %q", text)
		}
		polywiretest.ExpectDone(t, srv.Queues(), invoices)
		ana.ExpectNone()
	})
}

// A bid in the last seconds leaves the others time for an answer.
func TestLateBidProlongs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ana := serve(t).Client(polywiretest.As("ana"))
		ana.MustSubscribe("lot:chair")
		ana.MustCall("lot.open", chair, nil)
		time.Sleep(time.Hour - time.Second)
		ana.MustCall("lot.bid", Bid{Lot: "chair", Amount: 10}, nil)
		time.Sleep(extension - time.Millisecond)
		ana.ExpectNone("lot.sold")
		time.Sleep(time.Millisecond)
		ana.Expect("lot.sold")
	})
}

func TestRefusedBids(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := serve(t)
		ana := srv.Client(polywiretest.As("ana"))
		ana.MustCall("lot.open", chair, nil)
		ana.CallError("lot.open", chair, polywire.CodeConflict)
		ana.CallError("lot.bid", Bid{Lot: "chair", Amount: 9}, polywire.CodeConflict)
		ana.CallError("lot.bid", Bid{Lot: "table", Amount: 9}, polywire.CodeNotFound)
		ana.CallError("lot.bid", "ten", polywire.CodeBadRequest)
		srv.Client().CallError("lot.bid", Bid{Lot: "chair", Amount: 20}, polywire.CodeUnauthorized)
	})
}

// Who watches at another server hears the same.
func TestTwoServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes, _ := polywiretest.Cluster(t, 2, func(opts ...polywire.Option) (*polywire.Server, error) {
			house, err := NewHouse(append(opts, polywire.WithWires(native.New()),
				polywire.WithQueues(polywiretest.Queues(t, queue.Options{})))...)
			if err != nil {
				return nil, err
			}
			t.Cleanup(house.Close)
			return house.srv, nil
		})
		ana, viewer := nodes[0].Client(polywiretest.As("ana")), nodes[1].Client()
		viewer.MustSubscribe("lot:chair")
		ana.MustCall("lot.open", chair, nil)
		ana.MustCall("lot.bid", Bid{Lot: "chair", Amount: 10}, nil)
		viewer.Expect("lot.raised")
		time.Sleep(chair.Lasts)
		viewer.Expect("lot.sold")
		ana.Expect("invoice")
	})
}

func TestRun(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	if want := "invoice: chair: 12\n"; out.String() != want {
		t.Errorf("printed %q, want %q", out.String(), want)
	}
}
