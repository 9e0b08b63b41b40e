package api

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
)

const deep = 100_000 // levels

// hostileJSON are values for any field of a body.
func hostileJSON() map[string]string {
	return map[string]string{
		"null": `null`, "empty": `""`, "space": `" "`, "NUL": `"\u0000"`, "raw NUL": "\"a\x00b\"", "half a pair": `"\ud800"`, "no UTF-8": "\"\xff\xfe\"",
		"line ends": `"a\r\nX: y"`, "a path": `"../../../etc/passwd"`, "an escaped path": `"%2e%2e%2fx%00"`, "the other direction": `"\u202e\u2066x"`,
		"markup": `"<script>alert(1)</script>"`, "a template": `"${x} {{x}} %s%n"`, "inner names": `"$user:ada"`, "wildcards": `"*.>"`,
		"1 MiB": `"` + strings.Repeat("x", 1<<20) + `"`, "1 MiB of escapes": `"` + strings.Repeat(`\u0000`, 1<<20/6) + `"`,
		"true": `true`, "nothing there": ``, "zero": `0`, "minus": `-1`, "minus zero": `-0`, "a fraction": `1.5`, "large": `9223372036854775808`, "larger": `1e999`,
		"many digits": strings.Repeat("9", 100_000), "tiny": `1e-999999999`, "hexadecimal": `0x10`, "NaN": `NaN`, "a number as text": `"1"`,
		"an array": `[]`, "an array of empty": `[""]`, "an array of null": `[null]`, "arrays": `[[[]]]`, "an object": `{}`, "a strange object": `{"__proto__":{"x":1}}`,
		"many": `["x"` + strings.Repeat(`,"x"`, 100_000) + `]`, "many long": `["` + strings.Repeat("x", 254) + `"` + strings.Repeat(`,"`+strings.Repeat("y", 254)+`"`, 900) + `]`,
		"deep arrays": strings.Repeat("[", deep) + strings.Repeat("]", deep), "deep objects": strings.Repeat(`{"a":`, deep) + `1` + strings.Repeat("}", deep),
		"open arrays": strings.Repeat("[", deep), "the same name twice": `{"x":"1","x":"2"}`, "an early end": `"x`, "more than one": `1,2`, "a comment": `/* x */ 1`,
	}
}

// hostileNames are values for paths and queries, escaped.
func hostileNames() []string {
	return []string{
		"", "%20", "%00", "%ff%fe", "%0d%0aX-Y:%20z", "..", "%2e%2e", "..%2f..%2fetc%2fpasswd", "a%2Fb", "%2F", "a%5cb", "%25%32%66", "%u0041", "*", "%3e", "$user:ada", "%24",
		"%e2%80%ae", "null", "undefined", "-1", "0x1", "1e999", "99999999999999999999", strings.Repeat("x", 300), strings.Repeat("%61", 1<<10), strings.Repeat("9", 30_000), "a%3bb;c", "'%22%3c",
	}
}

// valuesFor are those that an operation meets: all of them, but with the race
// detector the large ones are for the first operation alone.
func valuesFor(op *operation) map[string]string {
	all := hostileJSON()
	if testing.Short() && op.method() != operations()[0].method() {
		maps.DeleteFunc(all, func(_, v string) bool { return len(v) > 10_000 })
	}
	return all
}

// besieged is a world with somebody in it whom nothing that is tried may harm.
type besieged struct {
	*world

	bystander *client.Client
	heard     messages
	tried     int
}

func besiege(t *testing.T) *besieged {
	b := &besieged{world: newWorld(t, worldOptions{opts: []polywire.Option{polywire.WithHistory("x", polywire.History{})}}), heard: make(messages, 1000)}
	b.bystander = b.connect("bystander", b.heard.handle)
	return b
}

// try makes a request, and wants an answer that is no fault of the server.
func (b *besieged) try(what, method, target string, body io.Reader, changes ...change) (code int, text string) {
	b.Helper()
	b.tried++
	r := httptest.NewRequest(method, "/", body)
	path, query, _ := strings.Cut(target, "?")
	u, err := r.URL.Parse(path)
	if err != nil { // net/http refuses it
		return 0, ""
	}
	u.RawQuery = query
	r.URL, r.RequestURI = u, target
	r.Header.Set("Authorization", "Bearer "+secretOf("all"))
	r.Header.Set("Content-Type", "application/json")
	for _, c := range changes {
		c(r)
	}
	rec := httptest.NewRecorder()
	b.api.ServeHTTP(rec, r)
	if code = rec.Code; code >= http.StatusInternalServerError && code != http.StatusNotImplemented {
		b.Errorf("%s: %s %.200s: %d %.300s", what, method, target, code, rec.Body)
	}
	if code >= http.StatusMultipleChoices && code < http.StatusBadRequest { // a path that is cleaned
		if at := rec.Header().Get("Location"); !strings.HasPrefix(at, "/") || strings.HasPrefix(at, "//") {
			b.Errorf("%s: %s %.200s: leads to %q", what, method, target, at)
		}
	} else if code != http.StatusOK && !json.Valid(rec.Body.Bytes()) {
		b.Errorf("%s: %s %.200s: %d without a reason: %.300s", what, method, target, code, rec.Body)
	}
	if len(rec.Body.Bytes()) > 64<<10 && code != http.StatusOK {
		b.Errorf("%s: %s %.200s: %d bytes to say no", what, method, target, rec.Body.Len())
	}
	return code, rec.Body.String()
}

// standing wants the bystander to be served as before. Whoever was allowed to
// disconnect everybody may have done so.
func (b *besieged) standing(what string) {
	b.Helper()
	for len(b.heard) > 0 { // what was for everybody
		<-b.heard
	}
	if what == "Disconnect" {
		b.bystander = b.connect("bystander", b.heard.handle)
	}
	b.ok(http.MethodPost, "/users/bystander/send", `{"kind":"still","text":"there"}`, nil)
	b.heard.want(b.T, `still "there"`)
}

// fields calls f for each field of a message and of those in it, with its
// place: the names above it.
func fields(d protoreflect.MessageDescriptor, above []string, f func(place []string, d protoreflect.FieldDescriptor)) {
	for i := range d.Fields().Len() {
		field := d.Fields().Get(i)
		place := append(append([]string(nil), above...), string(field.Name()))
		f(place, field)
		if field.Kind() == protoreflect.MessageKind && !field.IsMap() && !isJSON(field) {
			fields(field.Message(), place, f)
		}
	}
}

// bodyWith puts a value into a place of a body that is good without it.
func bodyWith(t *testing.T, good string, place []string, value string) string {
	t.Helper()
	whole := make(map[string]json.RawMessage)
	if good != "" {
		if err := json.Unmarshal([]byte(good), &whole); err != nil {
			t.Fatal(err)
		}
	}
	var out strings.Builder
	out.WriteByte('{')
	for name, v := range whole {
		if name != place[0] {
			fmt.Fprintf(&out, "%q:%s,", name, v)
		}
	}
	for i, name := range place {
		fmt.Fprintf(&out, "%q:", name)
		if i < len(place)-1 {
			out.WriteByte('{')
		}
	}
	return out.String() + value + strings.Repeat("}", len(place))
}

// everyOnce is everyPath with one path of each operation.
func everyOnce(f func(op *operation, p path)) {
	for _, op := range operations() {
		f(op, op.paths[0])
	}
}

// TestHostileBodies puts every hostile value into every field of every body.
func TestHostileBodies(t *testing.T) {
	b := besiege(t)
	everyOnce(func(op *operation, p path) {
		if p.method == http.MethodGet {
			return
		}
		target := DefaultBase + strings.NewReplacer("{queue}", "q").Replace(p.pattern)
		good := goodBody(op, target)
		fields(op.newIn().ProtoReflect().Descriptor(), nil, func(place []string, _ protoreflect.FieldDescriptor) {
			for what, value := range valuesFor(op) {
				b.try(op.method()+" "+strings.Join(place, ".")+" "+what, p.method, target, strings.NewReader(bodyWith(t, good, place, value)))
			}
		})
		for what, value := range valuesFor(op) {
			b.try(op.method()+" "+what, p.method, target, strings.NewReader(value))
			b.try(op.method()+" name "+what, p.method, target, strings.NewReader(`{`+value+`:1}`))
		}
		b.standing(op.method())
	})
	if b.tried < 1000 {
		t.Errorf("%d requests", b.tried)
	}
}

// TestHostileNames puts hostile names into all paths and queries, and takes
// methods that have no business there.
func TestHostileNames(t *testing.T) {
	b := besiege(t)
	for _, op := range operations() {
		for _, p := range op.paths {
			body := func() io.Reader { return strings.NewReader("") }
			if p.method == http.MethodPost {
				body = func() io.Reader { return strings.NewReader(goodBody(op, p.pattern)) }
			}
			for _, brace := range braces(p.pattern) {
				for _, name := range hostileNames() {
					code, text := b.try("a name", p.method, DefaultBase+strings.Replace(p.pattern, "{"+brace+"}", name, 1), body())
					if strings.Contains(text, "root:") {
						t.Errorf("%s %s: %d %s", p.pattern, name, code, text)
					}
				}
			}
			target := DefaultBase + strings.NewReplacer("{room}", "x", "{user}", "nobody", "{connection}", "nobody", "{queue}", "q").Replace(p.pattern)
			for _, f := range queryFields(op.newIn().ProtoReflect().Descriptor(), p) {
				for _, name := range hostileNames() {
					b.try("a query", p.method, target+"?"+string(f.Name())+"="+name, body())
					b.try("queries", p.method, target+"?"+strings.Repeat(string(f.Name())+"="+name+"&", 20), body())
				}
			}
			for _, method := range []string{"GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "post", "G\u00cbT", strings.Repeat("X", 10_000)} {
				if method == p.method || method == http.MethodHead && p.method == http.MethodGet {
					continue
				}
				r := httptest.NewRequest(p.method, target, body())
				r.Method = method
				as("all")(r)
				rec := httptest.NewRecorder()
				if b.api.ServeHTTP(rec, r); rec.Code != http.StatusMethodNotAllowed {
					t.Errorf("%.20s %s: %d %s", method, target, rec.Code, rec.Body)
				}
			}
		}
	}
	b.standing("names")
}

// TestHostileHeaders has headers that are no answers to anything, and bodies
// that are not what their headers say.
func TestHostileHeaders(t *testing.T) {
	b := besiege(t)
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	for range 1 << 8 { // 16 MiB
		_, _ = z.Write(make([]byte, 64<<10)) // into memory
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	everyOnce(func(op *operation, p path) {
		target := DefaultBase + strings.NewReplacer("{queue}", "q", "{room}", "x", "{connection}", "nobody").Replace(p.pattern)
		for _, h := range [][2]string{
			{idempotencyHeader, ""}, {idempotencyHeader, "\xff"}, {idempotencyHeader, strings.Repeat("x", 256)}, {idempotencyHeader, "a,b"}, {idempotencyHeader, strings.Repeat("y", 64<<10)},
			{"Content-Type", ""}, {"Content-Type", "text/plain"}, {"Content-Type", "application/x-www-form-urlencoded"}, {"Content-Type", "multipart/form-data; boundary=x"},
			{"Content-Type", "application/json; charset=utf-7"}, {"Content-Type", "application/json;" + strings.Repeat("a=b;", 10_000)}, {"Content-Type", "\xff/\x00"},
			{"Content-Encoding", "gzip"}, {"Transfer-Encoding", "gzip, chunked"}, {"X-HTTP-Method-Override", "DELETE"}, {"Accept", "text/html"}, {"Expect", "nonsense"},
			{"Host", "evil.example"}, {"Range", "bytes=0-0"}, {"If-Match", "*"}, {"Connection", "upgrade"}, {"Content-Length", "-1"},
		} {
			var body io.Reader
			if p.method == http.MethodPost {
				body = strings.NewReader(goodBody(op, target))
			}
			code, _ := b.try(op.method()+" "+h[0], p.method, target, body, with(h[0], h[1]))
			if p.method == http.MethodPost && h[0] == "Content-Type" && !strings.HasPrefix(h[1], "application/json") && code != http.StatusUnsupportedMediaType {
				t.Errorf("%s with Content-Type %.30q: %d", target, h[1], code)
			}
		}
		if p.method == http.MethodPost {
			code, _ := b.try(op.method()+" bomb", p.method, target, bytes.NewReader(bomb.Bytes()), with("Content-Encoding", "gzip"))
			if code < http.StatusBadRequest {
				t.Errorf("%s takes a body that is packed: %d", target, code)
			}
		}
		for _, kind := range []string{"application/json", "application/proto", "application/grpc-web+proto", "application/grpc+proto"} {
			code, text := b.rpc(op, kind, bomb.Bytes(), true)
			if code == http.StatusOK && !strings.HasPrefix(kind, "application/grpc") {
				t.Errorf("%s takes a bomb as %s: %s", op.procedure, kind, text)
			}
		}
	})
	runtime.ReadMemStats(&after)
	if used := int64(after.HeapAlloc) - int64(before.HeapAlloc); used > 512<<20 {
		t.Errorf("%d bytes are kept", used)
	}
	b.standing("headers")
}

// rpc asks a procedure. The body is packed with gzip if so.
func (b *besieged) rpc(op *operation, kind string, body []byte, packed bool) (code int, text string) {
	b.Helper()
	if strings.HasPrefix(kind, "application/grpc") {
		flag := byte(0)
		if packed {
			flag = 1
		}
		n := len(body)
		body = append([]byte{flag, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}, body...)
	}
	r := httptest.NewRequest(http.MethodPost, op.procedure, bytes.NewReader(body))
	r.ProtoMajor, r.ProtoMinor, r.Proto = 2, 0, "HTTP/2.0"
	r.Header.Set("Authorization", "Bearer "+secretOf("all"))
	r.Header.Set("Content-Type", kind)
	switch {
	case packed && strings.HasPrefix(kind, "application/grpc"):
		r.Header.Set("Grpc-Encoding", "gzip")
	case packed:
		r.Header.Set("Content-Encoding", "gzip")
	}
	rec := httptest.NewRecorder()
	b.api.ServeHTTP(rec, r)
	b.tried++
	status := rec.Result().Trailer.Get("Grpc-Status") + rec.Header().Get("Grpc-Status")
	faults := map[string]bool{"2": true, "13": true, "14": true, "15": true} // unknown, internal, unavailable, data_loss
	if rec.Code >= http.StatusInternalServerError && rec.Code != http.StatusNotImplemented || faults[status] {
		b.Errorf("%s as %s: %d %s %.300s", op.procedure, kind, rec.Code, status, rec.Body)
	}
	return rec.Code, rec.Body.String()
}

// TestHostileRPC has messages that are none, and hostile values in every field
// of those that are some, in JSON and in protobuf.
func TestHostileRPC(t *testing.T) {
	b := besiege(t)
	everyOnce(func(op *operation, _ path) {
		d := op.newIn().ProtoReflect().Descriptor()
		for _, raw := range hostileProto() {
			for _, kind := range []string{"application/proto", "application/grpc-web+proto", "application/grpc+proto"} {
				b.rpc(op, kind, raw, false)
			}
			fields(d, nil, func(place []string, f protoreflect.FieldDescriptor) {
				if len(place) == 1 {
					b.rpc(op, "application/proto", protowire.AppendBytes(protowire.AppendTag(nil, f.Number(), protowire.BytesType), raw), false)
				}
			})
		}
		fields(d, nil, func(place []string, _ protoreflect.FieldDescriptor) {
			for _, value := range valuesFor(op) {
				if len(value) < 200_000 || len(place) == 1 {
					b.rpc(op, "application/json", []byte(bodyWith(t, "", place, value)), false)
				}
			}
		})
		b.standing(op.method())
	})
}

// hostileProto are bytes that a decoder of protobuf may meet.
func hostileProto() [][]byte {
	group := protowire.AppendTag(nil, 1, protowire.StartGroupType)
	var nested []byte
	for range 200 {
		nested = protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), nested)
	}
	return [][]byte{
		{}, {0}, {0xff}, bytes.Repeat([]byte{0xff}, 100), {0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f}, {0x0a, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01},
		bytes.Repeat(group, deep), nested, protowire.AppendBytes(protowire.AppendTag(nil, 2, protowire.BytesType), []byte{0xff, 0xfe}),
		protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 1<<63), protowire.AppendFixed64(protowire.AppendTag(nil, 2, protowire.Fixed64Type), 1<<63),
		protowire.AppendVarint(protowire.AppendTag(nil, protowire.MaxValidNumber, protowire.VarintType), 1), bytes.Repeat([]byte{0x0a, 0x00}, 30_000), []byte("\x00\x00"),
	}
}

// TestSlowBody has bodies that never end: others are served meanwhile.
func TestSlowBody(t *testing.T) {
	b := besiege(t)
	s := httptest.NewServer(b.api)
	defer s.Close()
	var slow []net.Conn
	for range 100 {
		c, err := net.Dial("tcp", s.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		slow = append(slow, c)
		if _, err := fmt.Fprintf(c, "POST %s/all/send HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: 4000000\r\n\r\n{\"kind\":", DefaultBase, secretOf("all")); err != nil {
			t.Fatal(err)
		}
	}
	b.standing("slow bodies")
	for _, c := range slow {
		_ = c.Close()
	}
	b.standing("bodies that broke off")
}
