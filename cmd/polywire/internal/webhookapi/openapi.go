package webhookapi

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/polywire/polywire/cmd/polywire/internal/strictjson"
	"github.com/polywire/polywire/webhook"
)

// object is one of JSON.
type object = map[string]any

// Describe returns the description of the API (OpenAPI 3.1.0), mounted at a
// path. It is made of the table that serves the requests and of the types of
// the bodies.
func Describe(base, version string) ([]byte, error) {
	paths := object{}
	for _, op := range operations() {
		item, ok := paths[op.path].(object)
		if !ok {
			item = object{}
			paths[op.path] = item
		}
		item[strings.ToLower(op.method)] = op.describe()
	}
	schemas := object{}
	for _, t := range bodies() {
		if err := addSchema(schemas, t); err != nil {
			return nil, err
		}
	}
	return json.MarshalIndent(object{
		"openapi": "3.1.0",
		"info": object{
			"title":   "Polywire webhooks",
			"version": cmp.Or(version, "1"),
			"description": "Endpoints, events, attempts and replays of outgoing webhooks. " +
				"Names in bodies are taken as they are written here, each once; others are refused.",
		},
		"servers":  []any{object{"url": cmp.Or(base, "/")}},
		"security": []any{object{"key": []any{}}},
		"paths":    paths,
		"components": object{
			"schemas":         schemas,
			"securitySchemes": object{"key": object{"type": "http", "scheme": "bearer", "description": "The server's --api-key."}},
		},
	}, "", "  ")
}

func (op operation) describe() object {
	d := object{"operationId": op.id, "summary": op.summary, "responses": op.responses()}
	var parameters []any
	if strings.Contains(op.path, "{id}") {
		parameters = append(parameters, object{"name": "id", "in": "path", "required": true, "schema": object{"type": "string"}})
	}
	for _, p := range op.query {
		parameters = append(parameters, object{"name": p.name, "in": "query", "description": p.about, "schema": object{"type": p.kind}})
	}
	if parameters != nil {
		d["parameters"] = parameters
	}
	if op.in != nil {
		d["requestBody"] = object{"required": !op.optional, "content": content(reflect.TypeOf(op.in))}
	}
	return d
}

func (op operation) responses() object {
	success := object{"description": http.StatusText(op.status)}
	if op.out != nil {
		success["content"] = content(reflect.TypeOf(op.out))
	}
	all := object{strconv.Itoa(op.status): success}
	for _, status := range op.statuses() {
		all[strconv.Itoa(status)] = object{"description": http.StatusText(status), "content": object{typeProblem: object{"schema": reference(reflect.TypeFor[Problem]())}}}
	}
	return all
}

func content(t reflect.Type) object {
	return object{typeJSON: object{"schema": reference(t)}}
}

func reference(t reflect.Type) object { return object{"$ref": "#/components/schemas/" + t.Name()} }

// addSchema adds the schema of a struct, and those of the structs in it.
func addSchema(to object, t reflect.Type) error {
	if _, there := to[t.Name()]; there {
		return nil
	}
	properties := object{}
	required := []string{}
	to[t.Name()] = object{"type": "object", "properties": properties, "required": &required, "additionalProperties": false}
	for _, f := range strictjson.Fields(t) {
		s, err := schema(to, f.Type)
		if err != nil {
			return fmt.Errorf("%s.%s: %w", t.Name(), f.Name, err)
		}
		if about := f.Tag.Get("doc"); about != "" {
			s["description"] = about
		}
		if words := f.Tag.Get("enum"); words != "" {
			s["enum"] = strings.Split(words, ",")
		}
		properties[f.Name] = s
		if f.Required {
			required = append(required, f.Name)
		}
	}
	slices.Sort(required)
	return nil
}

// schema returns that of a type that a field may have.
func schema(to object, t reflect.Type) (object, error) {
	switch t {
	case reflect.TypeFor[time.Time]():
		return object{"type": "string", "format": "date-time"}, nil
	case reflect.TypeFor[json.RawMessage]():
		return object{}, nil
	case reflect.TypeFor[[]byte]():
		return object{"type": "string", "contentEncoding": "base64"}, nil
	case reflect.TypeFor[webhook.Schedule]():
		return object{
			"type": "object", "required": []string{"delays"}, "additionalProperties": false,
			"properties": object{
				"delays": object{"type": "array", "items": object{"type": "string"}, "description": "As 0s, 5s, 5m."},
				"jitter": object{"type": "number", "minimum": 0, "maximum": 1},
			},
		}, nil
	}
	switch t.Kind() {
	case reflect.Pointer:
		return schema(to, t.Elem())
	case reflect.String:
		return object{"type": "string"}, nil
	case reflect.Bool:
		return object{"type": "boolean"}, nil
	case reflect.Int:
		return object{"type": "integer"}, nil
	case reflect.Float64:
		return object{"type": "number"}, nil
	case reflect.Struct:
		return reference(t), addSchema(to, t)
	case reflect.Slice:
		items, err := schema(to, t.Elem())
		return object{"type": "array", "items": items}, err
	case reflect.Map:
		values, err := schema(to, t.Elem())
		return object{"type": "object", "additionalProperties": values}, err
	}
	return nil, fmt.Errorf("no schema for %v", t)
}
