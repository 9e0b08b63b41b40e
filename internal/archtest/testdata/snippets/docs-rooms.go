package p

import "github.com/polywire/polywire"

var (
	v, in, q any
	out      struct{}
	answers  []polywire.Answer[bool]
)
