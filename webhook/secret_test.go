package webhook

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func symmetric(n int) string {
	return symmetricPrefix + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, n))
}

func TestParseSecret(t *testing.T) {
	pair := make([]byte, 64)
	copy(pair, ed25519.NewKeyFromSeed(make([]byte, 32)))
	mixed := bytes.Clone(pair)
	mixed[63] ^= 1
	encode := base64.StdEncoding.EncodeToString
	tests := []struct {
		name, text string
		ok         bool
	}{
		{"symmetric", v1Secret, true},
		{"24 bytes", symmetric(24), true},
		{"64 bytes", symmetric(64), true},
		{"private", v1aSecret, true},
		{"public", v1aPublic, true},
		{"a pair", privatePrefix + encode(pair), true},
		{"empty", "", false},
		{"prefix alone", "whsec_", false},
		{"no prefix", strings.TrimPrefix(v1Secret, symmetricPrefix), false},
		{"prefix typo", "hwsec_" + v1Secret[6:], false},
		{"upper-case prefix", "WHSEC_" + v1Secret[6:], false},
		{"prefix twice", "whsec_" + v1Secret, false},
		{"23 bytes", symmetric(23), false},
		{"65 bytes", symmetric(65), false},
		{"75 bytes", symmetric(75), false},
		{"huge", symmetric(1 << 20), false},
		{"blank before", " " + v1Secret, false},
		{"line break after", v1Secret + "\n", false},
		{"line break inside", v1Secret[:20] + "\n" + v1Secret[20:], false},
		{"no padding", strings.TrimRight(symmetric(25), "="), false},
		{"more padding", v1Secret + "=", false},
		{"URL-safe", strings.NewReplacer("+", "-", "/", "_").Replace(v1aSecret), false},
		{"loose last bits", strings.TrimRight(symmetric(25), "=")[:39] + "d==", false},
		{"masked", "whsec_***", false},
		{"halves of two keys", privatePrefix + encode(mixed), false},
		{"seed alone", privatePrefix + encode(pair[:32]), false},
		{"private as public", publicPrefix + encode(pair), false},
		{"private as symmetric", symmetricPrefix + encode(make([]byte, 65)), false},
	}
	for _, tt := range tests {
		s, err := ParseSecret(tt.text)
		if (err == nil) != tt.ok || err != nil && !errors.Is(err, ErrSecret) {
			t.Errorf("%s: got %v, want accepted: %v", tt.name, err, tt.ok)
		}
		if err == nil && s.Reveal() != tt.text {
			t.Errorf("%s: it became %q", tt.name, s.Reveal())
		}
		if err != nil && len(tt.text) > 20 && strings.Contains(err.Error(), tt.text[10:20]) {
			t.Errorf("%s: the error shows it: %v", tt.name, err)
		}
	}
}

func TestGenerated(t *testing.T) {
	a, b := GenerateSecret(), GenerateSecret()
	if a.Equal(b) || len(a.key().bytes) != 32 {
		t.Errorf("%d bytes, equal: %v", len(a.key().bytes), a.Equal(b))
	}
	again := secret(t, a.Reveal())
	if !again.Equal(a) || a.Equal(Secret{}) || !(Secret{}).Equal(Secret{}) || (Secret{}).Equal(a) {
		t.Error("Equal is wrong")
	}
	pair, err := GenerateSigningKey()
	if err != nil {
		t.Fatal(err)
	}
	public, ok := pair.Public()
	if !ok || !strings.HasPrefix(public.Reveal(), publicPrefix) {
		t.Errorf("public key %v, %v", public, ok)
	}
	if got, _ := secret(t, v1aSecret).Public(); got.Reveal() != v1aPublic {
		t.Errorf("public key %s", got.Reveal())
	}
	if _, ok := a.Public(); ok || (!Secret{}.IsZero()) || a.IsZero() {
		t.Error("a symmetric secret has a public key, or IsZero is wrong")
	}
	raw := bytes.Repeat([]byte{1}, 24)
	s, err := NewSecret(raw)
	if err != nil {
		t.Fatal(err)
	}
	raw[0] = 2
	if s.key().bytes[0] != 1 {
		t.Error("the secret changes with the caller's slice")
	}
	for _, text := range []string{"", strings.Repeat("a", 1025)} {
		if _, err := GostSecret(text); !errors.Is(err, ErrSecret) {
			t.Errorf("a Gost secret of %d bytes: %v", len(text), err)
		}
	}
}

// TestSecretsAreMasked prints, logs and encodes all that has a secret in it, in
// every way that there is.
func TestSecretsAreMasked(t *testing.T) {
	gost, err := GostSecret("hush-gost")
	if err != nil {
		t.Fatal(err)
	}
	list := append(secrets(t, v1Secret, v1aSecret), gost)
	e := endpoint(t, "https://example.com/hook-hush")
	e.Secrets = list[:2]
	e.Headers = map[string]string{"Authorization": "hush-token"}
	hidden := struct {
		secret Secret
		byRef  *Secret
	}{list[0], &list[1]}
	var out strings.Builder
	text, js := slog.New(slog.NewTextHandler(&out, nil)), slog.New(slog.NewJSONHandler(&out, nil))
	values := []any{list[0], list[1], list[2], &list[0], list, e.Headers, map[string]Secret{"a": list[2]}, hidden}
	for _, v := range append(values, e, &e, []Endpoint{e}) {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		text.Info("m", "v", v)
		if _, isHidden := v.(struct {
			secret Secret
			byRef  *Secret
		}); !isHidden {
			js.Info("m", "v", v)
		}
	}
	for _, v := range values {
		fmt.Fprintf(&out, "%d %t %o\n", v, v, v)
	}
	urls := strings.Count(out.String(), "hook-hush") // listings, as JSON, have the URL
	if got := strings.Count(out.String(), "hush") - urls; got != 0 {
		t.Errorf("hush is there %d times", got)
	}
	b, err := json.Marshal(map[string]any{"e": e, "s": list, "h": e.Headers})
	if err != nil {
		t.Fatal(err)
	}
	out.WriteString(strings.ReplaceAll(string(b), "hook-hush", ""))
	for _, s := range list {
		for name, part := range map[string]string{
			"text": s.Reveal(), "base64": s.Reveal()[min(6, len(s.Reveal())-9):], "bytes": strings.Trim(fmt.Sprintf("%d", s.key().bytes), "[]"), "hex": hex.EncodeToString(s.key().bytes),
			"HEX": fmt.Sprintf("%X", s.key().bytes), "raw": string(s.key().bytes), "Go": strings.Trim(fmt.Sprintf("%#v", s.key().bytes), "[]byte{}"),
		} {
			if strings.Contains(out.String(), part) {
				i := strings.Index(out.String(), part)
				t.Errorf("%v is shown as %s: %q", s, name, out.String()[max(0, i-100):i+len(part)])
			}
		}
	}
	if strings.Contains(string(b), "hush-token") || !strings.Contains(string(b), `"whsec_***"`) {
		t.Errorf("JSON: %s", b)
	}
}

// FuzzParseSecret wants each secret to have one text only.
func FuzzParseSecret(f *testing.F) {
	for _, s := range []string{v1Secret, v1aSecret, v1aPublic, minSecret, "whsec_", "hwsec_AAAA", v1Secret + "\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseSecret(text)
		if err != nil {
			if !errors.Is(err, ErrSecret) {
				t.Fatalf("an error of another kind: %v", err)
			}
			return
		}
		if s.Reveal() != text || strings.Contains(s.String(), text[7:]) {
			t.Fatalf("%q became %q", text, s.Reveal())
		}
		if n := len(s.key().bytes); n < MinSecretBytes || n > MaxSecretBytes {
			t.Fatalf("%d bytes", n)
		}
	})
}
