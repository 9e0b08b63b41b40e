// Gosf has the programs of GOSF's document. The first server and its JavaScript
// client: an endpoint that echoes, over Socket.IO; the client is the official
// one of version 2, as it was, and a Go client stands beside it. And, in
// document.go, controllers, failures, rooms, broadcasts and hooks.
//
// Run it, open the page that it names, and look into the browser's console.
package main

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/reply"
	"github.com/polywire/polywire/wire/socketio"
)

//go:embed client.html client.js
var page embed.FS

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := errors.Join(document(ctx, os.Stdout), serve(ctx, "ws://127.0.0.1:9999", func(url string) error {
		if err := call(ctx, os.Stdout, url); err != nil {
			return err
		}
		fmt.Println("the JavaScript client is at http" + url[len("ws"):] + "/client.html (Ctrl-C ends it)")
		<-ctx.Done()
		return nil
	}))
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// echo is the controller.
func echo(_ context.Context, in *reply.Message) (*reply.Message, error) {
	return reply.Success(in.Text), nil
}

// serve serves while use runs.
func serve(ctx context.Context, address string, use func(url string) error) error {
	srv, err := polywire.New(
		polywire.WithWires(socketio.New()),
		polywire.WithEndpointReplies(), // as acknowledgement, and as event
	)
	if err != nil {
		return err
	}
	defer srv.Close() //nolint:errcheck // over either way
	polywire.HandleFunc(srv, "echo", echo)
	srv.HandleHTTP("GET /client.html", http.FileServerFS(page))
	srv.HandleHTTP("GET /client.js", http.FileServerFS(page))
	l, scheme, err := srv.Listen(address)
	if err != nil {
		return err
	}
	go srv.Serve(l, scheme) //nolint:errcheck // clients find out if it fails
	if err := use(scheme + "://" + l.Addr().String()); err != nil {
		return err
	}
	return srv.Shutdown(context.WithoutCancel(ctx))
}

// call is what the document calls consuming a microservice.
func call(ctx context.Context, out io.Writer, url string) error {
	c, err := client.Dial(ctx, "socketio+"+url, client.WithWires(socketio.New()))
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // over either way
	var answer reply.Message
	if err := c.Call(ctx, "echo", reply.Success("Echo this..."), &answer); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "the Go client: success %v, text %q\n", answer.Success, answer.Text)
	return err
}
