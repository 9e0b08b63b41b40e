package auth_test

import (
	"context"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/auth"
	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/transport/transporttest"
	"github.com/polywire/polywire/wire/native"
)

// issue is what a login page would do: it signs a token for a user.
func issue(user string, key []byte) string {
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"iss": "https://example.com", "aud": "chat", "sub": user, "exp": time.Now().Add(time.Hour).Unix(),
	}).SignedString(key)
	if err != nil {
		panic(err)
	}
	return token
}

// Clients come in with a token, are in their own room and their teams', and
// show a later token before that expires.
func Example() {
	shared := []byte("32 bytes at least, as of openssl rand -hex 32")
	key, err := auth.Secret(shared)
	if err != nil {
		fmt.Println(err)
		return
	}
	tokens, err := auth.JWT(auth.Static(key), auth.Options{Issuers: []string{"https://example.com"}, Audiences: []string{"chat"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	rooms, err := auth.NewRooms(auth.Policy{Rules: []auth.Rule{
		{Pattern: "user-{sub}", Subscribe: true},
		{Pattern: "team:*", Subscribe: true, Publish: true, Kinds: []string{"chat.*"}},
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	srv, err := polywire.New(append(append(tokens.Options(), rooms.Options()...), polywire.WithWires(native.New()))...)
	if err != nil {
		fmt.Println(err)
		return
	}
	l := transporttest.NewListener()
	go srv.Serve(l, "ws")
	defer srv.Close()

	ctx := context.Background()
	dial := func(token string) (*client.Client, error) {
		return client.Dial(ctx, "ws://memory", client.WithNetDial(l.NetDial), client.WithoutReconnect(),
			client.WithCredentials(func(context.Context) (map[string]string, error) {
				return map[string]string{"authorization": "Bearer " + token}, nil
			}))
	}
	_, err = dial("something else")
	fmt.Println(err)
	c, err := dial(issue("ann", shared))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	fmt.Println("own room:", c.Subscribe(ctx, "user-ann"))
	fmt.Println("another's:", c.Subscribe(ctx, "user-bob"))
	fmt.Println("refresh:", c.Call(ctx, auth.KindRefresh, issue("ann", shared), nil))
	fmt.Println("as another:", c.Call(ctx, auth.KindRefresh, issue("bob", shared), nil))
	// Output:
	// client: connect to ws://memory: polywire: connection closed (3500): token_invalid
	// own room: <nil>
	// another's: forbidden: not allowed
	// refresh: <nil>
	// as another: forbidden: token_other
}

// The keys of an identity provider are fetched, and fetched again when it
// signs with a new one.
func ExampleJWKS() {
	tokens, err := auth.JWT(auth.JWKS("https://id.example.com/.well-known/jwks.json", auth.JWKSOptions{}), auth.Options{
		Issuers:    []string{"https://id.example.com"},
		Audiences:  []string{"chat"},
		Algorithms: []string{"ES256", "EdDSA"},
		Query:      "access_token", // for EventSource in browsers
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer tokens.Close()
	_, err = tokens.Verify(context.Background(), "not a token")
	fmt.Println(err)
	// Output: auth: token_invalid: malformed
}

// A policy of rooms is a function like any other, to be called in one's own.
func ExampleRooms() {
	rooms, err := auth.NewRooms(auth.Policy{
		Rules: []auth.Rule{{
			Pattern: "order-{id}", Subscribe: true,
			Allow: func(_ context.Context, c *polywire.Conn, m auth.Match) error {
				if m.Vars["id"] != "1001" { // ask the database
					return fmt.Errorf("order %s is not %s's", m.Vars["id"], c.User())
				}
				return nil
			},
		}},
		SubscribeClaim: "rooms", // and what the token lists
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	srv, err := polywire.New(polywire.WithSubscribePolicy(func(ctx context.Context, c *polywire.Conn, room string) error {
		if c.Wire() == "sse" && room == "order-0" {
			return polywire.Errorf(polywire.CodeForbidden, "not by this wire")
		}
		return rooms.Subscribe(ctx, c, room)
	}))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(srv.Close())
	// Output: <nil>
}

// A token outside of a connection: in an HTTP handler of one's own, say.
func ExampleTokens_Verify() {
	shared := []byte("32 bytes at least, as of openssl rand -hex 32")
	key, err := auth.Secret(shared)
	if err != nil {
		fmt.Println(err)
		return
	}
	tokens, err := auth.JWT(auth.Static(key), auth.Options{Issuers: []string{"https://example.com"}, Audiences: []string{"chat"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer tokens.Close()
	ctx := context.Background()
	token, err := tokens.Verify(ctx, issue("ann", shared))
	fmt.Println(token.User, token.Issuer, err)
	_, err = tokens.Verify(ctx, issue("ann", []byte("another secret, that is as long as it has to be")))
	fmt.Println(err != nil)
	// Output:
	// ann https://example.com <nil>
	// true
}

// Rules may come from a file or a flag, a line each.
func ExampleParseRule() {
	rule, err := auth.ParseRule("team:*=subscribe,publish,kind=chat.*,users")
	fmt.Println(rule.Pattern, rule.Subscribe, rule.Publish, rule.Kinds, err)
	_, err = auth.ParseRule("team:*")
	fmt.Println(err)
	// Output:
	// team:* true true [chat.*] <nil>
	// auth: rule "team:*": want PATTERN=subscribe,publish
}
