package socketio_test

import (
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/wire"
	"github.com/polywire/polywire/wire/socketio"
	"github.com/polywire/polywire/wire/wiretest"
)

// closer counts how often a link is closed.
type closer struct{ n atomic.Int32 }

func (c *closer) Close() error { c.n.Add(1); return nil }

func assembling(c *closer, o ...socketio.Option) wire.Session {
	return socketio.New(o...).NewSession(wiretest.NewHost(), socketio.SessionOptions{Link: c})
}

// take gives a session a frame that completes nothing.
func take(t *testing.T, s wire.Session, f transport.Frame) {
	t.Helper()
	var p wire.Packet
	if ok, err := s.Decode(f, &p); ok || err != nil {
		t.Fatalf("%.40q: %v, %v", f.Data, ok, err)
	}
}

func TestAttachmentsTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c closer
		s := assembling(&c, socketio.WithAttachmentTimeout(3*time.Second))
		take(t, s, text(`52-["a"]`))
		time.Sleep(2 * time.Second)
		take(t, s, binary("1"))
		time.Sleep(999 * time.Millisecond) // an attachment does not buy more time
		synctest.Wait()
		if c.n.Load() != 0 {
			t.Fatal("closed too soon")
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if c.n.Load() != 1 {
			t.Fatalf("closed %d times", c.n.Load())
		}
		for _, f := range []transport.Frame{binary("2"), text(`2["a"]`)} {
			var p wire.Packet
			_, err := s.Decode(f, &p)
			wantEnd(t, err, "forced close")
		}
	})
}

func TestAttachmentsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c closer
		s := assembling(&c)
		for range 3 {
			take(t, s, text(`51-["a",{"_placeholder":true,"num":0}]`))
			time.Sleep(socketio.DefaultAttachmentTimeout - time.Millisecond)
			var p wire.Packet
			if ok, err := s.Decode(binary("1"), &p); !ok || err != nil || string(p.Payload.Data) != "1" {
				t.Fatal(ok, err)
			}
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if c.n.Load() != 0 {
			t.Error("closed although all has come")
		}
	})
}

// A link that ends in the middle leaves nothing behind for long.
func TestAttachmentsOfNoLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		take(t, socketio.New().NewSession(wiretest.NewHost(), socketio.SessionOptions{}), text(`51-["a"]`))
		time.Sleep(socketio.DefaultAttachmentTimeout)
		synctest.Wait()
	})
}

func TestAttachmentsTooLarge(t *testing.T) {
	const header = `52-["a"]`
	for _, row := range []struct {
		options []socketio.Option
		limit   int
	}{
		{nil, 1 << 20}, // the host's
		{[]socketio.Option{socketio.WithMaxAttachmentBytes(1000)}, 1000},
	} {
		var p wire.Packet
		half := row.limit / 2
		rest := row.limit - half - len(`["a"]`)
		for _, over := range []int{0, 1} {
			s := assembling(new(closer), row.options...)
			take(t, s, text(header))
			take(t, s, binary(strings.Repeat("x", half)))
			ok, err := s.Decode(binary(strings.Repeat("x", rest+over)), &p)
			if over == 0 && (!ok || err != nil) {
				t.Errorf("limit %d: %v, %v", row.limit, ok, err)
			} else if over == 1 {
				wantEnd(t, err, "forced close")
			}
		}
	}
	var p wire.Packet
	_, err := assembling(new(closer), socketio.WithMaxAttachmentBytes(5)).Decode(text(`51-["abc"]`), &p)
	wantEnd(t, err, "forced close")
}

func TestMaxAttachments(t *testing.T) {
	for _, limit := range []int{0, 3, socketio.DefaultMaxAttachments, 100} {
		o := socketio.WithMaxAttachments(limit)
		var p wire.Packet
		message := wire.Packet{Type: wire.Message, Kind: "a"}
		for range limit {
			message.Args = append(message.Args, raw("x"))
		}
		frames, err := wiretest.Encode(end{options: []socketio.Option{o}}.session(), &message)
		if err != nil || len(frames) != 1+limit {
			t.Fatalf("%d frames, %v", len(frames), err)
		}
		if _, err := wiretest.Decode(end{options: []socketio.Option{o}}.session(), frames); err != nil {
			t.Errorf("limit %d: %v", limit, err)
		}
		if limit == 0 {
			_, err := assembling(new(closer), o).Decode(text(`51-["a"]`), &p)
			wantEnd(t, err, "forced close")
		}
		message.Args = append(message.Args, raw("x"))
		if _, err := wiretest.Encode(end{options: []socketio.Option{o}}.session(), &message); err == nil {
			t.Errorf("%d attachments were encoded", limit+1)
		}
	}
}

// What waits for attachments is a copy: frames are only lent.
func TestAssemblyKeepsCopies(t *testing.T) {
	s := end{}.session()
	frames := framesOf(t, `52-/a,7["k",{"_placeholder":true,"num":0},{"b":1},{"_placeholder":true,"num":1}] | 0102 | 03`)
	for _, f := range frames[:2] {
		take(t, s, f)
		clear(f.Data)
	}
	var p wire.Packet
	if ok, err := s.Decode(frames[2], &p); !ok || err != nil {
		t.Fatal(ok, err)
	}
	want := wire.Packet{Type: wire.Call, Namespace: "/a", ID: 8, Kind: "k", Payload: raw("\x01\x02"), Args: append(p.Args[:0:0], json(`{"b":1}`), raw("\x03"))}
	if diff := wiretest.Diff(p, want); diff != "" {
		t.Error(diff)
	}
	if &p.Args[1].Data[0] != &frames[2].Data[0] {
		t.Error("the last attachment was copied")
	}
}

// One attachment that a thousand arguments have in them is not copied a
// thousand times.
func TestRepeatedAttachment(t *testing.T) {
	s := end{}.session()
	take(t, s, text(`51-["a"`+strings.Repeat(`,[{"_placeholder":true,"num":0}]`, socketio.MaxArgs)+`]`))
	data := binary(strings.Repeat("x", 500<<10))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var p wire.Packet
	_, err := s.Decode(data, &p)
	runtime.ReadMemStats(&after)
	wantEnd(t, err, "forced close")
	if used := after.TotalAlloc - before.TotalAlloc; used > 8<<20 {
		t.Errorf("%d bytes", used)
	}
}
