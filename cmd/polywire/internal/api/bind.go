package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// bind fills an operation's request: from the body, the path and the query.
func (op *operation) bind(w http.ResponseWriter, r *http.Request, p path, in proto.Message) error {
	m := in.ProtoReflect()
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return invalid("the query cannot be read")
	}
	if p.method == http.MethodGet {
		err = bindQuery(m, p, query)
	} else {
		if len(query) > 0 {
			return invalid("no query is known here")
		}
		var body []byte
		if body, err = op.read(w, r); err == nil && body != nil {
			err = decodeJSON(body, m)
		}
	}
	if err != nil {
		return err
	}
	names := braces(p.pattern)
	for i, to := range p.to {
		if len(names) == 0 {
			setPath(m, to, protoreflect.ValueOfBool(true))
			break
		}
		value := r.PathValue(names[i])
		if !utf8.ValidString(value) {
			return invalid("the path is not UTF-8")
		}
		if !setPath(m, to, protoreflect.ValueOfString(value)) {
			return invalid("%s is in the path: leave it out of the body", to)
		}
	}
	return nil
}

// braces returns the names between braces.
func braces(pattern string) (names []string) {
	for part := range strings.SplitSeq(pattern, "/") {
		if name, ok := strings.CutPrefix(part, "{"); ok {
			names = append(names, strings.TrimSuffix(name, "}"))
		}
	}
	return names
}

// setPath sets a field, or one of a field, or adds to a list; false: it is there.
func setPath(m protoreflect.Message, to string, v protoreflect.Value) bool {
	name, rest, below := strings.Cut(to, ".")
	f := m.Descriptor().Fields().ByTextName(name)
	switch {
	case below:
		return setPath(m.Mutable(f).Message(), rest, v)
	case f.IsList():
		m.Mutable(f).List().Append(v)
		return true
	case m.Has(f) && f.Kind() != protoreflect.BoolKind:
		return false
	}
	m.Set(f, v)
	return true
}

// queryField is a field that a query may set.
type queryField struct {
	protoreflect.FieldDescriptor

	in protoreflect.FieldDescriptor // nil: the request itself
}

// queryFields are those of a request that its path does not set, and those of
// its filter.
func queryFields(d protoreflect.MessageDescriptor, p path) (fields []queryField) {
	for i := range d.Fields().Len() {
		f := d.Fields().Get(i)
		switch {
		case len(p.to) > 0 && p.to[0] == string(f.Name()):
		case f.Kind() == protoreflect.MessageKind:
			for k := range f.Message().Fields().Len() {
				fields = append(fields, queryField{f.Message().Fields().Get(k), f})
			}
		default:
			fields = append(fields, queryField{f, nil})
		}
	}
	return fields
}

func bindQuery(m protoreflect.Message, p path, query url.Values) error {
	fields := make(map[string]queryField)
	for _, f := range queryFields(m.Descriptor(), p) {
		fields[string(f.Name())] = f
	}
	for name, values := range query {
		f, ok := fields[name]
		if !ok {
			return invalid("query parameter %.50q is not known here", name)
		}
		if len(values) > 1 && !f.IsList() || len(values) > maxElements {
			return invalid("query parameter %.50q is there too often", name)
		}
		to := m
		if f.in != nil {
			to = m.Mutable(f.in).Message()
		}
		for _, value := range values {
			v, err := queryValue(f.Kind(), value)
			if err != nil {
				return invalid("query parameter %.50q: %v", name, err)
			}
			if f.IsList() {
				to.Mutable(f.FieldDescriptor).List().Append(v)
			} else {
				to.Set(f.FieldDescriptor, v)
			}
		}
	}
	return nil
}

func queryValue(k protoreflect.Kind, text string) (protoreflect.Value, error) {
	if !utf8.ValidString(text) {
		return protoreflect.Value{}, errors.New("it is not UTF-8")
	}
	if k == protoreflect.StringKind {
		return protoreflect.ValueOfString(text), nil
	}
	if text == "" || strings.TrimSpace(text) != text {
		text = strconv.Quote(text) // which is no number
	}
	return scalar(k, json.RawMessage(text))
}
