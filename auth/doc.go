// Package auth lets in who has a signed token (a JWT, RFC 7519), on every wire.
//
//	tokens, err := auth.JWT(auth.JWKS("https://id.example.com/jwks.json", auth.JWKSOptions{}), auth.Options{
//		Issuers:   []string{"https://id.example.com"},
//		Audiences: []string{"chat"},
//	})
//	...
//	srv, err := polywire.New(append(tokens.Options(), ...)...)
//
// A token is looked for in the client's hello (its header authorization or
// token; Socket.IO's auth.token), then in the request that opened the link: its
// header Authorization, a WebSocket subprotocol, and a query parameter where
// one is named. Wires without a hello have [polywire.KindHello].
//
// When a token expires its connection is closed with [polywire.CloseExpired],
// after a grace ([polywire.WithExpiryGrace]), unless the client has sent a later
// one in a call of [KindRefresh].
//
// What a peer is told of a refusal is one word, [ReasonMissing] and so on; the
// log has more, and never the token.
package auth
