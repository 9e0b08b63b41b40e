package webhook

import (
	"errors"
	"fmt"
)

// Format says how requests are signed and what their bodies look like.
type Format int

const (
	// FormatStandard is that of Standard Webhooks 1.0.0: the headers webhook-id,
	// webhook-timestamp and webhook-signature; the body is
	// {"type", "timestamp", "data"}.
	FormatStandard Format = iota + 1
	// FormatGost is that of the Gost framework: the headers X-Gost-Signature and
	// X-Gost-Event; the body is {"event", "timestamp", "data"}. It has no id,
	// and one signature: a secret cannot be replaced without a gap unless the
	// receiver knows the new one first.
	FormatGost
)

// String returns "standard" or "gost".
func (f Format) String() string {
	switch f {
	case FormatStandard:
		return "standard"
	case FormatGost:
		return "gost"
	}
	return fmt.Sprintf("Format(%d)", int(f))
}

// MarshalText is [Format.String] for the formats that there are.
func (f Format) MarshalText() ([]byte, error) {
	if f != FormatStandard && f != FormatGost {
		return nil, errors.New("webhook: no such format")
	}
	return []byte(f.String()), nil
}

// UnmarshalText parses "standard" and "gost".
func (f *Format) UnmarshalText(text []byte) error {
	switch string(text) {
	case "standard":
		*f = FormatStandard
	case "gost":
		*f = FormatGost
	default:
		return errors.New(`webhook: the format is neither "standard" nor "gost"`)
	}
	return nil
}
