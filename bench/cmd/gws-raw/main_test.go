package main

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/polywire/polywire/internal/load"
)

func TestServesWhatTheLoadGeneratorAsks(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- serve(ln, io.Discard) }()
	for _, mode := range []load.Mode{load.Echo, load.Broadcast} {
		var res load.Result
		for d := 100 * time.Millisecond; err == nil && res.Messages == 0 && d < time.Minute; d *= 4 { // longer on a machine that is too busy
			res, err = load.Run(t.Context(), load.Config{URL: "ws://" + ln.Addr().String() + "/", Wire: "raw",
				Mode: mode, Conns: 4, Window: 4, Duration: d})
		}
		if err != nil || res.Messages == 0 || res.Errors != 0 {
			t.Errorf("%s: %v, %+v", mode, err, res)
		}
	}
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, net.ErrClosed) {
		t.Errorf("serve: %v", err)
	}
}

func TestSaysWhereItListens(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = ln.Close()
	var out strings.Builder
	if serve(ln, &out) == nil {
		t.Error("a closed listener was served")
	}
	if want := "listening on ws://" + ln.Addr().String() + "/\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}
