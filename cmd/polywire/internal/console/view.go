package console

import (
	"encoding/base64"
	"strings"
	"unicode/utf8"

	"github.com/polywire/polywire/cmd/polywire/internal/shown"
	"github.com/polywire/polywire/codec"
)

// Bounds of what is shown of a peer's texts.
const (
	maxTextBytes   = 256   // a name, an id, an error
	maxBodyShown   = 2048  // of a message in the tail
	maxBodyTaken   = 16384 // of a message that has to be translated first
	maxLetterShown = 16384 // of a dead letter
	maxHeaders     = 32
)

// masked stands for what may be a credential.
const masked = "***"

// viewer says payloads as texts.
type viewer struct{ forms *shown.Forms }

func newViewer() (*viewer, error) {
	forms, err := shown.New()
	if err != nil {
		return nil, err
	}
	return &viewer{forms}, nil
}

// body is what is shown of a payload.
type body struct {
	Type    string `json:"type,omitempty"`
	Size    int    `json:"size"`
	Body    string `json:"body,omitempty"`
	Cut     bool   `json:"cut,omitempty"`
	Base64  bool   `json:"base64,omitempty"`
	Hidden  bool   `json:"hidden,omitempty"`
	Omitted bool   `json:"omitted,omitempty"`
}

// show fills in the text of a payload, of which part may be missing, up to most bytes.
func (v *viewer) show(to *body, kind string, p codec.Payload, part bool, most int) {
	to.Type, to.Cut = clip(p.Type, maxTextBytes), part
	if part { // what has no end translates to nothing
		to.text(p.Data, most)
		return
	}
	switch f := v.forms.Of(kind, p); {
	case f.JSON != nil:
		to.text(f.JSON, most)
	case f.Text != nil:
		to.text([]byte(*f.Text), most)
	case f.Bytes != nil:
		to.text(f.Bytes, most)
	}
}

// text takes bytes as they are where they are text.
func (b *body) text(data []byte, most int) {
	if len(data) > most {
		b.Cut = true
		data = data[:most]
	}
	if b.Cut { // a character may have been cut, too
		for i := 1; i < utf8.UTFMax && i <= len(data); i++ {
			if tail := data[len(data)-i:]; utf8.RuneStart(tail[0]) {
				if !utf8.FullRune(tail) {
					data = data[:len(data)-i]
				}
				break
			}
		}
	}
	if utf8.Valid(data) {
		b.Body = string(data)
		return
	}
	b.Body, b.Base64 = base64.StdEncoding.EncodeToString(data), true
}

// showHeader returns headers with what may be credentials masked.
func showHeader(header map[string]string) map[string]string {
	if len(header) == 0 {
		return nil
	}
	out := make(map[string]string, min(len(header), maxHeaders))
	for name, value := range header {
		if len(out) == maxHeaders {
			break
		}
		if secretName(name) {
			value = masked
		}
		out[clip(name, maxTextBytes)] = clip(value, maxTextBytes)
	}
	return out
}

// secretName reports whether a header's name sounds as if its value let somebody in.
func secretName(name string) bool {
	name = strings.ToLower(name)
	for _, word := range []string{"auth", "cookie", "token", "secret", "passw", "key", "credential", "session", "signature", "jwt"} {
		if strings.Contains(name, word) {
			return true
		}
	}
	return false
}
