// Drs is the program of DRS's document: services that call each other over unix
// sockets, each a server and a client of the other, with commands that are sent
// (Fire), answered (Call), and fail. A third peer knows nothing but JSON: it
// writes the document's command as it stands there, and reads what comes back.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/wire/drs"
)

func main() {
	dir, err := os.MkdirTemp("", "drs-")
	if err == nil {
		err = errors.Join(run(context.Background(), os.Stdout, dir), os.RemoveAll(dir))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, dir string) (err error) {
	words, letters := filepath.Join(dir, "words"), filepath.Join(dir, "letters")
	heard := make(chan string, 1)

	// The service of letters has a client of that of words, and the other way round.
	a, err := start(letters)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	polywire.HandleFunc(a, "letters.upper", func(_ context.Context, in *string) (*string, error) {
		return new(strings.ToUpper(*in)), nil
	})
	polywire.HandleFunc(a, "letters.news", func(_ context.Context, in *map[string]string) (*struct{}, error) {
		heard <- (*in)["this"]
		return nil, nil
	})
	a.Handle("myAction", func(_ context.Context, m *polywire.Message) (any, error) {
		return m.Payload(), nil
	})

	b, err := start(words)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	toLetters, err := dial(ctx, letters)
	if err != nil {
		return err
	}
	defer toLetters.Close() //nolint:errcheck // over either way
	// Functions for one action run in order, and may leave each other something.
	b.Handle("words.join", polywire.Chain(split, func(ctx context.Context, m *polywire.Message) (any, error) {
		text, _ := m.Value("text").(string)
		var upper string
		err := toLetters.Call(ctx, "letters.upper", text, &upper)
		return upper, err
	}))

	toWords, err := dial(ctx, words)
	if err != nil {
		return err
	}
	defer toWords.Close() //nolint:errcheck // over either way
	return talk(ctx, out, toWords, toLetters, heard, letters)
}

// split is the first function of words.join.
func split(_ context.Context, m *polywire.Message) (any, error) {
	var in []string
	if err := m.Bind(&in); err != nil {
		return nil, err
	}
	if len(in) == 0 {
		return nil, polywire.Errorf(polywire.CodeBadRequest, "no words")
	}
	m.SetValue("text", strings.Join(in, " "))
	return nil, nil
}

func start(socket string) (*polywire.Server, error) {
	srv, err := polywire.New(polywire.WithWires(drs.New()))
	if err != nil {
		return nil, err
	}
	l, scheme, err := srv.Listen("drs+unix://" + socket)
	if err != nil {
		return nil, err
	}
	go srv.Serve(l, scheme) //nolint:errcheck // clients find out if it fails
	return srv, nil
}

func dial(ctx context.Context, socket string) (*client.Client, error) {
	return client.Dial(ctx, "drs+unix://"+socket, client.WithWires(drs.New()))
}

// talk has each of them say something.
func talk(ctx context.Context, out io.Writer, words, letters *client.Client, heard <-chan string, socket string) error {
	var joined string
	if err := words.Call(ctx, "words.join", []string{"one", "way", "to", "communicate"}, &joined); err != nil {
		return err
	}
	fmt.Fprintln(out, "a call that makes a call:", joined)

	err := words.Call(ctx, "words.join", []string{}, &joined)
	fmt.Fprintln(out, "an error:", err)
	err = words.Call(ctx, "words.sing", nil, nil)
	fmt.Fprintln(out, "an exception:", err)

	if err := letters.Send(ctx, "letters.news", map[string]string{"this": "that"}); err != nil {
		return err
	}
	select {
	case text := <-heard:
		fmt.Fprintln(out, "sent, and nobody waited:", text)
	case <-ctx.Done():
		return ctx.Err()
	}
	return stranger(ctx, out, socket)
}

// stranger is any program that can write JSON to a socket.
func stranger(ctx context.Context, out io.Writer, socket string) error {
	c, err := new(net.Dialer).DialContext(ctx, "unix", socket)
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // over either way
	const command = `{
  "action": "myAction",
  "body": {
    "nested": {
      "map": 1
    }
  },
  "key": "i-am-unique"
}`
	if _, err := io.WriteString(c, command); err != nil {
		return err
	}
	var answer struct {
		Action string          `json:"action"`
		Key    string          `json:"key"`
		Body   json.RawMessage `json:"body"`
	}
	if err := json.NewDecoder(bufio.NewReader(c)).Decode(&answer); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "a stranger reads: %s of %s: %s\n", answer.Action, answer.Key, strings.Join(strings.Fields(string(answer.Body)), ""))
	return err
}
