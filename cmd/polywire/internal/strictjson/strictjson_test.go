package strictjson_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/polywire/polywire/cmd/polywire/internal/strictjson"
)

type inner struct {
	Limit int `json:"limit,omitempty"`
}

type outer struct {
	inner

	Name string          `json:"name"`
	IDs  []string        `json:"ids,omitempty"`
	Data json.RawMessage `json:"data,omitempty"`
}

func TestDecode(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{`{}`, ""},
		{` {"name":"a","ids":["b"],"limit":3,"data":null} `, ""},
		{``, "one object"},
		{`null`, "one object"},
		{`[]`, "one object"},
		{`"a"`, "one object"},
		{`{"name":"a"}{}`, "behind"},
		{`{"name":"a"} x`, "behind"},
		{`{"Name":"a"}`, `"Name" is not known`},
		{`{"other":1}`, `"other" is not known`},
		{`{"name":"a","name":"b"}`, `"name" is there twice`},
		{`{"name":null}`, `"name" is null`},
		{`{"name":1}`, "name cannot be a number"},
		{`{"ids":{}}`, "ids cannot be a object"},
		{`{"limit":1.5}`, "limit cannot be"},
		{`{"name":"a"`, "EOF"},
		{`{"name":`, "EOF"},
		{`{"name"}`, "object key"},
		{`{"` + strings.Repeat("x", 10_000) + `":1}`, "not known"},
	} {
		var v outer
		err := strictjson.Decode([]byte(c.text), &v, "data")
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.60q: %v, want %q", c.text, err, c.want)
		}
		if err != nil && len(err.Error()) > 200 {
			t.Errorf("%.60q: the error has %d bytes", c.text, len(err.Error()))
		}
	}
}

// What is accepted says the same when it is encoded and decoded again.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{`{}`, `{"name":"a","data":{"x":[1]}}`, `{"Name":"a"}`, `{"ids":["a","b"],"limit":1}`, `{"data":[[[[`, "{\"name\":\"\xff\"}", `{}{}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var v, same outer
		if strictjson.Decode(b, &v, "data") != nil {
			return
		}
		again, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if err := strictjson.Decode(again, &same, "data"); err != nil {
			t.Fatalf("%q became %q: %v", b, again, err)
		}
		if third, err := json.Marshal(same); err != nil || !bytes.Equal(again, third) {
			t.Errorf("%q, then %q, %v", again, third, err)
		}
	})
}

func TestErrorsAreShort(t *testing.T) {
	long := strings.Repeat("9", 10_000)
	for _, body := range []string{`{"` + long + `":1}`, `{"n":` + long + `}`, `{"at":"` + long + `"}`, `{"n":"` + long + `"}`} {
		var v struct {
			N  int       `json:"n"`
			At time.Time `json:"at"`
		}
		if err := strictjson.Decode([]byte(body), &v); err == nil || len(err.Error()) > 400 {
			t.Errorf("%.30s: %.500v", body, err)
		}
	}
}
