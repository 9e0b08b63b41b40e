package socketio

import (
	"encoding/binary"

	"github.com/polywire/polywire/internal/msgscan"
)

// The official parser has an extension of its own, type 0, for three values of
// JavaScript: undefined, which is a zero byte, Date, which is milliseconds
// since 1970 in eight bytes, and what Node has as ArrayBuffer or typed array.
// The format of the first two has a fixed length, that of the third says it.
// Arguments are handed on in MessagePack that others understand as well: nil,
// the timestamp of its specification, type -1, and bin. Timestamps to send
// become dates, cut to milliseconds.

const timestampType = 0xff

// isUndefined, isDate and isBuffer look at an extension: the format that it
// begins with, and its type and data.
func isUndefined(format byte, ext []byte) bool {
	return format == 0xd4 && ext[0] == 0 && ext[1] == 0
}

func isDate(format byte, ext []byte) bool { return format == 0xd7 && ext[0] == 0 }

func isBuffer(format byte, ext []byte) bool {
	return format >= 0xc7 && format <= 0xc9 && ext[0] == 0
}

// absent reports whether a value says that there is none. Clients without
// credentials say undefined.
func absent(value []byte) bool {
	ext, ok := msgscan.Bytes(value, msgscan.Ext)
	return ok && isUndefined(value[0], ext) || msgscan.Is(value, msgscan.Nil)
}

// plain returns a valid value without JavaScript's extensions: itself, if it
// has none.
func plain(value []byte) []byte {
	return rewrite(value, func(dst []byte, format byte, ext []byte) ([]byte, bool) {
		switch {
		case isUndefined(format, ext):
			return append(dst, 0xc0), true
		case isDate(format, ext):
			return appendTimestamp(dst, int64(binary.BigEndian.Uint64(ext[1:]))), true
		case isBuffer(format, ext):
			return msgscan.AppendBin(dst, ext[1:]), true
		}
		return dst, false
	})
}

// dated returns a valid value with dates in place of timestamps: itself, if it
// has none.
func dated(value []byte) []byte {
	return rewrite(value, func(dst []byte, _ byte, ext []byte) ([]byte, bool) {
		milliseconds, ok := timestamp(ext)
		if ok {
			dst = binary.BigEndian.AppendUint64(append(dst, 0xd7, 0), uint64(milliseconds))
		}
		return dst, ok
	})
}

// rewrite goes through a valid value and lets f append something else in place
// of an extension: its format, and its type with its data.
func rewrite(value []byte, f func(dst []byte, format byte, ext []byte) ([]byte, bool)) []byte {
	var out []byte
	done := 0
	r := msgscan.Reader{Data: value}
	// In a row, whatever is inside of what.
	for r.Pos < len(value) {
		start := r.Pos
		h, err := r.Head()
		if err != nil {
			return value // it is valid, so that does not happen
		}
		if h.Kind == msgscan.Array || h.Kind == msgscan.Map {
			continue
		}
		data := r.Take(h)
		if h.Kind != msgscan.Ext {
			continue
		}
		next, ok := f(append(out, value[done:start]...), value[start], data)
		if ok {
			out, done = next, r.Pos
		}
	}
	if done == 0 {
		return value
	}
	return append(out, value[done:]...)
}

// appendTimestamp appends a time as a timestamp of 64 or, where that cannot say
// it, of 96 bits.
func appendTimestamp(b []byte, milliseconds int64) []byte {
	seconds, rest := milliseconds/1000, milliseconds%1000
	if rest < 0 {
		seconds, rest = seconds-1, rest+1000
	}
	nanoseconds := uint64(rest) * 1e6
	if seconds >= 0 && seconds < 1<<34 {
		return binary.BigEndian.AppendUint64(append(b, 0xd7, timestampType), nanoseconds<<34|uint64(seconds))
	}
	b = binary.BigEndian.AppendUint32(append(b, 0xc7, 12, timestampType), uint32(nanoseconds))
	return binary.BigEndian.AppendUint64(b, uint64(seconds))
}

// maxDateSeconds is what a Date can say: 100 million days.
const maxDateSeconds = 100e6 * 86400

// timestamp reads an extension that is one.
func timestamp(ext []byte) (milliseconds int64, ok bool) {
	if len(ext) == 0 || ext[0] != timestampType {
		return 0, false
	}
	var seconds int64
	var nanoseconds uint64
	switch u := msgscan.BigEndian(ext[1:]); len(ext) - 1 {
	case 4:
		seconds = int64(u)
	case 8:
		seconds, nanoseconds = int64(u&(1<<34-1)), u>>34
	case 12:
		seconds, nanoseconds = int64(binary.BigEndian.Uint64(ext[5:])), msgscan.BigEndian(ext[1:5])
	default:
		return 0, false
	}
	if nanoseconds >= 1e9 || seconds > maxDateSeconds || seconds < -maxDateSeconds {
		return 0, false
	}
	return seconds*1000 + int64(nanoseconds/1e6), true
}
