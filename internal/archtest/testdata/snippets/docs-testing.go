package p

import "testing"

var goleak struct{ VerifyTestMain func(*testing.M) }
