// Package nativepb is the native wire's envelope as protoc-gen-go makes it of
// polywire.proto, for tests and for those who would rather have it than write
// an encoder. The wire itself does not use it.
package nativepb

//go:generate protoc --go_out=. --go_opt=paths=source_relative polywire.proto
