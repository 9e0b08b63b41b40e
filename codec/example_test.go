package codec_test

import (
	"errors"
	"fmt"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/codec/msgpack"
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// What an application knows, in its order; JSON and bytes are always there.
func ExampleSet() {
	set, err := codec.NewSet(msgpack.Codec{})
	check(err)
	fmt.Println(set.ContentTypes())

	p, err := set.Marshal(map[string]int{"n": 7}, codec.TypeJSON)
	check(err)
	fmt.Printf("%s %s\n", p.Type, p.Data)

	var out struct{ N int }
	check(set.Unmarshal(p, &out))
	fmt.Println(out.N)
	// Output:
	// [application/msgpack application/json application/octet-stream application/vnd.polywire.parts]
	// application/json {"n":7}
	// 7
}

// A receiver whose wire speaks another codec gets a translation.
func ExampleSet_Translate() {
	set, err := codec.NewSet(codec.JSON{}, msgpack.Codec{})
	check(err)
	packed, err := set.Marshal([]any{1, "two"}, codec.TypeMsgpack)
	check(err)
	p, err := set.Translate("any.kind", packed, codec.TypeJSON)
	check(err)
	fmt.Printf("%x is %s\n", packed.Data, p.Data)

	_, err = set.Translate("any.kind", codec.Payload{Type: "text/csv", Data: []byte("1;2")}, codec.TypeJSON)
	fmt.Println(errors.Is(err, codec.ErrNoTranslation) || errors.Is(err, codec.ErrUnknownType))
	// Output:
	// 9201a374776f is [1,"two"]
	// true
}

// JSON with bytes beside it, as Socket.IO's attachments are.
func ExampleAppendParts() {
	data := codec.AppendParts(nil, []byte(`{"name":"a.bin","file":{"_placeholder":true,"num":0}}`), []byte{1, 2, 3})
	text, parts, err := codec.SplitParts(data)
	check(err)
	fmt.Printf("%s and %d bytes\n", text, len(parts[0]))

	// Receivers without attachments get base64 in their place.
	plain, err := codec.Parts{}.AppendJSON(nil, "", data)
	check(err)
	fmt.Printf("%s\n", plain)
	// Output:
	// {"name":"a.bin","file":{"_placeholder":true,"num":0}} and 3 bytes
	// {"name":"a.bin","file":"AQID"}
}
