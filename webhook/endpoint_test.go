package webhook

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
)

// endpoint returns one that is valid.
func endpoint(t testing.TB, url string) Endpoint {
	t.Helper()
	return Endpoint{ID: "ep_1", URL: url, Types: []string{"*"}, Secrets: secrets(t, v1Secret)}
}

func TestEndpointValidate(t *testing.T) {
	many := make(Headers)
	for i := range MaxHeaders + 1 {
		many["X-"+strings.Repeat("a", i)] = "b"
	}
	tests := []struct {
		name   string
		change func(e *Endpoint)
		want   error // nil: valid
	}{
		{"as it is", func(*Endpoint) {}, nil},
		{"header", func(e *Endpoint) { e.Headers = Headers{"Authorization": "Bearer a b", "user-agent": "x"} }, nil},
		{"empty value", func(e *Endpoint) { e.Headers = Headers{"X-A": ""} }, nil},
		{"inside address", func(e *Endpoint) { e.URL = "http://10.0.0.1:9/" }, nil}, // the client's policy refuses it
		{"rate", func(e *Endpoint) { e.Rate, e.Burst = 0.5, 10 }, nil},
		{"Gost", func(e *Endpoint) { e.Format, e.Secrets = FormatGost, []Secret{gostSecret(t, "a")} }, nil},
		{"Gost with a symmetric secret", func(e *Endpoint) { e.Format = FormatGost }, nil},
		{"no id", func(e *Endpoint) { e.ID = "" }, ErrEndpoint},
		{"dot in the id", func(e *Endpoint) { e.ID = "a.b" }, ErrEndpoint},
		{"no URL", func(e *Endpoint) { e.URL = "" }, ErrURL},
		{"URL with a password", func(e *Endpoint) { e.URL = "https://a:b@example.com" }, ErrURL},
		{"URL with a number", func(e *Endpoint) { e.URL = "https://2130706433/" }, ErrURL},
		{"no types", func(e *Endpoint) { e.Types = nil }, ErrEndpoint},
		{"wrong type", func(e *Endpoint) { e.Types = []string{"a", "b c"} }, ErrType},
		{"many types", func(e *Endpoint) { e.Types = make([]string, MaxPatterns+1) }, ErrEndpoint},
		{"no secret", func(e *Endpoint) { e.Secrets = nil }, ErrSecret},
		{"public key", func(e *Endpoint) { e.Secrets = secrets(t, v1aPublic) }, ErrSecret},
		{"Gost secret", func(e *Endpoint) { e.Secrets = []Secret{gostSecret(t, "a")} }, ErrSecret},
		{"Gost without a secret", func(e *Endpoint) { e.Format, e.Secrets = FormatGost, nil }, ErrSecret},
		{"Gost with a key pair", func(e *Endpoint) { e.Format, e.Secrets = FormatGost, secrets(t, v1aSecret) }, ErrSecret},
		{"no such format", func(e *Endpoint) { e.Format = 3 }, ErrEndpoint},
		{"long timeout", func(e *Endpoint) { e.Timeout = MaxTimeout + 1 }, ErrEndpoint},
		{"negative timeout", func(e *Endpoint) { e.Timeout = -1 }, ErrEndpoint},
		{"negative rate", func(e *Endpoint) { e.Rate = -1 }, ErrEndpoint},
		{"rate that is none", func(e *Endpoint) { e.Rate = math.NaN() }, ErrEndpoint},
		{"endless rate", func(e *Endpoint) { e.Rate = math.Inf(1) }, ErrEndpoint},
		{"burst without a rate", func(e *Endpoint) { e.Burst = 1 }, ErrEndpoint},
		{"negative burst", func(e *Endpoint) { e.Rate, e.Burst = 1, -1 }, ErrEndpoint},
		{"concurrency", func(e *Endpoint) { e.Concurrency = -1 }, ErrEndpoint},
		{"long description", func(e *Endpoint) { e.Description = strings.Repeat("a", 1025) }, ErrEndpoint},
		{"line break in a header", func(e *Endpoint) { e.Headers = Headers{"X-A": "b\r\nX-B: c"} }, ErrEndpoint},
		{"lone line feed", func(e *Endpoint) { e.Headers = Headers{"X-A": "b\nc"} }, ErrEndpoint},
		{"NUL", func(e *Endpoint) { e.Headers = Headers{"X-A": "b\x00"} }, ErrEndpoint},
		{"DEL", func(e *Endpoint) { e.Headers = Headers{"X-A": "b\x7f"} }, ErrEndpoint},
		{"letters outside ASCII", func(e *Endpoint) { e.Headers = Headers{"X-A": "ż"} }, ErrEndpoint},
		{"blank around", func(e *Endpoint) { e.Headers = Headers{"X-A": " b"} }, ErrEndpoint},
		{"name with a colon", func(e *Endpoint) { e.Headers = Headers{"X-A:": "b"} }, ErrEndpoint},
		{"name with a line break", func(e *Endpoint) { e.Headers = Headers{"X-A\r\nX-B": "b"} }, ErrEndpoint},
		{"name with a blank", func(e *Endpoint) { e.Headers = Headers{"X A": "b"} }, ErrEndpoint},
		{"no name", func(e *Endpoint) { e.Headers = Headers{"": "b"} }, ErrEndpoint},
		{"twice", func(e *Endpoint) { e.Headers = Headers{"x-a": "b", "X-A": "c"} }, ErrEndpoint},
		{"many headers", func(e *Endpoint) { e.Headers = many }, ErrEndpoint},
		{"large headers", func(e *Endpoint) { e.Headers = Headers{"X-A": strings.Repeat("a", MaxHeaderBytes)} }, ErrEndpoint},
	}
	for _, name := range []string{
		"host", "Content-Length", "Transfer-Encoding", "Connection", "Upgrade", "TE", "Trailer", "Keep-Alive", "Expect",
		"Content-Type", "Content-Encoding", "Accept-Encoding", "Proxy-Authorization", "HTTP2-Settings",
		"webhook-id", "Webhook-Signature", "WEBHOOK-TIMESTAMP", "x-gost-event", "X-Gost-Signature",
	} {
		tests = append(tests, struct {
			name   string
			change func(e *Endpoint)
			want   error
		}{"header " + name, func(e *Endpoint) { e.Headers = Headers{name: "a"} }, ErrEndpoint})
	}
	for _, tt := range tests {
		e := endpoint(t, "https://example.com/hook")
		tt.change(&e)
		err := e.Validate()
		if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) || err != nil && !errors.Is(err, ErrEndpoint) {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
		}
	}
}

func TestEndpointWants(t *testing.T) {
	e := endpoint(t, "https://example.com")
	e.Types = []string{"user.created", "payment.*"}
	for typ, want := range map[string]bool{"user.created": true, "payment.approved": true, "user.deleted": false, "payment": false} {
		if e.Wants(typ) != want {
			t.Errorf("%s: want %v", typ, want)
		}
	}
	e.Disabled = true
	if e.Wants("user.created") {
		t.Error("a disabled endpoint wants an event")
	}
}

func TestEndpointDefaults(t *testing.T) {
	e := endpoint(t, "https://example.com")
	e.Rate = 2.5
	got := e.WithDefaults()
	if got.Format != FormatStandard || got.Timeout != 20*time.Second || got.Concurrency != 8 || got.Burst != 3 || got.Schedule.Tries() != 10 {
		t.Errorf("got %+v", got.json())
	}
	e.Format = FormatGost
	if got := e.WithDefaults(); got.Schedule.Tries() != 5 {
		t.Errorf("%d tries", got.Schedule.Tries())
	}
	if e.Format, e.Rate = 0, 0.1; e.WithDefaults().Burst != 1 {
		t.Errorf("burst %d", e.WithDefaults().Burst)
	}
}

func TestEndpointIsStored(t *testing.T) {
	schedule, err := NewSchedule(0.1, 0, 1500*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	full := Endpoint{
		ID: "ep_2", Description: "d", URL: "https://example.com/a?b=c", Types: []string{"a.*", "b"}, Headers: Headers{"X-A": "b"},
		Secrets: secrets(t, minSecret, v1Secret, v1aSecret), Format: FormatStandard, Timeout: 1500 * time.Millisecond, Rate: 2.5, Burst: 7,
		Concurrency: 3, Ordered: true, Schedule: schedule, Disabled: true, DisabledReason: "gone",
	}
	gost := endpoint(t, "https://example.com")
	gost.Format, gost.Secrets = FormatGost, []Secret{gostSecret(t, "whsec_any text")}
	for _, e := range []Endpoint{full, gost, endpoint(t, "https://example.com")} {
		b, err := MarshalEndpoint(e)
		if err != nil {
			t.Fatal(err)
		}
		got, err := UnmarshalEndpoint(b)
		if want := e.WithDefaults(); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got  %+v, %v\nwant %+v", got.json(), err, want.json())
		}
	}
	good, err := MarshalEndpoint(full)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := MarshalEndpoint(Endpoint{}); !errors.Is(err, ErrEndpoint) {
		t.Errorf("an empty endpoint: %v", err)
	}
	if _, err := UnmarshalEndpoint(bytes.Replace(good, []byte("{"), []byte(`{"new_field":1,`), 1)); err != nil {
		t.Errorf("a field of later versions: %v", err)
	}
	for old, with := range map[string]string{
		`{"id"`: `["id"`, `"ep_2"`: `""`, `"ep_2" `: `1`, `"standard"`: `"svix"`, `"1.5s"`: `"soon"`, `whsec_`: `hwsec_`,
		`"jitter":0.1`: `"jitter":2`, `"0s"`: `"-1s"`, `"rate":2.5`: `"rate":1e99`, `["whsec_`: `["","whsec_`,
	} {
		b := bytes.Replace(good, []byte(strings.TrimSpace(old)), []byte(with), 1)
		if _, err := UnmarshalEndpoint(b); !errors.Is(err, ErrEndpoint) {
			t.Errorf("%s instead of %s: %v", with, old, err)
		}
	}
	masked, err := full.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := UnmarshalEndpoint(masked); err == nil {
		t.Error("a listing is taken for a stored endpoint")
	}
}

// FuzzUnmarshalEndpoint wants what is accepted to be valid and to stay the same.
func FuzzUnmarshalEndpoint(f *testing.F) {
	b, err := MarshalEndpoint(endpoint(f, "https://example.com"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"id":"a","url":"https://a.b","types":["*"],"secrets":["x"],"format":"gost","timeout":"1s"}`))
	f.Add([]byte(`{`))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := UnmarshalEndpoint(b)
		if err != nil {
			if !errors.Is(err, ErrEndpoint) {
				t.Fatalf("an error of another kind: %v", err)
			}
			return
		}
		again, err := MarshalEndpoint(e)
		if err != nil {
			t.Fatal(err)
		}
		got, err := UnmarshalEndpoint(again)
		if err != nil || got.URL != e.URL || len(got.Secrets) != len(e.Secrets) || got.ID != e.ID {
			t.Fatalf("it changes: %v", err)
		}
	})
}
