// Package apiv1 is version 1 of the HTTP API as protoc-gen-go makes it of
// polywire.proto, which is the one definition of it; the folder below has the
// clients and handlers of gRPC and Connect. docs/http-api.md describes it.
//
// polywire.binpb is the same file compiled, with its comments: the server makes
// the OpenAPI description of it.
//
// Generating needs protoc 3.21.12 (Debian's protobuf-compiler), whose version
// is in the result; the plugins are those of the module's dependencies.
package apiv1

import _ "embed" // of the description

//go:generate go build -o ../../../.cache/bin/protoc-gen-go google.golang.org/protobuf/cmd/protoc-gen-go
//go:generate go build -o ../../../.cache/bin/protoc-gen-connect-go connectrpc.com/connect/cmd/protoc-gen-connect-go
//go:generate protoc --plugin=../../../.cache/bin/protoc-gen-go --plugin=../../../.cache/bin/protoc-gen-connect-go --go_out=. --go_opt=paths=source_relative --connect-go_out=. --connect-go_opt=paths=source_relative,simple --descriptor_set_out=polywire.binpb --include_source_info polywire.proto

//go:embed polywire.binpb
var compiled []byte

// Compiled returns polywire.proto as a compiled FileDescriptorSet with its comments.
func Compiled() []byte { return append([]byte(nil), compiled...) }
