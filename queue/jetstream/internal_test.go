package jetstream

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/polywire/polywire/internal/natsack"
	"github.com/polywire/polywire/queue"
)

func TestNames(t *testing.T) {
	n := names{"polywire"}
	for name, want := range map[string]string{
		"orders": "polywire-q-orders", "a.b c": "polywire-q-a=2Eb=20c", "żółw>*": "polywire-q-=C5=BC=C3=B3=C5=82w=3E=2A", "=": "polywire-q-=3D",
	} {
		if got := n.stream(name); got != want {
			t.Errorf("%q: %s, want %s", name, got, want)
		}
		if back, ok := n.queue(want); !ok || back != name {
			t.Errorf("%s: %q, %v", want, back, ok)
		}
	}
	for _, bad := range []string{"", "polywire-q-", "other-q-a", "polywire-q-=", "polywire-q-=4", "polywire-q-=GG", "polywire-q-a.b", "polywire-dead"} {
		if name, ok := n.queue(bad); ok {
			t.Errorf("%q is the stream of %q", bad, name)
		}
	}
	if longest := n.stream(strings.Repeat("ż", queue.MaxNameBytes/2)); len(longest) > 255 {
		t.Errorf("%d bytes", len(longest))
	}
}

func TestDue(t *testing.T) {
	at := time.UnixMilli(1_800_000_000_123)
	subject := names{"p"}.at("q", at)
	if got, ok := due(subject); !ok || !got.Equal(at) {
		t.Errorf("%s: %v, %v", subject, got, ok)
	}
	for _, bad := range []string{"", ".", "p.q.q.at.", "p.q.q.at.x", "p.q.q.at.!-x"} {
		if _, ok := due(bad); ok {
			t.Errorf("%q has a time", bad)
		}
	}
}

func TestSpread(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	var s spread
	exact := 0
	for range 3 * earlyPerSecond {
		if s.exact(now.Add(time.Second), now) {
			exact++
		}
	}
	if exact != earlyPerSecond || s.exact(now, now) || s.exact(now.Add(-time.Hour), now) {
		t.Errorf("%d of one second", exact)
	}
	for i := range 2 * maxSpread {
		s.exact(now.Add(time.Duration(i)*time.Second), now)
	}
	if len(s.seconds) > maxSpread {
		t.Errorf("%d seconds are counted", len(s.seconds))
	}
	later := now.Add(3 * maxSpread * time.Second)
	if !s.exact(later.Add(time.Second), later) {
		t.Error("seconds that are over count still")
	}
}

func TestOptions(t *testing.T) {
	connect := func(...nats.Option) (*nats.Conn, error) { return nil, errors.New("no") }
	bad := map[string]Options{
		"nothing":  {},
		"both":     {Connect: connect, URLs: []string{"nats://localhost"}},
		"prefix":   {Connect: connect, Prefix: "a.b"},
		"long":     {Connect: connect, Prefix: "thirteen-byte"},
		"replicas": {Connect: connect, Replicas: 2},
		"lease":    {Connect: connect, Lease: time.Millisecond},
		"window":   {Connect: connect, Window: MaxWindow + 1},
		"negative": {Connect: connect, Window: -1},
		"domain":   {Connect: connect, Domain: "a.b"},
	}
	for name, o := range bad {
		if _, err := New(t.Context(), o); !errors.Is(err, queue.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	o, err := Options{Connect: connect}.withDefaults()
	if err != nil || o.Prefix != "polywire" || o.Replicas != 1 || o.Dedup != 2*time.Minute || o.Lease != 30*time.Second || o.Window != 1024 {
		t.Errorf("%+v, %v", o, err)
	}
}

func full() queue.Dead {
	now := time.Date(2026, 11, 21, 12, 0, 0, 123456789, time.UTC)
	d := queue.Dead{Reason: queue.ReasonAttempts, Stack: "main.main\n\tmain.go:1\n", Died: now}
	d.Queue, d.ID, d.Key, d.Kind = "q", "id%41", "klucz ż", " kind"
	d.Header = map[string]string{
		"traceparent": "00-1", "Nats-Msg-Id": "theirs", "nats-schedule": "@at never", "Status": "503", "a/b": "x", "per%41cent": "100%", "empty": "", "odd": "\r\nNats-TTL: 1s ",
	}
	d.Payload.Type, d.Payload.Name, d.Payload.Data = "application/json", "a.B", []byte("{}")
	d.Published, d.At, d.Attempts, d.LastError = now.Add(-time.Hour), now.Add(-time.Minute), 3, "broken\nin two"
	return d
}

func TestMessageRoundTrip(t *testing.T) {
	want := full()
	m := names{"p"}.letter(&want, "dlq:1")
	// As it is on the wire.
	wire, err := nats.DecodeHeadersMsg(encoded(m.Header))
	if err != nil {
		t.Fatal(err)
	}
	got := received("q", wire, m.Data)
	if !maps.Equal(got.Header, want.Header) {
		t.Errorf("%q, want %q", got.Header, want.Header)
	}
	got.Header, want.Header = nil, nil
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
	for name := range m.Header {
		if strings.HasPrefix(name, "Nats-") && name != headerMsgID {
			t.Errorf("a user's header becomes the server's: %s", name)
		}
	}
}

// encoded is a header as nats.go writes it.
func encoded(h nats.Header) []byte {
	var b strings.Builder
	b.WriteString("NATS/1.0\r\n")
	for name, values := range h {
		for _, v := range values {
			b.WriteString(name + ": " + v + "\r\n")
		}
	}
	b.WriteString("\r\n")
	return []byte(b.String())
}

func TestLetterThatIsTooLarge(t *testing.T) {
	d := full()
	d.Header = map[string]string{"a": strings.Repeat("\x01", queue.MaxHeaderBytes)}
	d.Stack = strings.Repeat("\x01", queue.MaxStackBytes)
	m := names{"p"}.letter(&d, "dlq:1")
	got := received("q", m.Header, nil)
	if size(m.Header) > maxHeaderBytes || got.Header["a"] != d.Header["a"] || got.Stack != "" || got.LastError != d.LastError {
		t.Errorf("%d bytes, stack of %d", size(m.Header), len(got.Stack))
	}
}

// TestForeign reads what others may put into a stream.
func TestForeign(t *testing.T) {
	tests := map[string]struct {
		h    nats.Header
		want queue.Envelope
	}{
		"nothing":      {nil, queue.Envelope{}},
		"id":           {nats.Header{"Nats-Msg-Id": {"x"}}, queue.Envelope{Message: queue.Message{ID: "x"}}},
		"percent":      {nats.Header{"a": {"%41"}}, queue.Envelope{Message: queue.Message{Header: map[string]string{"a": "%41"}}}},
		"no value":     {nats.Header{"a": {}}, queue.Envelope{}},
		"bad number":   {nats.Header{queue.FieldAttempts: {"many"}, queue.FieldPublished: {"yesterday"}}, queue.Envelope{}},
		"the server's": {nats.Header{"Nats-Scheduler": {"x"}, "Nats-Schedule-Next": {"purge"}}, queue.Envelope{}},
	}
	for name, tt := range tests {
		tt.want.Queue = "q"
		if got := received("q", tt.h, nil); !reflect.DeepEqual(got.Envelope, tt.want) {
			t.Errorf("%s: %+v, want %+v", name, got.Envelope, tt.want)
		}
	}
}

// TestTranslate has what an answer to a message that was to be stored may be.
func TestTranslate(t *testing.T) {
	refused := func(status int, code jetstream.ErrorCode) error {
		return &jetstream.APIError{Code: status, ErrorCode: code}
	}
	tests := map[string]struct{ err, want error }{
		"nobody":    {nats.ErrNoResponders, queue.ErrUnavailable},
		"garbage":   {natsack.ErrAnswer, queue.ErrUnavailable},
		"closed":    {nats.ErrConnectionClosed, queue.ErrUnavailable},
		"full":      {refused(503, codeInsufficient), queue.ErrRefused},
		"too large": {refused(400, 10054), queue.ErrTooLarge},
		"no delays": {refused(400, 10188), queue.ErrUnsupported},
		"no leader": {refused(503, 10008), queue.ErrUnavailable},
		"other":     {refused(400, 1), queue.ErrRefused},
	}
	for name, tt := range tests {
		if err := translate(tt.err); !errors.Is(err, tt.want) || !errors.Is(err, tt.err) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
	if err := translate(nil); err != nil {
		t.Errorf("nothing: %v", err)
	}
}

// FuzzReceived reads any headers: it ends, and finds no server's header in the user's.
func FuzzReceived(f *testing.F) {
	f.Add("polywire-escaped", "1", "polywire-h-Nats-Msg-Id", "%41")
	f.Add("polywire-attempts", "-1", "polywire-published", "2026-13-01T00:00:00Z")
	f.Add("polywire-h-", "", "Nats-Schedule", "@at x")
	f.Fuzz(func(t *testing.T, n1, v1, n2, v2 string) {
		d := received("q", nats.Header{n1: {v1}, n2: {v2}}, nil)
		if d.Attempts < 0 || d.Queue != "q" && n1 != queue.FieldQueue && n2 != queue.FieldQueue {
			t.Errorf("%+v", d)
		}
		if len(d.Header) > 2 {
			t.Errorf("%q", d.Header)
		}
	})
}

// FuzzNames wants every queue's name back.
func FuzzNames(f *testing.F) {
	f.Add("orders")
	f.Add("a=2Eb")
	f.Fuzz(func(t *testing.T, name string) {
		enc := encodeName(name)
		if back, ok := decodeName(enc); back != name || ok != (name != "") {
			t.Errorf("%q: %q: %q, %v", name, enc, back, ok)
		}
		decodeName(name)
		due(name)
	})
}

func TestPlaceOf(t *testing.T) {
	const where = ".stream.worker."
	want := place{delivered: 3, seq: 12345, stored: 1700000000123456789}
	for reply, ok := range map[string]bool{
		"$JS.ACK.stream.worker.3.12345.99.1700000000123456789.7":               true,
		"$JS.ACK.hub.ACCHASH.stream.worker.3.12345.99.1700000000123456789.7.x": true, // nats-server ADR-15, with a domain
		"":                       false,
		"$JS.ACK.stream.worker.": false,
		"$JS.ACK.stream.other.3.12345.99.1700000000123456789.7":   false,
		"$JS.ACK.stream.worker.3.12345.99.1700000000123456789":    false, // cut off
		"$JS.ACK.stream.worker.3.-5.99.1700000000123456789.7":     false,
		"$JS.ACK.stream.worker.3..99.1700000000123456789.7":       false,
		"$JS.ACK.stream.worker.3.x.99.1700000000123456789.7":      false,
		"$JS.ACK.stream.worker.3.12345.99.18446744073709551615.7": false, // more than a time has
	} {
		if got, found := placeOf(reply, where); found != ok || ok && got != want {
			t.Errorf("%s: %+v, %v", reply, got, found)
		}
	}
}

func FuzzPlaceOf(f *testing.F) {
	f.Add("$JS.ACK.stream.worker.3.12345.99.1700000000123456789.7")
	f.Add("$JS.ACK.stream.worker.3.12345.99")
	f.Fuzz(func(t *testing.T, reply string) {
		p, ok := placeOf(reply, ".stream.worker.")
		if !ok && p != (place{}) || p.stored < 0 {
			t.Errorf("%q: %+v, %v", reply, p, ok)
		}
		if again := fmt.Sprintf("$JS.ACK.stream.worker.%d.%d.0.%d.0", p.delivered, p.seq, p.stored); ok {
			if q, _ := placeOf(again, ".stream.worker."); q != p {
				t.Errorf("%q: %+v, %+v", reply, p, q)
			}
		}
	})
}
