package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
)

func gostHeader(event, signature string) http.Header {
	return http.Header{HeaderGostEvent: {event}, HeaderGostSignature: {signature}}
}

func sha(secret, body string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(body))
	return hex.EncodeToString(mac.Sum(nil))
}

func gostSecret(t testing.TB, text string) Secret {
	t.Helper()
	s, err := GostSecret(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestGostSignature(t *testing.T) {
	// HMAC-SHA256 of RFC 4231, test case 2.
	got, err := SignGost(gostSecret(t, "Jefe"), []byte("what do ya want for nothing?"))
	if want := "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"; err != nil || got != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
	for _, s := range append(secrets(t, v1aSecret, v1aPublic), Secret{}) {
		if _, err := SignGost(s, nil); !errors.Is(err, ErrSecret) {
			t.Errorf("%v signs: %v", s, err)
		}
	}
}

func TestVerifyGost(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	const key = "my_secret_key"
	body := `{"event":"user.created","timestamp":1700000000,"data":{"id":1}}`
	right := sha(key, body)
	signed := func(event, body string) (http.Header, string) { return gostHeader(event, sha(key, body)), body }
	v, err := NewVerifier(VerifierOptions{Format: FormatGost, Now: func() time.Time { return now }},
		gostSecret(t, "newer"), gostSecret(t, key))
	if err != nil {
		t.Fatal(err)
	}
	got, err := v.Verify(gostHeader("user.created", right), []byte(body))
	if err != nil || got.ID != right || got.Type != "user.created" || !got.Timestamp.Equal(now) || got.Secret != 1 || string(got.Body) != body {
		t.Errorf("got %+v, %v", got, err)
	}
	type message struct {
		header http.Header
		body   string
	}
	of := func(h http.Header, b string) message { return message{h, b} }
	twice := gostHeader("user.created", right)
	twice.Add(HeaderGostSignature, right)
	for name, tt := range map[string]struct {
		m    message
		want error
	}{
		"no signature":         {message{http.Header{HeaderGostEvent: {"a"}}, body}, ErrMissingHeader},
		"no event":             {message{http.Header{HeaderGostSignature: {right}}, body}, ErrMissingHeader},
		"two signatures":       {message{twice, body}, ErrMalformed},
		"wrong":                {message{gostHeader("user.created", sha("other", body)), body}, ErrNoMatch},
		"upper case":           {message{gostHeader("user.created", strings.ToUpper(right)), body}, ErrNoMatch},
		"prefix":               {message{gostHeader("user.created", right[:32]), body}, ErrNoMatch},
		"long":                 {message{gostHeader("user.created", right+"00"), body}, ErrMalformed},
		"line break":           {message{gostHeader("user.created", right), body + "\n"}, ErrNoMatch},
		"another event":        {of(gostHeader("user.deleted", right), body), ErrMalformed},
		"no JSON":              {of(signed("a", "hello")), ErrMalformed},
		"no event in the body": {of(signed("a", `{"timestamp":1700000000}`)), ErrMalformed},
		"no time":              {of(signed("a", `{"event":"a"}`)), ErrMalformed},
		"time as text":         {of(signed("a", `{"event":"a","timestamp":"1700000000"}`)), ErrMalformed},
		"fraction":             {of(signed("a", `{"event":"a","timestamp":1.5}`)), ErrMalformed},
		"before 1970":          {of(signed("a", `{"event":"a","timestamp":-1}`)), ErrMalformed},
		"too large a time":     {of(signed("a", `{"event":"a","timestamp":1e30}`)), ErrMalformed},
		"too old":              {of(signed("a", `{"event":"a","timestamp":1699999699}`)), ErrTooOld},
		"too new":              {of(signed("a", `{"event":"a","timestamp":1700000301}`)), ErrTooNew},
		"far too new":          {of(signed("a", `{"event":"a","timestamp":999999999999}`)), ErrTooNew},
		"beyond all time":      {of(signed("a", `{"event":"a","timestamp":9223372036854775807}`)), ErrMalformed},
	} {
		if _, err := v.Verify(tt.m.header, []byte(tt.m.body)); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", name, err, tt.want)
		}
	}
}

// FuzzVerifyGost wants nothing to be accepted but what the key signed.
func FuzzVerifyGost(f *testing.F) {
	body := `{"event":"a","timestamp":1700000000,"data":null}`
	f.Add("a", sha("k", body), []byte(body), false)
	f.Add("a", "", []byte(`{"event":"a","timestamp":1e3}`), true)
	v, err := NewVerifier(VerifierOptions{Format: FormatGost, InsecureIgnoreTimestamp: true}, gostSecret(f, "k"))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, event, signature string, body []byte, sign bool) {
		if sign {
			signature = sha("k", string(body))
		}
		got, err := v.Verify(gostHeader(event, signature), body)
		if err == nil && (got.Type != event || signature != sha("k", string(body))) {
			t.Fatalf("accepted %q of %q", signature, event)
		}
	})
}
