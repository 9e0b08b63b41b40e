package api

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	v1 "github.com/polywire/polywire/cmd/polywire/apiv1"
)

// object is one of JSON.
type object = map[string]any

// describe returns the description of the API (OpenAPI 3.1.0). It is made of
// the table that serves the requests and of polywire.proto with its comments.
func describe(version string, webhooks []byte) ([]byte, error) {
	file, err := commented()
	if err != nil {
		return nil, err
	}
	d := describer{file: file, schemas: object{"Problem": problemSchema()}}
	paths := object{}
	for _, op := range operations() {
		for _, p := range op.paths {
			item, ok := paths[p.pattern].(object)
			if !ok {
				item = object{}
				paths[p.pattern] = item
			}
			item[strings.ToLower(p.method)] = d.operation(op, p)
		}
	}
	if webhooks != nil {
		if err := d.addWebhooks(paths, webhooks); err != nil {
			return nil, err
		}
	}
	return json.MarshalIndent(object{
		"openapi": "3.1.0",
		"info": object{
			"title":   "Polywire",
			"version": cmp.Or(version, "1"),
			"description": "Names in bodies are taken as they are written here, each once; others are refused. " +
				"The same operations are there for gRPC, gRPC-Web and Connect, as polywire.proto says.",
		},
		"servers":  []any{object{"url": DefaultBase}},
		"security": []any{object{"key": []any{}}},
		"paths":    paths,
		"components": object{
			"schemas": d.schemas,
			"securitySchemes": object{"key": object{
				"type": "http", "scheme": "bearer", "description": "One of the server's API keys.",
			}},
		},
	}, "", "  ")
}

// commented returns polywire.proto with its comments.
func commented() (protoreflect.FileDescriptor, error) {
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(v1.Compiled(), &set); err != nil {
		return nil, err
	}
	if len(set.GetFile()) != 1 {
		return nil, fmt.Errorf("polywire.proto: %d files", len(set.GetFile()))
	}
	return protodesc.NewFile(set.GetFile()[0], nil)
}

func problemSchema() object {
	text := func(about string) object { return object{"type": "string", "description": about} }
	return object{
		"type": "object", "additionalProperties": false, "required": []string{"code", "detail", "status", "title", "type"},
		"description": "RFC 9457.",
		"properties": object{
			"type": text("about:blank: the status says it."), "title": text("The status in words."),
			"status": object{"type": "integer"}, "detail": text("What went wrong, for people."),
			"code":          text("What went wrong, for programs."),
			"missing_nodes": object{"type": "array", "items": object{"type": "string"}, "description": "Of partial: the servers that did not answer."},
		},
	}
}

type describer struct {
	file    protoreflect.FileDescriptor
	schemas object
}

// about returns a comment as one line.
func (d *describer) about(x protoreflect.Descriptor) string {
	return strings.Join(strings.Fields(d.file.SourceLocations().ByDescriptor(x).LeadingComments), " ")
}

// of finds a message with its comments.
func (d *describer) of(m proto.Message) protoreflect.MessageDescriptor {
	return d.file.Messages().ByName(m.ProtoReflect().Descriptor().Name())
}

func (d *describer) operation(op *operation, p path) object {
	in, out := d.of(op.newIn()), d.of(op.newOut())
	o := object{
		"operationId": p.id, "summary": d.summary(op), "responses": d.responses(op, p, out),
		"x-scope": op.scope, "x-procedure": op.procedure,
	}
	var parameters []any
	for _, name := range braces(p.pattern) {
		parameters = append(parameters, object{"name": name, "in": "path", "required": true, "schema": object{"type": "string"}})
	}
	if op.write {
		parameters = append(parameters, object{
			"name": idempotencyHeader, "in": "header", "schema": object{"type": "string", "minLength": 1, "maxLength": maxIdempotencyKey},
			"description": "The same key and request within 24 h get the same answer, and nothing is done again.",
		})
	}
	if p.method == http.MethodGet {
		for _, f := range queryFields(in, p) {
			parameters = append(parameters, object{"name": f.Name(), "in": "query", "description": d.about(f), "schema": d.field(f.FieldDescriptor)})
		}
	} else {
		o["requestBody"] = d.body(op, p, in)
	}
	if parameters != nil {
		o["parameters"] = parameters
	}
	return o
}

// body is the message without what the path says.
func (d *describer) body(op *operation, p path, in protoreflect.MessageDescriptor) object {
	name := string(in.Name())
	schema := d.message(in)
	properties := maps.Clone(schema["properties"].(object)) //nolint:forcetypeassert // message made it
	required := []string{}
	for _, need := range op.needs {
		inPath := slices.ContainsFunc(p.to, func(to string) bool { return to == need || strings.HasPrefix(to, need+".") })
		if !inPath {
			required = append(required, need)
		}
	}
	for _, to := range p.to {
		delete(properties, to)
	}
	if len(p.to) > 0 && !strings.Contains(p.to[0], ".") {
		name += "Body"
	} else if len(p.to) > 0 {
		name += "To"
	}
	whole := object{"type": "object", "additionalProperties": false, "properties": properties}
	if one := in.Oneofs().ByName("payload"); one != nil {
		var names []any
		for i := range one.Fields().Len() {
			for k := range i {
				names = append(names, object{"required": []any{one.Fields().Get(i).Name(), one.Fields().Get(k).Name()}})
			}
		}
		whole["not"] = object{"anyOf": names}
	}
	if len(required) > 0 {
		whole["required"] = required
	}
	d.schemas[name] = whole
	return object{"required": len(required) > 0, "content": content("application/json", name)}
}

func (d *describer) summary(op *operation) string {
	for i := range d.file.Services().Len() {
		if m := d.file.Services().Get(i).Methods().ByName(protoreflect.Name(op.method())); m != nil {
			return strings.TrimSuffix(d.about(m), ".")
		}
	}
	return op.method()
}

// problems are all codes that an operation's path may answer.
func (op *operation) problems(p path) []problemCode {
	all := append([]problemCode{codeUnauthorized, codeForbidden, codeInvalid, codeInternal, codeUnavailable}, op.errs...)
	if p.method != http.MethodGet {
		all = append(all, codeJSON, codeTooLarge, codeMediaType)
	}
	if op.write {
		all = append(all, codeInProgress, codeNotKept, codeKeyReused)
	}
	return all
}

func (d *describer) responses(op *operation, p path, out protoreflect.MessageDescriptor) object {
	name := string(out.Name())
	d.answer(out)
	all := object{"200": object{"description": http.StatusText(http.StatusOK), "content": content("application/json", name)}}
	words := make(map[int][]string)
	for _, c := range op.problems(p) {
		status := c.class().status
		if !slices.Contains(words[status], string(c)) {
			words[status] = append(words[status], string(c))
		}
	}
	for status, codes := range words {
		slices.Sort(codes)
		all[strconv.Itoa(status)] = object{
			"description": http.StatusText(status) + ": " + strings.Join(codes, ", "), "content": content("application/problem+json", "Problem"),
		}
	}
	return all
}

func content(t, schema string) object {
	return object{t: object{"schema": reference(schema)}}
}

func reference(name string) object { return object{"$ref": "#/components/schemas/" + name} }

// answer adds the schema of what is answered: what has no presence is there.
func (d *describer) answer(m protoreflect.MessageDescriptor) {
	if _, there := d.schemas[string(m.Name())]; there {
		return
	}
	schema := d.message(m)
	required := []string{}
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		if !f.HasPresence() {
			required = append(required, string(f.Name()))
		}
		if f.Kind() == protoreflect.MessageKind && !f.IsMap() && !isJSON(f) {
			d.answer(f.Message())
		}
	}
	schema["required"] = required
	d.schemas[string(m.Name())] = schema
}

// message returns the schema of a message; those in it are added.
func (d *describer) message(m protoreflect.MessageDescriptor) object {
	properties := object{}
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		s := d.field(f)
		if about := d.about(f); about != "" {
			s["description"] = about
		}
		properties[string(f.Name())] = s
	}
	return object{"type": "object", "additionalProperties": false, "properties": properties}
}

func (d *describer) field(f protoreflect.FieldDescriptor) object {
	switch {
	case f.IsMap():
		return object{"type": "object", "additionalProperties": object{"type": "string"}}
	case f.IsList():
		return object{"type": "array", "items": d.value(f)}
	}
	return d.value(f)
}

func (d *describer) value(f protoreflect.FieldDescriptor) object {
	switch f.Kind() {
	case protoreflect.MessageKind:
		if isJSON(f) {
			return object{}
		}
		name := string(f.Message().Name())
		if _, there := d.schemas[name]; !there {
			d.add(f.Message())
		}
		return reference(name)
	case protoreflect.BytesKind:
		return object{"type": "string", "contentEncoding": "base64"}
	case protoreflect.StringKind:
		return object{"type": "string"}
	case protoreflect.BoolKind:
		return object{"type": "boolean"}
	case protoreflect.Int32Kind:
		return object{"type": "integer", "minimum": math.MinInt32 + 1, "maximum": math.MaxInt32}
	}
	return object{"type": "integer"}
}

// add adds a message that is in another one.
func (d *describer) add(m protoreflect.MessageDescriptor) {
	if strings.HasSuffix(string(m.Name()), "Request") || m.Name() == "Target" || m.Name() == "DeadFilter" {
		d.schemas[string(m.Name())] = d.message(m)
		return
	}
	d.answer(m)
}

// addWebhooks adds the paths and bodies of the API of webhooks, under names of
// their own.
func (d *describer) addWebhooks(paths object, description []byte) error {
	const prefix = "Webhook"
	renamed := strings.ReplaceAll(string(description), `"#/components/schemas/`, `"#/components/schemas/`+prefix)
	var other struct {
		Paths      map[string]map[string]object `json:"paths"`
		Components struct {
			Schemas object `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal([]byte(renamed), &other); err != nil {
		return fmt.Errorf("the description of the webhooks: %w", err)
	}
	for path, item := range other.Paths {
		for _, op := range item {
			op["x-scope"] = ScopeWebhooks
			responses, _ := op["responses"].(object)
			for _, p := range []problemCode{codeUnauthorized, codeForbidden} { // said before the webhooks are asked
				status := strconv.Itoa(p.class().status)
				responses[status] = object{
					"description": http.StatusText(p.class().status), "content": content("application/problem+json", "Problem"),
				}
			}
		}
		paths["/webhooks"+path] = item
	}
	for name, schema := range other.Components.Schemas {
		d.schemas[prefix+name] = schema
	}
	return nil
}
