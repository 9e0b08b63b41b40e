package p

import "github.com/polywire/polywire"

var others []polywire.Option
