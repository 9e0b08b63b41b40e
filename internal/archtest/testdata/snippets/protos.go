// Package protos stands for what protoc-gen-go makes of a reader's own files.
package protos

type MessageV1 struct{}

type ReplyV1 struct{}
