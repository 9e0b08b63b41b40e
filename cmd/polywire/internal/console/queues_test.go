package console

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/queue"
)

// bury makes dead letters of a queue.
func bury(w *world, b *queue.Broker, name string, n int) {
	w.Helper()
	if err := b.Handle(name, func(_ context.Context, d *queue.Delivery) error {
		return queue.Discard(errors.New("<b>no</b> " + d.ID))
	}, queue.HandleOptions{}); err != nil {
		w.Fatal(err)
	}
	for i := range n {
		m := queue.Message{
			Queue: name, ID: fmt.Sprint("m", i), Kind: "<i>kind</i>", Header: map[string]string{"authorization": "that-is-secret", "x": "<b>"},
			Payload: codec.Payload{Type: codec.TypeJSON, Data: fmt.Appendf(nil, `{"n":%d}`, i)},
		}
		if err := b.Publish(w.Context(), m); err != nil {
			w.Fatal(err)
		}
	}
	w.eventually("dead letters", func() bool {
		d, err := b.Inspect(w.Context(), name)
		return err == nil && d.Dead == int64(n)
	})
	if err := b.Pause(w.Context(), name); err != nil {
		w.Fatal(err)
	}
}

func TestQueues(t *testing.T) {
	b := newBroker(t)
	w := newWorld(t, worldOptions{token: token, queues: b})
	bury(w, b, "orders", 5)
	for _, name := range []string{"a", "mail <b>"} {
		if err := b.Publish(t.Context(), queue.Message{Queue: name}); err != nil {
			t.Fatal(err)
		}
	}
	var all queuesAnswer
	w.get("queues", &all)
	if !all.Available || all.Connection.State != "connected" || all.Published != 7 || len(all.Queues) != 3 || all.Next != "" {
		t.Fatalf("%+v", all)
	}
	if q := all.Queues[2]; q.Name != "orders" || q.Dead == nil || *q.Dead != 5 || q.Handler == nil || !q.Handler.Paused || q.Handler.Dead != 5 || q.Error != "" {
		t.Errorf("%+v %+v", q, q.Handler)
	}
	if q := all.Queues[0]; q.Name != "a" || *q.Waiting != 1 || q.Handler != nil || q.Oldest.IsZero() {
		t.Errorf("%+v", q)
	}
	var page queuesAnswer
	if w.get("queues?limit=1&after=a", &page); len(page.Queues) != 1 || page.Queues[0].Name != "mail <b>" || page.Next != "mail <b>" {
		t.Errorf("%+v", page)
	}
	var letters lettersAnswer
	w.get("queue/dead?queue=orders&limit=2", &letters)
	if len(letters.Letters) != 2 || letters.Next == "" {
		t.Fatalf("%+v", letters)
	}
	l := letters.Letters[1]
	if l.ID != "m1" || l.Kind != "<i>kind</i>" || l.Reason != "discarded" || l.Error != "<b>no</b> m1" || l.Body != `{"n":1}` || l.Type != codec.TypeJSON ||
		l.Size != 7 || l.Attempts != 1 || l.Died.IsZero() || l.Stack == "" || l.Header["authorization"] != masked || l.Header["x"] != "<b>" {
		t.Errorf("%+v", l)
	}
	w.get("queue/dead?queue=orders&limit=100&after="+letters.Next, &letters)
	if len(letters.Letters) != 3 || letters.Letters[0].ID != "m2" {
		t.Errorf("%+v", letters)
	}
	if w.get("queue/dead?queue=orders&error=m4&reason=discarded", &letters); len(letters.Letters) != 1 || letters.Letters[0].ID != "m4" {
		t.Errorf("%+v", letters)
	}
	changeDead(w, b)
}

// changeDead replays and discards the five letters of the queue.
func changeDead(w *world, b *queue.Broker) {
	depth := func(waiting, dead int64) {
		w.Helper()
		d, err := b.Inspect(w.Context(), "orders")
		if err != nil || d.Waiting != waiting || d.Dead != dead {
			w.Errorf("%+v, %v, want %d and %d", d, err, waiting, dead)
		}
	}
	var d done
	if w.post("queue/dead/replay", deadRequest{Queue: "orders", IDs: []string{"m1"}}, &d); d != (done{Done: 1}) {
		w.Errorf("%+v", d)
	}
	depth(1, 4)
	if resp, body := w.ask("POST", apiPath+"queue/dead/replay", `{"queue":"orders","ids":["m1"]}`, bearer); resp.Code != 404 {
		w.Errorf("%s %s", resp.Status, body)
	}
	if w.post("queue/dead/discard", deadRequest{Queue: "orders", IDs: []string{"m2", "unknown"}}, &d); d != (done{Done: 1}) {
		w.Errorf("%+v", d)
	}
	depth(1, 3)
	if w.post("queue/dead/discard", deadRequest{Queue: "orders", All: true, Error: "m3"}, &d); d != (done{Done: 1}) {
		w.Errorf("%+v", d)
	}
	depth(1, 2)
	if w.post("queue/dead/replay", deadRequest{Queue: "orders", All: true}, &d); d != (done{Done: 2}) {
		w.Errorf("%+v", d)
	}
	depth(3, 0)
	if w.post("queue/dead/discard", deadRequest{Queue: "orders", All: true}, &d); d != (done{}) {
		w.Errorf("%+v", d)
	}
	if text := w.log.String(); !strings.Contains(text, "replayed by the console") || !strings.Contains(text, "discarded by the console") {
		w.Error(text)
	}
}

func TestFinished(t *testing.T) {
	gone := errors.New("gone")
	for _, c := range []struct {
		n             int
		err           error
		bounded, some bool
		want          string
	}{
		{0, gone, true, false, "<nil> gone"},
		{0, nil, true, true, "<nil> no such dead letter"},
		{0, nil, true, false, "{0 false } <nil>"},
		{3, gone, true, false, "{3 true gone} <nil>"},
		{maxDone, nil, true, false, "{1000 true } <nil>"},
		{maxDone, nil, false, false, "{1000 false } <nil>"},
	} {
		out, err := finished(c.n, c.err, c.bounded, c.some)
		if got := fmt.Sprint(out, " ", err); strings.ReplaceAll(got, "  ", " ") != strings.ReplaceAll(c.want, "  ", " ") {
			t.Errorf("%+v: %s", c, got)
		}
	}
}
