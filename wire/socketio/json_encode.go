package socketio

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/internal/jsonscan"
	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/wire"
)

// Encode writes a packet: one frame of text, and one for each attachment. In
// version 4 a client's Hello for the main namespace is no frame at all, since
// its server lets everybody in there.
func (s *jsonSession) Encode(w *transport.Writer, p *wire.Packet) error {
	namespace, err := s.target(p)
	if err != nil {
		return unsayable(p.Type, err)
	}
	switch p.Type {
	case wire.Hello, wire.Welcome, wire.Refused, wire.Goodbye:
		err = s.control(w, namespace, p)
	default:
		err = s.event(w, namespace, p)
	}
	if err != nil {
		return unsayable(p.Type, err)
	}
	return nil
}

// event writes an event or an acknowledgement.
func (s *jsonSession) event(w *transport.Writer, namespace string, p *wire.Packet) error {
	if p.Type == wire.Reply && p.ID != 0 && p.Payload.Type == codec.TypeJSON && len(p.Args) == 0 {
		return reply(w, namespace, p)
	}
	y, err := sayingOf(p)
	if err != nil {
		return err
	}
	parts, err := y.attachments()
	switch {
	case err != nil:
		return err
	case len(parts) > s.maxAttachments:
		return errTooMany
	}
	before := len(w.Bytes())
	b := w.Begin()
	if len(parts) == 0 {
		b = append(b, y.typ)
	} else {
		b = strconv.AppendInt(append(b, y.typ+toBinary), int64(len(parts)), 10)
		b = append(b, '-')
	}
	b = appendNamespace(b, namespace)
	if y.id != 0 {
		b = strconv.AppendUint(b, y.id-1, 10)
	}
	if b, err = y.appendJSON(b, len(parts) > 0); err != nil {
		return err
	}
	if err := w.End(b, transport.Text); err != nil {
		return err
	}
	for _, part := range parts {
		if err := w.Frame(transport.Binary, part); err != nil {
			w.Truncate(before)
			return err
		}
	}
	return nil
}

// reply writes what nearly all acknowledgements are: one argument of JSON.
func reply(w *transport.Writer, namespace string, p *wire.Packet) error {
	b := appendNamespace(append(w.Begin(), typeAck), namespace)
	a := jsonWriter{b: append(strconv.AppendUint(b, p.ID-1, 10), '[')}
	if a.payload(p.Payload); a.err != nil {
		return a.err
	}
	return w.End(append(a.b, ']'), transport.Text)
}

// attachments returns the bytes that go beside the text, nil if there are none.
func (y *saying) attachments() (parts [][]byte, err error) {
	for i := range y.count() {
		if parts, err = appendParts(parts, y.arg(i)); err != nil {
			return nil, err
		}
	}
	if y.err != nil {
		return appendParts(parts, y.err.Details)
	}
	return parts, nil
}

func appendParts(parts [][]byte, a codec.Payload) ([][]byte, error) {
	switch a.Type {
	case codec.TypeBytes:
		return append(parts, a.Data), nil
	case codec.TypeParts:
		_, inside, err := codec.SplitParts(a.Data)
		return append(parts, inside...), err
	}
	return parts, nil
}

// appendJSON appends the JSON array.
func (y *saying) appendJSON(b []byte, attached bool) ([]byte, error) {
	w := jsonWriter{b: append(b, '['), attached: attached}
	for _, word := range y.words[:y.spoken] {
		w.next()
		w.b = jsonscan.AppendString(w.b, word)
	}
	for i := range y.count() {
		w.next()
		w.payload(y.arg(i))
	}
	if y.err != nil {
		w.b = append(w.b, `{"error":{"code":`...)
		w.text(y.err.Code)
		w.b = append(w.b, `,"message":`...)
		w.text(y.err.Message)
		if !y.err.Details.Empty() {
			w.b = append(w.b, `,"details":`...)
			w.payload(y.err.Details)
		}
		w.b = append(w.b, "}}"...)
	}
	if y.offset != "" {
		w.next()
		w.b = jsonscan.AppendString(w.b, y.offset)
	}
	return append(w.b, ']'), w.err
}

// jsonWriter appends arguments. Text is checked: it may come from a peer, and
// must not break out of the array.
type jsonWriter struct {
	b        []byte
	err      error // the first
	attached bool  // the packet has attachments
	parts    int   // attachments so far
}

// next begins an element.
func (w *jsonWriter) next() {
	if w.b[len(w.b)-1] != '[' {
		w.b = append(w.b, ',')
	}
}

// text appends what any packet can say.
func (w *jsonWriter) text(s string) { w.b = jsonscan.AppendString(w.b, validUTF8(s)) }

func (w *jsonWriter) fail(err error) {
	if w.err == nil {
		w.err = err
	}
}

func (w *jsonWriter) payload(a codec.Payload) {
	switch a.Type {
	case "":
		if !a.Empty() {
			w.fail(errContentType)
		}
		w.b = append(w.b, "null"...)
	case codec.TypeJSON:
		if err := jsonscan.Valid(a.Data); err != nil {
			w.fail(fmt.Errorf("payload is not JSON: %w", err))
			return
		}
		if w.attached {
			w.checkLikeness(a.Data)
		}
		w.b = append(w.b, a.Data...)
	case codec.TypeBytes:
		w.b = appendPlaceholder(w.b, w.parts)
		w.parts++
	case codec.TypeParts:
		w.nested(a.Data)
	default:
		w.fail(errContentType)
	}
}

// checkLikeness refuses JSON in which receivers would put attachments that are
// none of its own, or none at all, for which they would close their links.
func (w *jsonWriter) checkLikeness(text []byte) {
	r := placer{sc: jsonscan.Scanner{Data: text}}
	if _, err := r.value(); err != nil {
		w.fail(errLikePart)
	}
}

// nested appends JSON that has attachments of its own.
func (w *jsonWriter) nested(data []byte) {
	text, parts, err := codec.SplitParts(data)
	if err == nil {
		err = jsonscan.Valid(text)
	}
	if err != nil {
		w.fail(fmt.Errorf("payload is not JSON with parts: %w", err))
		return
	}
	r := placer{limit: len(parts), base: w.parts}
	if w.b, err = r.place(w.b, text); err != nil {
		w.fail(err)
	}
	w.parts += len(parts)
}

// appendNamespace appends a namespace's name, unless it is the main one.
func appendNamespace(b []byte, namespace string) []byte {
	if namespace == mainNamespace {
		return b
	}
	return append(append(b, namespace...), ',')
}

// control writes a packet about a connection.
func (s *jsonSession) control(w *transport.Writer, namespace string, p *wire.Packet) (err error) {
	b := w.Begin()
	switch p.Type {
	case wire.Hello:
		if s.version == 4 && namespace == mainNamespace && s.dialled {
			if len(p.Header) > 0 || !p.Payload.Empty() {
				return errMainHasNoAuth
			}
			return nil
		}
		b, err = s.appendHello(b, namespace, p)
	case wire.Welcome:
		b, err = s.appendWelcome(b, namespace, p)
	case wire.Refused:
		b, err = s.appendRefused(b, namespace, p)
	default:
		b = appendNamespace(append(b, typeDisconnect), namespace)
	}
	if err != nil {
		return err
	}
	return w.End(b, transport.Text)
}

// appendHello appends a connect with credentials: the payload's members and
// the header's, and where there is a session to resume its own before them.
func (s *jsonSession) appendHello(b []byte, namespace string, p *wire.Packet) ([]byte, error) {
	if !s.dialled {
		return b, errWrongSide
	}
	var object []byte
	if !p.Payload.Empty() {
		if p.Payload.Type != codec.TypeJSON {
			return b, errContentType
		}
		var err error
		if object, err = jsonObject(p.Payload.Data); err != nil {
			return b, err
		}
	}
	b = append(b, typeConnect)
	if s.version == 4 {
		b = append(b, namespace...)
		b = appendQuery(b, p.Header, object)
		return append(b, ','), nil
	}
	b = appendNamespace(b, namespace)
	var members []member
	if p.Resume != "" {
		members = append(members, member{"pid", p.Resume})
		if p.Position != "" {
			members = append(members, member{"offset", p.Position})
		}
	}
	for _, k := range sortedKeys(p.Header) {
		members = append(members, member{k, p.Header[k]})
	}
	members = slices.DeleteFunc(members, func(m member) bool { return jsonValue(object, m.key) != nil })
	if len(members) == 0 {
		return append(b, object...), nil
	}
	b = append(b, '{')
	for i, m := range members {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(jsonscan.AppendString(b, validUTF8(m.key)), ':')
		b = jsonscan.AppendString(b, validUTF8(m.value))
	}
	rest := jsonscan.Scanner{Data: object, Pos: min(1, len(object))}
	if c := rest.Peek(); c != 0 && c != '}' {
		return append(append(b, ','), object[rest.Pos:]...), nil
	}
	return append(b, '}'), nil
}

// member is one of an object whose value is a string.
type member struct{ key, value string }

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// appendWelcome appends the answer to a connect; that of version 4 says nothing.
func (s *jsonSession) appendWelcome(b []byte, namespace string, p *wire.Packet) ([]byte, error) {
	if s.dialled {
		return b, errWrongSide
	}
	b = appendNamespace(append(b, typeConnect), namespace)
	if s.version == 4 {
		return b, nil
	}
	b = jsonscan.AppendString(append(b, `{"sid":`...), validUTF8(p.Key))
	if p.Resume != "" {
		b = jsonscan.AppendString(append(b, `,"pid":`...), validUTF8(p.Resume))
	}
	return append(b, '}'), nil
}

// appendRefused appends a connect error. Details that are not JSON are left
// out: the packet has no attachments, and the client waits for an answer.
func (s *jsonSession) appendRefused(b []byte, namespace string, p *wire.Packet) ([]byte, error) {
	switch {
	case s.dialled:
		return b, errWrongSide
	case p.Err == nil:
		return b, errNoError
	}
	b = appendNamespace(append(b, typeConnectError), namespace)
	details := p.Err.Details
	told := details.Type == codec.TypeJSON && jsonscan.Valid(details.Data) == nil
	if s.version == 4 {
		if told {
			return append(b, details.Data...), nil
		}
		return jsonscan.AppendString(b, spoken(p.Err)), nil
	}
	b = jsonscan.AppendString(append(b, `{"message":`...), spoken(p.Err))
	if told {
		b = append(append(b, `,"data":`...), details.Data...)
	}
	return append(b, '}'), nil
}
