package main

import (
	"strings"
	"testing"
)

func TestNobodyListens(t *testing.T) {
	for _, scheme := range []string{"ws", "tcp", "sse+http", "socketio+http"} {
		_, _, err := run(t, "", "sub", "news", "--url", scheme+"://127.0.0.1:1")
		if err == nil || !strings.Contains(err.Error(), "connection refused") || !strings.Contains(err.Error(), "--url says where it is") {
			t.Errorf("%s: %v", scheme, err)
		}
	}
}
