package p

import "testing"

var testenv struct{ VerifyNoLeaks func(*testing.M) }
