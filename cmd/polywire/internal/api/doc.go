// Package api is the HTTP API of a server: paths with JSON for curl and every
// other program, and gRPC, gRPC-Web and Connect, from one definition (package
// apiv1) and one implementation. docs/http-api.md describes it.
package api
