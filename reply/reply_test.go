package reply_test

import (
	"context"
	"encoding/json"
	"reflect"
	"testing"
	"testing/synctest"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/codec/msgpack"
	"github.com/polywire/polywire/internal/testenv"
	"github.com/polywire/polywire/polywiretest"
	"github.com/polywire/polywire/reply"
)

func TestMain(m *testing.M) { testenv.VerifyNoLeaks(m) }

var _ polywire.Answerer = (*reply.Message)(nil)

func TestMessageJSON(t *testing.T) {
	for _, c := range []struct {
		m    *reply.Message
		want string
	}{
		{nil, `null`},
		{&reply.Message{}, `{"success":false}`},
		{reply.Success(""), `{"success":true}`},
		{reply.Failure("no_such_room"), `{"success":false,"text":"no_such_room"}`},
		{reply.Success("ok", map[string]any{"a": 1}), `{"success":true,"text":"ok","body":{"a":1}}`},
		{reply.Success("ok", map[string]any{}), `{"success":true,"text":"ok"}`},
		{reply.Failure("no", map[string]any{"a": 1, "b": 1}, nil, map[string]any{"b": 2}), `{"success":false,"text":"no","body":{"a":1,"b":2}}`},
		{
			&reply.Message{ID: 7, GUID: "g", UUID: "u", Success: true, Text: "t", Meta: map[string]any{"m": 1}, Body: map[string]any{"b": 2}},
			`{"id":7,"guid":"g","uuid":"u","success":true,"text":"t","meta":{"m":1},"body":{"b":2}}`,
		},
	} {
		text, err := json.Marshal(c.m)
		if err != nil || string(text) != c.want {
			t.Errorf("%+v: %s, %v, want %s", c.m, text, err, c.want)
		}
	}
}

func TestWithoutMeta(t *testing.T) {
	var none *reply.Message
	if none.WithoutMeta() != nil {
		t.Error("nil became something")
	}
	m := &reply.Message{ID: 1, Text: "t", Meta: map[string]any{"secret": 1}, Body: map[string]any{"a": 1}}
	c := m.WithoutMeta()
	if c.Meta != nil || c.ID != 1 || c.Text != "t" || c.Body["a"] != 1 || m.Meta == nil {
		t.Errorf("%+v of %+v", c, m)
	}
}

func TestAnswerOfNothing(t *testing.T) {
	var none *reply.Message
	if a := none.Answer(nil); a != nil {
		t.Errorf("nil answered %#v", a)
	}
	m := &reply.Message{ID: 1}
	if a, ok := m.Answer(nil).(*reply.Message); !ok || a == m || a.ID != 1 {
		t.Errorf("without a request: %#v", a)
	}
}

// request has a server's handler answer one request with m.Answer.
func request(t *testing.T, m *reply.Message, payload any) (answer *reply.Message) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		srv := polywiretest.New(t, polywire.WithCodecs(codec.JSON{}, msgpack.Codec{}))
		srv.Handle("k", func(_ context.Context, request *polywire.Message) (any, error) {
			answer, _ = m.Answer(request).(*reply.Message)
			return nil, nil
		})
		srv.Client().MustCall("k", payload, nil)
	})
	return answer
}

func TestAnswer(t *testing.T) {
	msg := func(v any) polywire.Payload {
		data, err := msgpack.Codec{}.Append(nil, v)
		if err != nil {
			t.Fatal(err)
		}
		return polywire.Payload{Type: codec.TypeMsgpack, Data: data}
	}
	for name, c := range map[string]struct {
		payload any
		want    reply.Message
	}{
		"all":              {json.RawMessage(`{"id":7,"guid":"g","uuid":"u","text":"not this","body":{"id":8}}`), reply.Message{ID: 7, GUID: "g", UUID: "u"}},
		"none":             {json.RawMessage(`{"text":"x"}`), reply.Message{ID: 1, GUID: "own"}},
		"some":             {json.RawMessage(`{"id":7,"guid":""}`), reply.Message{ID: 7, GUID: "own"}},
		"empty payload":    {nil, reply.Message{ID: 1, GUID: "own"}},
		"null":             {json.RawMessage(`null`), reply.Message{ID: 1, GUID: "own"}},
		"no object":        {"text", reply.Message{ID: 1, GUID: "own"}},
		"not even JSON":    {[]byte{1, 2}, reply.Message{ID: 1, GUID: "own"}},
		"wrong types":      {json.RawMessage(`{"id":"seven","guid":8,"uuid":"u"}`), reply.Message{ID: 1, GUID: "own", UUID: "u"}},
		"half an id":       {json.RawMessage(`{"id":7.5,"uuid":"u"}`), reply.Message{ID: 1, GUID: "own", UUID: "u"}},
		"an id as a float": {json.RawMessage(`{"id":7.0,"guid":1}`), reply.Message{ID: 7, GUID: "own"}},
		"a huge id":        {json.RawMessage(`{"id":1e300,"guid":"g"}`), reply.Message{ID: 1, GUID: "g"}},
		"msgpack":          {msg(map[string]any{"id": 7, "uuid": "u"}), reply.Message{ID: 7, GUID: "own", UUID: "u"}},
		"msgpack, wrong":   {msg(map[string]any{"id": uint8(7), "guid": true}), reply.Message{ID: 7, GUID: "own"}},
	} {
		t.Run(name, func(t *testing.T) {
			mine := &reply.Message{ID: 1, GUID: "own", Text: "done", Body: map[string]any{"a": 1}}
			got := request(t, mine, c.payload)
			c.want.Text, c.want.Body = "done", mine.Body
			if got == nil || got == mine || !reflect.DeepEqual(*got, c.want) {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
			if mine.ID != 1 || mine.GUID != "own" || mine.UUID != "" {
				t.Errorf("the message itself became %+v", mine)
			}
		})
	}
}
