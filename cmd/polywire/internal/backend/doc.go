// Package backend asks a program in any language what to do: who may connect,
// subscribe and publish, and what to answer to messages, by signed HTTP requests
// with JSON. docs/backend.md describes them.
package backend
