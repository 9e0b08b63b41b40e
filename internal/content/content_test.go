package content

import (
	"testing"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/internal/testenv"
	"github.com/polywire/polywire/wire/native/nativepb"
)

func TestMain(m *testing.M) { testenv.VerifyNoLeaks(m) }

// The numbers are those of the published schema, all of them.
func TestNumbers(t *testing.T) {
	numbers := map[string]int32{
		"NONE": None, "JSON": JSON, "PROTOBUF": Protobuf,
		"MSGPACK": Msgpack, "BYTES": Bytes, "OTHER": Other,
	}
	if len(numbers) != len(nativepb.Content_value) {
		t.Errorf("%d numbers, the schema has %d", len(numbers), len(nativepb.Content_value))
	}
	for name, number := range numbers {
		if want, ok := nativepb.Content_value[name]; !ok || number != want {
			t.Errorf("%s is %d, the schema has %d (%v)", name, number, want, ok)
		}
	}
}

func TestPayload(t *testing.T) {
	for _, tt := range []struct {
		number     uint64
		name, data string
		want       string
		known      bool
	}{
		{None, "", "", "", true},
		{None, "x/y", "", "", true},
		{None, "", "d", codec.TypeBytes, true},
		{JSON, "x/y", "d", codec.TypeJSON, true},
		{Protobuf, "", "", codec.TypeProtobuf, true},
		{Msgpack, "", "d", codec.TypeMsgpack, true},
		{Bytes, "", "", codec.TypeBytes, true},
		{Other, "x/y", "d", "x/y", true},
		{Other, codec.TypeJSON, "d", codec.TypeJSON, true},
		{Other, "", "d", codec.TypeBytes, true},
		{6, "x/y", "d", codec.TypeBytes, false},
		{1 << 32, "", "", codec.TypeBytes, false},
	} {
		p, known := Payload(tt.number, []byte(tt.name), []byte(tt.data))
		if p.Type != tt.want || string(p.Data) != tt.data || known != tt.known {
			t.Errorf("%d %q %q: %q %q %v", tt.number, tt.name, tt.data, p.Type, p.Data, known)
		}
	}
}

func TestOf(t *testing.T) {
	for _, tt := range []struct {
		contentType, data string
		want              uint64
	}{
		{"", "", None}, {"", "d", Bytes}, {codec.TypeBytes, "", Bytes}, {codec.TypeJSON, "", JSON},
		{codec.TypeProtobuf, "", Protobuf}, {codec.TypeMsgpack, "", Msgpack}, {"x/y", "", Other}, {codec.TypeParts, "", Other},
	} {
		if got := Of(codec.Payload{Type: tt.contentType, Data: []byte(tt.data)}); got != tt.want {
			t.Errorf("%q %q: %d, want %d", tt.contentType, tt.data, got, tt.want)
		}
	}
}

func TestUsualNamesAreNotCopied(t *testing.T) {
	for _, name := range []string{"", codec.TypeBytes, codec.TypeJSON, codec.TypeProtobuf, codec.TypeMsgpack} {
		b := []byte(name)
		if n := testing.AllocsPerRun(10, func() { Name(b) }); n > 0 {
			t.Errorf("%q: %v allocations", name, n)
		}
	}
}
