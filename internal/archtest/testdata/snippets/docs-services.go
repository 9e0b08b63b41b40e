package p

import "github.com/polywire/polywire"

type User struct{}

var (
	first, second User
	handler       polywire.Handler
)
