package webhook

import (
	"bytes"
	"io"
	"net/http"
	"testing"
	"time"
)

// BenchmarkDeliver is one delivery to a receiver on this machine, beside a bare
// loop that signs and posts.
func BenchmarkDeliver(b *testing.B) {
	s := serve(b, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	body := []byte(`{"type":"payment.approved","timestamp":"2026-01-02T03:04:05Z","data":{"id":"pay_1","amount":100}}`)
	b.Run("client", func(b *testing.B) {
		c := newClient(b, inside)
		d := prepare(b, c, endpoint(b, s.URL))
		b.ReportAllocs()
		for b.Loop() {
			if a := d.Deliver(b.Context(), "msg_1", "payment.approved", body, 1); a.Class != ClassOK {
				b.Fatal(a)
			}
		}
	})
	b.Run("bare", func(b *testing.B) {
		signer, err := NewSigner(secret(b, v1Secret))
		if err != nil {
			b.Fatal(err)
		}
		client := &http.Client{Transport: &http.Transport{}}
		defer client.CloseIdleConnections()
		b.ReportAllocs()
		for b.Loop() {
			r, err := http.NewRequestWithContext(b.Context(), http.MethodPost, s.URL, bytes.NewReader(body))
			if err != nil {
				b.Fatal(err)
			}
			if err := signer.SetHeaders(r.Header, "msg_1", time.Now(), body); err != nil {
				b.Fatal(err)
			}
			resp, err := client.Do(r)
			if err != nil {
				b.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
	})
}

// BenchmarkVerify is the verification of one message.
func BenchmarkVerify(b *testing.B) {
	for name, tt := range map[string][2]string{"v1": {v1Secret, v1Value}, "v1a": {v1aPublic, v1aValue}} {
		b.Run(name, func(b *testing.B) {
			v := verifierAt(b, time.Unix(v1Stamp, 0), secret(b, tt[0]))
			h := header(v1ID, "1614265330", tt[1])
			body := []byte(v1Body)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(h, body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkSign is one signature, as of each delivery.
func BenchmarkSign(b *testing.B) {
	signer, err := NewSigner(secret(b, v1Secret))
	if err != nil {
		b.Fatal(err)
	}
	body := bytes.Repeat([]byte("a"), 250)
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := signer.Sign("msg_26CharactersAsTheyAreMade1", now, body); err != nil {
			b.Fatal(err)
		}
	}
}
