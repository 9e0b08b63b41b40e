package auth_test

import (
	"crypto"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/auth"
)

func TestParseRule(t *testing.T) {
	for text, want := range map[string]auth.Rule{
		"lobby=subscribe":           {Pattern: "lobby", Subscribe: true},
		"user-{sub}=publish":        {Pattern: "user-{sub}", Publish: true},
		"a:b=subscribe,users":       {Pattern: "a:b", Subscribe: true, UsersOnly: true},
		"*=publish,kind=a.*,kind=b": {Pattern: "*", Publish: true, Kinds: []string{"a.*", "b"}},
	} {
		if got, err := auth.ParseRule(text); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v %v", text, got, err)
		}
	}
	for _, text := range []string{"", "lobby", "lobby=", "=subscribe", "a=read", "a=subscribe,", "a=users", "a=kind=x", "a=publish,kind=", "{=publish"} {
		if got, err := auth.ParseRule(text); err == nil {
			t.Errorf("%q: %+v", text, got)
		}
	}
}

func TestConfig(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(file, jwks(map[string]crypto.PublicKey{"e": signing().ed.Public()}), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := auth.Config{
		Secret: string(secret()), PublicKeys: string(pemOf(signing().p256.Public())), KeySet: file,
		Issuers: []string{issuer}, Audiences: []string{audience},
	}
	opened, err := cfg.Open(nil)
	if err != nil || opened.Rooms != nil || len(opened.Options()) != 2 {
		t.Fatalf("%+v, %v", opened, err)
	}
	got := opened.Tokens
	defer got.Close()
	for _, alg := range []string{"HS256", "ES256", "EdDSA"} {
		raw := sign(alg, signer(alg), map[string]any{"kid": "e"}, claims(nil))
		if tok, err := got.Verify(t.Context(), raw); err != nil || tok.User != "ann" {
			t.Errorf("%s: %v", alg, err)
		}
	}
	if _, err := got.Verify(t.Context(), sign("RS256", signer("RS256"), nil, claims(nil))); reason(err) != auth.ReasonInvalid {
		t.Errorf("RS256: %v", err)
	}
	if cfg.String() != "auth with key set, public keys, secret" {
		t.Error(cfg.String())
	}
	for name, change := range map[string]func(*auth.Config){
		"no keys":          func(c *auth.Config) { c.Secret, c.PublicKeys, c.KeySet = "", "", "" },
		"short secret":     func(c *auth.Config) { c.Secret = "hunter2" },
		"no PEM":           func(c *auth.Config) { c.PublicKeys = "x" },
		"plain HTTP":       func(c *auth.Config) { c.KeySet = "http://id.example.com/" },
		"no issuer":        func(c *auth.Config) { c.Issuers = nil },
		"a malformed rule": func(c *auth.Config) { c.Rooms = []string{"lobby"} },
	} {
		bad := cfg
		change(&bad)
		if _, err := bad.Open(nil); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
	cfg.SubscribeClaim = "rooms"
	other, err := cfg.Open(nil)
	if err != nil || other.Rooms == nil {
		t.Fatalf("%+v, %v", other, err)
	}
	defer other.Tokens.Close()
	srv, err := polywire.New(other.Options()...)
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Close(); err != nil {
		t.Error(err)
	}
}
