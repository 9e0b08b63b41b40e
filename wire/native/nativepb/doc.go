// Package nativepb is the native wire's envelope as protoc-gen-go makes it of
// polywire.proto, for tests and for those who would rather have it than write
// an encoder. The wire itself does not use it.
//
// Generating needs protoc 3.21.12 (Debian's protobuf-compiler), whose version
// is in the result; the plugin is that of the module's protobuf runtime.
package nativepb

//go:generate go build -o ../../../.cache/bin/protoc-gen-go google.golang.org/protobuf/cmd/protoc-gen-go
//go:generate protoc --plugin=../../../.cache/bin/protoc-gen-go --go_out=. --go_opt=paths=source_relative polywire.proto
