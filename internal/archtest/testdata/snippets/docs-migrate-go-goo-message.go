package p

import "github.com/polywire/polywire"

var trace, upper polywire.Pipe
