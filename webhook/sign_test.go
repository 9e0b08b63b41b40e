package webhook

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

const (
	v1Secret  = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	v1aSecret = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
	v1aPublic = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
	minSecret = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX"
	v1ID      = "msg_p5jXN8AQM9LWM0D4loKWxJek"
	v1Stamp   = 1614265330
	v1Body    = `{"test": 2432232314}`
	v1Value   = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
	v1aValue  = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
	wrongV1   = "v1,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc="
)

// vector is one of testdata/vectors.json: what the secrets of sign make of a
// message, which each secret of verify accepts.
type vector struct {
	Name      string   `json:"name"`
	Sign      []string `json:"sign"`
	Verify    []string `json:"verify"`
	ID        string   `json:"id"`
	Timestamp int64    `json:"timestamp"`
	Body      string   `json:"body"`
	Signature string   `json:"signature"`
}

func vectors(t testing.TB) []vector {
	t.Helper()
	b, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var list []vector
	if err := json.Unmarshal(b, &list); err != nil || len(list) == 0 {
		t.Fatalf("%d vectors, %v", len(list), err)
	}
	return list
}

func secret(t testing.TB, text string) Secret {
	t.Helper()
	s, err := ParseSecret(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func secrets(t testing.TB, texts ...string) []Secret {
	t.Helper()
	list := make([]Secret, len(texts))
	for i, text := range texts {
		list[i] = secret(t, text)
	}
	return list
}

// verifierAt returns a verifier whose clock stands.
func verifierAt(t testing.TB, now time.Time, list ...Secret) *Verifier {
	t.Helper()
	v, err := NewVerifier(VerifierOptions{Now: func() time.Time { return now }}, list...)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func header(id, stamp, signature string) http.Header {
	h := http.Header{}
	h.Set(HeaderID, id)
	h.Set(HeaderTimestamp, stamp)
	h.Set(HeaderSignature, signature)
	return h
}

func TestVectors(t *testing.T) {
	for _, v := range vectors(t) {
		t.Run(v.Name, func(t *testing.T) {
			signer, err := NewSigner(secrets(t, v.Sign...)...)
			if err != nil {
				t.Fatal(err)
			}
			at := time.Unix(v.Timestamp, 999)
			h := http.Header{}
			if err := signer.SetHeaders(h, v.ID, at, []byte(v.Body)); err != nil {
				t.Fatal(err)
			}
			if got := h.Get(HeaderSignature); got != v.Signature {
				t.Errorf("got  %s\nwant %s", got, v.Signature)
			}
			for i, text := range v.Verify {
				got, err := verifierAt(t, at, secret(t, text)).Verify(h, []byte(v.Body))
				if err != nil {
					t.Errorf("secret %d: %v", i, err)
				}
				if got.ID != v.ID || got.Timestamp.Unix() != v.Timestamp || string(got.Body) != v.Body {
					t.Errorf("got %+v", got)
				}
				if _, err := verifierAt(t, at, secret(t, text)).Verify(h, []byte(v.Body+"\n")); !errors.Is(err, ErrNoMatch) {
					t.Errorf("another body: %v", err)
				}
			}
		})
	}
}

// TestAgainstReference has the public Go library verify what is signed here,
// and the other way round.
func TestAgainstReference(t *testing.T) {
	for _, v := range vectors(t) {
		if !strings.HasPrefix(v.Verify[0], symmetricPrefix) {
			continue // it knows v1 only
		}
		for _, text := range v.Verify {
			reference, err := standardwebhooks.NewWebhook(text)
			if err != nil {
				t.Fatal(err)
			}
			now := time.Now()
			signer, err := NewSigner(secrets(t, v.Sign...)...)
			if err != nil {
				t.Fatal(err)
			}
			h := http.Header{}
			if err := signer.SetHeaders(h, v.ID, now, []byte(v.Body)); err != nil {
				t.Fatal(err)
			}
			if err := reference.Verify([]byte(v.Body), h); err != nil {
				t.Errorf("%s: the reference refuses ours: %v", v.Name, err)
			}
			theirs, err := reference.Sign(v.ID, now, []byte(v.Body))
			if err != nil {
				t.Fatal(err)
			}
			h = header(v.ID, strconv.FormatInt(now.Unix(), 10), theirs)
			if _, err := verifierAt(t, now, secret(t, text)).Verify(h, []byte(v.Body)); err != nil {
				t.Errorf("%s: the reference's is refused: %v", v.Name, err)
			}
		}
	}
}

func TestVerify(t *testing.T) {
	now := time.Unix(v1Stamp, 0)
	stamp := strconv.Itoa(v1Stamp)
	bare := strings.TrimSuffix(v1Value, "=")
	tests := []struct {
		name   string
		header http.Header
		body   string
		want   error
	}{
		{"right", header(v1ID, stamp, v1Value), v1Body, nil},
		{"no id", header("", stamp, v1Value), v1Body, ErrMissingHeader},
		{"no timestamp", header(v1ID, "", v1Value), v1Body, ErrMissingHeader},
		{"no signature", header(v1ID, stamp, ""), v1Body, ErrMissingHeader},
		{"no headers", http.Header{}, v1Body, ErrMissingHeader},
		{"wrong signature", header(v1ID, stamp, wrongV1), v1Body, ErrNoMatch},
		{"empty signature", header(v1ID, stamp, "v1,"), v1Body, ErrNoMatch},
		{"no version", header(v1ID, stamp, strings.TrimPrefix(v1Value, "v1,")), v1Body, ErrNoMatch},
		{"version alone", header(v1ID, stamp, "v1"), v1Body, ErrNoMatch},
		{"other version", header(v1ID, stamp, "v2"+v1Value[2:]), v1Body, ErrNoMatch},
		{"v1a with the bytes of v1", header(v1ID, stamp, "v1a"+v1Value[2:]), v1Body, ErrNoMatch},
		{"upper-case version", header(v1ID, stamp, "V1"+v1Value[2:]), v1Body, ErrNoMatch},
		{"right one among others", header(v1ID, stamp, wrongV1+" v2,"+wrongV1[3:]+" "+v1Value), v1Body, nil},
		{"right one first", header(v1ID, stamp, v1Value+" "+wrongV1), v1Body, nil},
		{"rubbish beside", header(v1ID, stamp, "a ,,, v1a,!! "+v1Value), v1Body, nil},
		{"several blanks", header(v1ID, stamp, wrongV1+"   "+v1Value), v1Body, nil},
		{"blanks around", header(v1ID, stamp, "  "+v1Value+"  "), v1Body, nil},
		{"tab", header(v1ID, stamp, wrongV1+"\t"+v1Value), v1Body, ErrNoMatch},
		{"blank inside", header(v1ID, stamp, "v1, "+v1Value[3:]), v1Body, ErrNoMatch},
		{"comma instead of a blank", header(v1ID, stamp, wrongV1+","+v1Value), v1Body, ErrNoMatch},
		{"line break after the body", header(v1ID, stamp, v1Value), v1Body + "\n", ErrNoMatch},
		{"another id", header("msg_other", stamp, v1Value), v1Body, ErrNoMatch},
		{"another time", header(v1ID, "1614265331", v1Value), v1Body, ErrNoMatch},
		{"leading zero", header(v1ID, "0"+stamp, v1Value), v1Body, ErrMalformed},
		{"plus", header(v1ID, "+"+stamp, v1Value), v1Body, ErrMalformed},
		{"minus", header(v1ID, "-1", v1Value), v1Body, ErrMalformed},
		{"minus zero", header(v1ID, "-0", v1Value), v1Body, ErrMalformed},
		{"fraction", header(v1ID, stamp+".0", v1Value), v1Body, ErrMalformed},
		{"hexadecimal", header(v1ID, "0x603799f2", v1Value), v1Body, ErrMalformed},
		{"underscores", header(v1ID, "1_614_265_330", v1Value), v1Body, ErrMalformed},
		{"blank before the time", header(v1ID, " "+stamp, v1Value), v1Body, ErrMalformed},
		{"milliseconds", header(v1ID, stamp+"000", v1Value), v1Body, ErrMalformed},
		{"too large a time", header(v1ID, "9999999999999999999999", v1Value), v1Body, ErrMalformed},
		{"dot in the id", header("a.b", stamp, v1Value), v1Body, ErrMalformed},
		{"blank in the id", header("a b", stamp, v1Value), v1Body, ErrMalformed},
		{"control character in the id", header("a\x00", stamp, v1Value), v1Body, ErrMalformed},
		{"long id", header(strings.Repeat("a", 256), stamp, v1Value), v1Body, ErrMalformed},
		{"many signatures", header(v1ID, stamp, strings.Repeat("v1, ", 64)+v1Value), v1Body, ErrMalformed},
		{"long signature", header(v1ID, stamp, strings.Repeat("a", 5000)), v1Body, ErrMalformed},
		{"URL-safe base64", header(v1ID, stamp, strings.NewReplacer("+", "-", "/", "_").Replace(v1Value)), v1Body, ErrNoMatch},
		{"no padding", header(v1ID, stamp, bare), v1Body, ErrNoMatch},
		{"more padding", header(v1ID, stamp, v1Value+"="), v1Body, ErrNoMatch},
		{"line break in base64", header(v1ID, stamp, v1Value[:10]+"\n"+v1Value[10:]), v1Body, ErrNoMatch},
		{"loose last bits", header(v1ID, stamp, bare[:len(bare)-1]+"F="), v1Body, ErrNoMatch},
	}
	for i, name := range []string{HeaderID, HeaderTimestamp, HeaderSignature} {
		h := header(v1ID, stamp, v1Value)
		h.Add(name, h.Get(name))
		tests = append(tests, struct {
			name   string
			header http.Header
			body   string
			want   error
		}{"header " + strconv.Itoa(i) + " twice", h, v1Body, ErrMalformed})
	}
	v := verifierAt(t, now, secret(t, v1Secret))
	for _, tt := range tests {
		if _, err := v.Verify(tt.header, []byte(tt.body)); !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
		}
	}
}

func TestVerifyPublic(t *testing.T) {
	now, stamp := time.Unix(v1Stamp, 0), strconv.Itoa(v1Stamp)
	v := verifierAt(t, now, secret(t, v1aPublic))
	for name, tt := range map[string]struct {
		signature string
		want      error
	}{
		"right":               {v1aValue, nil},
		"among others":        {v1Value + " " + v1aValue, nil},
		"v1 with its bytes":   {"v1" + v1aValue[3:], ErrNoMatch},
		"no padding":          {strings.TrimRight(v1aValue, "="), ErrNoMatch},
		"URL-safe":            {strings.ReplaceAll(v1aValue, "/", "_"), ErrNoMatch},
		"line break":          {v1aValue[:20] + "\n" + v1aValue[20:], ErrNoMatch},
		"short":               {"v1a,AAAA", ErrNoMatch},
		"empty":               {"v1a,", ErrNoMatch},
		"one letter replaced": {strings.Replace(v1aValue, "hnO3", "hnO4", 1), ErrNoMatch},
		"symmetric signature": {v1Value, ErrNoMatch},
	} {
		if _, err := v.Verify(header(v1ID, stamp, tt.signature), []byte(v1Body)); !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
			t.Errorf("%s: got %v, want %v", name, err, tt.want)
		}
	}
	if _, err := v.Verify(header(v1ID, stamp, v1aValue), []byte(v1Body+" ")); !errors.Is(err, ErrNoMatch) {
		t.Errorf("another body: %v", err)
	}
}

func TestTolerance(t *testing.T) {
	now := time.Unix(1_700_000_000, 500_000_000)
	signer, err := NewSigner(secret(t, v1Secret))
	if err != nil {
		t.Fatal(err)
	}
	short := VerifierOptions{Now: func() time.Time { return now }, Tolerance: 10 * time.Second}
	lax := VerifierOptions{Now: func() time.Time { return now }, InsecureIgnoreTimestamp: true}
	five := VerifierOptions{Now: func() time.Time { return now }}
	for _, tt := range []struct {
		o    VerifierOptions
		off  time.Duration
		want error
	}{
		{five, 0, nil},
		{five, -299 * time.Second, nil},
		{five, -5*time.Minute - time.Second, ErrTooOld},
		{five, 5 * time.Minute, nil},
		{five, 5*time.Minute + time.Second, ErrTooNew},
		{short, -9 * time.Second, nil},
		{short, -11 * time.Second, ErrTooOld},
		{short, 11 * time.Second, ErrTooNew},
		{lax, -24 * 365 * time.Hour, nil},
		{lax, 24 * 365 * time.Hour, nil},
	} {
		v, err := NewVerifier(tt.o, secret(t, v1Secret))
		if err != nil {
			t.Fatal(err)
		}
		h := http.Header{}
		if err := signer.SetHeaders(h, "msg_1", now.Add(tt.off), nil); err != nil {
			t.Fatal(err)
		}
		if _, err := v.Verify(h, nil); !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
			t.Errorf("off by %v: got %v, want %v", tt.off, err, tt.want)
		}
	}
}

// TestRotation replaces a secret step by step; no message is refused.
func TestRotation(t *testing.T) {
	older, newer := secret(t, v1Secret), secret(t, minSecret)
	pair, err := GenerateSigningKey()
	if err != nil {
		t.Fatal(err)
	}
	public, ok := pair.Public()
	if !ok {
		t.Fatal("no public key")
	}
	now := time.Unix(v1Stamp, 0)
	for i, step := range []struct {
		sign, verify []Secret
		fits         int
		want         error
	}{
		{[]Secret{older}, []Secret{older}, 0, nil},
		{[]Secret{newer, older}, []Secret{older}, 0, nil},
		{[]Secret{newer, older}, []Secret{newer, older}, 0, nil},
		{[]Secret{older}, []Secret{newer, older}, 1, nil},
		{[]Secret{newer}, []Secret{newer, older}, 0, nil},
		{[]Secret{newer}, []Secret{newer}, 0, nil},
		{[]Secret{pair, newer}, []Secret{newer}, 0, nil},
		{[]Secret{pair, newer}, []Secret{public}, 0, nil},
		{[]Secret{pair}, []Secret{newer, pair}, 1, nil},
		{[]Secret{newer}, []Secret{older}, 0, ErrNoMatch},
		{[]Secret{newer}, []Secret{public}, 0, ErrNoMatch},
	} {
		signer, err := NewSigner(step.sign...)
		if err != nil {
			t.Fatal(err)
		}
		h := http.Header{}
		if err := signer.SetHeaders(h, v1ID, now, []byte(v1Body)); err != nil {
			t.Fatal(err)
		}
		got, err := verifierAt(t, now, step.verify...).Verify(h, []byte(v1Body))
		if !errors.Is(err, step.want) || (err == nil) != (step.want == nil) || got.Secret != step.fits {
			t.Errorf("step %d: got secret %d and %v, want %d and %v", i, got.Secret, err, step.fits, step.want)
		}
	}
}

// TestSignTogether signs different messages with one signer at the same time.
func TestSignTogether(t *testing.T) {
	list := []Secret{GenerateSecret(), GenerateSecret()}
	signer, err := NewSigner(list...)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1_750_000_000, 0)
	verifiers := []*Verifier{verifierAt(t, now, list[0]), verifierAt(t, now, list[1])}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for n := range 50 {
				id, body := fmt.Sprintf("msg_%d_%d", g, n), bytes.Repeat([]byte{byte(n)}, 10*g*n)
				h := make(http.Header)
				if err := signer.SetHeaders(h, id, now, body); err != nil {
					t.Error(err)
				}
				for i, v := range verifiers {
					if m, err := v.Verify(h, body); err != nil || m.ID != id {
						t.Errorf("%s, secret %d: got %s, %v", id, i, m.ID, err)
					}
				}
			}
		})
	}
	wg.Wait()
}

func TestSignerRefuses(t *testing.T) {
	gost, err := GostSecret("my_secret_key")
	if err != nil {
		t.Fatal(err)
	}
	for name, list := range map[string][]Secret{
		"none": nil, "empty": {{}}, "public key": {secret(t, v1aPublic)}, "Gost": {gost},
		"too many": make([]Secret, MaxSecrets+1),
	} {
		if _, err := NewSigner(list...); !errors.Is(err, ErrSecret) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	signer, err := NewSigner(secret(t, v1Secret))
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"", "a.b", "a b", "a\n", "ż", "\x7f", strings.Repeat("a", 256)} {
		if _, err := signer.Sign(id, time.Unix(1, 0), nil); !errors.Is(err, ErrID) {
			t.Errorf("id %q: %v", id, err)
		}
	}
	for _, at := range []time.Time{{}, time.Unix(-1, 0), time.Unix(1e12, 0)} {
		if _, err := signer.Sign("a", at, nil); err == nil {
			t.Errorf("%v is signed", at)
		}
	}
	if id := NewID(); !validID(id) || id == NewID() {
		t.Errorf("id %q", id)
	}
}

func TestVerifierRefuses(t *testing.T) {
	gost, err := GostSecret("my_secret_key")
	if err != nil {
		t.Fatal(err)
	}
	one := []Secret{secret(t, v1Secret)}
	for name, tt := range map[string]struct {
		o    VerifierOptions
		list []Secret
	}{
		"no secret":          {VerifierOptions{}, nil},
		"empty secret":       {VerifierOptions{}, []Secret{{}}},
		"too many":           {VerifierOptions{}, make([]Secret, MaxSecrets+1)},
		"Gost's":             {VerifierOptions{}, []Secret{gost}},
		"public for Gost":    {VerifierOptions{Format: FormatGost}, secrets(t, v1aPublic)},
		"no such format":     {VerifierOptions{Format: 9}, one},
		"negative tolerance": {VerifierOptions{Tolerance: -1}, one},
		"tiny tolerance":     {VerifierOptions{Tolerance: time.Millisecond}, one},
	} {
		if _, err := NewVerifier(tt.o, tt.list...); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

// FuzzVerify wants what is accepted to be what the signer makes, and nothing to
// be accepted that was not signed.
func FuzzVerify(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add(v.ID, strconv.FormatInt(v.Timestamp, 10), v.Signature, []byte(v.Body))
	}
	f.Add(v1ID, "01614265330", "v1,", []byte("{}"))
	f.Add(v1ID, "1614265330", " "+v1Value+"  v1a,AAAA", []byte(v1Body))
	all := secrets(f, v1Secret, minSecret, v1aSecret,
		"whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw==")
	v, err := NewVerifier(VerifierOptions{InsecureIgnoreTimestamp: true}, all...)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, id, stamp, signature string, body []byte) {
		got, err := v.Verify(header(id, stamp, signature), body)
		if err != nil {
			for _, known := range []error{ErrMissingHeader, ErrMalformed, ErrNoMatch} {
				if errors.Is(err, known) {
					return
				}
			}
			t.Fatalf("an error of another kind: %v", err)
		}
		signer, err := NewSigner(all[got.Secret])
		if err != nil {
			t.Fatal(err)
		}
		want, err := signer.Sign(id, got.Timestamp, body)
		if err != nil || !strings.Contains(" "+signature+" ", " "+want+" ") {
			t.Fatalf("accepted %q, which is not %q (%v)", signature, want, err)
		}
		if strconv.FormatInt(got.Timestamp.Unix(), 10) != stamp {
			t.Fatalf("the time %q was read as %v", stamp, got.Timestamp)
		}
	})
}
