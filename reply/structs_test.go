package reply_test

import (
	"encoding/json"
	"math"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/polywire/polywire/reply"
)

type address struct {
	Street string `json:"street"`
	No     int    `json:"no,omitempty"`
}

type base struct {
	Kind   string
	Shadow string
	hidden int
}

type Tagged struct {
	Both string `json:"both"`
}

type Other struct {
	Both string
	Twin string
}

type Twin struct{ Twin string }

// pointed has its JSON on the pointer.
type pointed struct{ n int }

func (p *pointed) MarshalJSON() ([]byte, error) { return json.Marshal([]int{p.n}) }

type upper string

func (u upper) MarshalText() ([]byte, error) { return []byte(strings.ToUpper(string(u))), nil }

type everything struct {
	base
	*Tagged
	Other
	Twin
	Named    base `json:"named"`
	Shadow   int
	Name     string            `json:"name"`
	Age      int               `json:"age"`
	Big      uint64            `json:"big"`
	Price    float64           `json:"price"`
	Data     []byte            `json:"data"`
	When     time.Time         `json:"when"`
	NoTime   time.Time         `json:"no_time,omitzero"`
	Wait     time.Duration     `json:"wait"`
	Home     address           `json:"home"`
	Away     *address          `json:"away"`
	Nowhere  *address          `json:"nowhere"`
	Skipped  *address          `json:"skipped,omitempty"`
	Places   []address         `json:"places"`
	ByName   map[string]*Twin  `json:"by_name"`
	ByNumber map[int]string    `json:"by_number"`
	Raw      json.RawMessage   `json:"raw"`
	Number   json.Number       `json:"number"`
	Any      any               `json:"any"`
	Nothing  any               `json:"nothing"`
	Quoted   int               `json:"quoted,string"`
	QuotedP  *bool             `json:"quoted_p,string"`
	NotQuote []int             `json:"not_quoted,string"` //nolint:staticcheck // it means nothing here, and must
	Secret   string            `json:"-"`
	Dash     string            `json:"-,"` //nolint:staticcheck // a field of that name
	Empty    string            `json:",omitempty"`
	Zeroes   [2]int            `json:"zeroes,omitzero"`
	Pointed  pointed           `json:"pointed"`
	Upper    upper             `json:"upper"`
	Uppers   map[upper]upper   `json:"uppers"`
	Whole    *big.Int          `json:"whole"`
	NilMap   map[string]string `json:"nil_map"`
	NilList  []string          `json:"nil_list"`
	BadName  string            `json:"it's"` //nolint:staticcheck // no name at all
	private  int
}

func sample() *everything {
	yes := true
	return &everything{
		base: base{"kind", "hidden by the outer one", 1}, Tagged: &Tagged{"tagged wins"}, Other: Other{"plain", "a"}, Twin: Twin{"b"},
		Named: base{Kind: "named"}, Shadow: 2, Name: "ann & <bob>", Age: 32, Big: math.MaxUint64, Price: 3, Data: []byte{0, 255},
		When: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC), Wait: time.Second, Home: address{"a", 1}, Away: &address{"b", 0},
		Places: []address{{"c", 3}}, ByName: map[string]*Twin{"x": {"y"}, "nil": nil}, ByNumber: map[int]string{1: "one"},
		Raw: json.RawMessage(`{"a":[1]}`), Number: "12.50", Any: []any{1, "x", address{"d", 4}}, Quoted: 5, QuotedP: &yes,
		NotQuote: []int{1}, Secret: "s", Dash: "d", Pointed: pointed{6}, Upper: "up", Uppers: map[upper]upper{"k": "v"},
		Whole: big.NewInt(7), BadName: "x", private: 1,
	}
}

// decoded is a value as its JSON reads.
func decoded(t *testing.T, v any) any {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.UseNumber()
	var out any
	if err := d.Decode(&out); err != nil {
		t.Fatal(err)
	}
	return out
}

// The map of a struct says in JSON what the struct says.
func TestFromStructIsJSON(t *testing.T) {
	type recursive struct {
		Next *recursive
		Name string
	}
	type inPointer struct{ *everything }
	for name, v := range map[string]any{
		"everything":        sample(),
		"not addressable":   *sample(),
		"zero":              &everything{},
		"a pointer to it":   new(sample()),
		"message":           reply.Success("ok", map[string]any{"a": []int{1}}),
		"empty struct":      struct{}{},
		"recursive":         &recursive{&recursive{nil, "b"}, "a"},
		"embedded pointer":  inPointer{sample()},
		"embedded nil":      inPointer{},
		"a map":             map[string]int{"a": 1},
		"a map of numbers":  map[int]int{1: 1},
		"embedded circular": struct{ *recursive }{&recursive{nil, "a"}},
	} {
		got, err := reply.FromStruct(v)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if g, w := decoded(t, got), decoded(t, v); !reflect.DeepEqual(g, w) {
			t.Errorf("%s:\ngot  %v\nwant %v", name, g, w)
		}
	}
}

func TestFromStructKeepsTypes(t *testing.T) {
	m, err := reply.FromStruct(sample())
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]any{
		"age": 32, "big": uint64(math.MaxUint64), "price": 3.0, "data": []byte{0, 255}, "name": "ann & <bob>",
		"home": map[string]any{"street": "a", "no": 1}, "nowhere": nil, "quoted": "5", "upper": "UP", "both": "tagged wins",
		"places": []any{map[string]any{"street": "c", "no": 3}}, "when": "2026-01-02T03:04:05.000000006Z",
		"Shadow": 2, "wait": time.Second, "pointed": []any{6.0},
	} {
		if !reflect.DeepEqual(m[key], want) {
			t.Errorf("%s is %#v, want %#v", key, m[key], want)
		}
	}
	for _, key := range []string{"Twin", "Secret", "-,", "skipped", "hidden", "private", "Empty"} {
		if v, ok := m[key]; ok {
			t.Errorf("%s is there: %v", key, v)
		}
	}
}

func TestFromStructErrors(t *testing.T) {
	type circle struct{ Next *circle }
	round := &circle{}
	round.Next = round
	type list struct{ L []any }
	deep := list{[]any{nil}}
	deep.L[0] = deep.L
	for name, v := range map[string]any{
		"nil":          nil,
		"a nil struct": (*everything)(nil),
		"a number":     7,
		"a list":       []int{1},
		"a time":       time.Now(),
		"a channel":    struct{ C chan int }{},
		"a function":   struct{ F func() }{},
		"complex":      struct{ C complex128 }{},
		"a circle":     round,
		"another":      deep,
		"bad JSON":     struct{ R json.RawMessage }{json.RawMessage("{")},
		"a bad key":    struct{ M map[float64]int }{map[float64]int{1: 1}},
	} {
		if m, err := reply.FromStruct(v); err == nil {
			t.Errorf("%s: %v", name, m)
		}
	}
}

func TestToStruct(t *testing.T) {
	m, err := reply.FromStruct(sample())
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"pointed", "uppers"} { // these have no way back
		delete(m, key)
	}
	got := everything{Secret: "kept", private: 2}
	if err := reply.ToStruct(m, &got); err != nil {
		t.Fatal(err)
	}
	if got.Age != 32 || got.Big != math.MaxUint64 || string(got.Data) != "\x00\xff" || got.Away.Street != "b" || got.Tagged.Both != "tagged wins" ||
		got.ByName["x"].Twin != "y" || got.Number != "12.50" || got.Quoted != 5 || got.Secret != "kept" || got.private != 2 ||
		!got.When.Equal(sample().When) || got.Whole.Int64() != 7 {
		t.Errorf("%+v", got)
	}
	var message reply.Message
	if err := reply.ToStruct(map[string]any{"id": 7.0, "success": true, "body": map[string]any{"a": "b"}}, &message); err != nil ||
		message.ID != 7 || !message.Success || message.Body["a"] != "b" {
		t.Errorf("%+v, %v", message, err)
	}
	before := message
	if err := reply.ToStruct(nil, &message); err != nil || !reflect.DeepEqual(message, before) {
		t.Errorf("a nil map changed it to %+v, %v", message, err)
	}
}

func TestToStructErrors(t *testing.T) {
	some := map[string]any{"age": 1}
	for name, c := range map[string]struct {
		m   map[string]any
		out any
	}{
		"into nil":          {some, nil},
		"into a nil struct": {some, (*everything)(nil)},
		"not a pointer":     {some, everything{}},
		"a wrong type":      {map[string]any{"age": "old"}, &everything{}},
		"a function":        {map[string]any{"f": func() {}}, &everything{}},
		"no number":         {map[string]any{"f": math.NaN()}, &everything{}},
	} {
		if err := reply.ToStruct(c.m, c.out); err == nil {
			t.Errorf("%s: no error, %v", name, c.out)
		}
	}
}
