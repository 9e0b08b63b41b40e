package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/codec/msgpack"
	"github.com/polywire/polywire/codec/protobuf"
)

// Payload is JSON from the arguments: the one at index at, standard input if
// that is "-" or missing while something is piped in, else nil.
func Payload(c *cobra.Command, args []string, at int) (json.RawMessage, error) {
	var text []byte
	switch {
	case len(args) > at && args[at] != "-":
		text = []byte(args[at])
	case len(args) > at || Piped(c.InOrStdin()):
		var err error
		if text, err = io.ReadAll(c.InOrStdin()); err != nil {
			return nil, fmt.Errorf("standard input: %w", err)
		}
	}
	text = bytes.TrimSpace(text)
	if len(text) == 0 {
		return nil, nil
	}
	if !json.Valid(text) {
		return nil, fmt.Errorf("the payload is not JSON: %.60q (a string needs its quotes: '\"text\"')", text)
	}
	return text, nil
}

// Piped reports whether in is a file or a pipe, not a terminal.
func Piped(in io.Reader) bool {
	f, ok := in.(*os.File)
	if !ok {
		return true
	}
	info, err := f.Stat()
	return err == nil && (info.Mode()&os.ModeNamedPipe != 0 || info.Mode().IsRegular() && info.Size() > 0)
}

// PayloadJSON says payloads in JSON: null where there is none, an array where
// there are several, and bytes in Base64 beside their content type where they
// cannot be translated.
func PayloadJSON(several ...codec.Payload) (json.RawMessage, error) {
	set, err := codec.NewSet(codec.JSON{}, protobuf.Codec{}, msgpack.Codec{})
	if err != nil {
		return nil, err
	}
	all := []json.RawMessage{}
	for _, p := range several {
		text, err := payloadJSON(set, p)
		if err != nil {
			return nil, err
		}
		all = append(all, text)
	}
	switch len(all) {
	case 0:
		return json.RawMessage("null"), nil
	case 1:
		return all[0], nil
	}
	return json.Marshal(all)
}

func payloadJSON(set *codec.Set, p codec.Payload) (json.RawMessage, error) {
	if p.Empty() {
		return json.RawMessage("null"), nil
	}
	j, err := set.Translate("", p, codec.TypeJSON)
	if err != nil {
		return json.Marshal(map[string]any{"contentType": p.Type, "data": p.Data})
	}
	return j.Data, nil
}

// JSONLine writes a value as one line of JSON.
func JSONLine(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
