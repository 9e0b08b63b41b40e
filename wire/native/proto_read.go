package native

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// Wire types of the protobuf encoding.
const (
	typeVarint  = 0
	typeFixed64 = 1
	typeBytes   = 2
	typeFixed32 = 5
)

// What is wrong with the encoding.
var (
	errTruncated = errors.New("unexpected end")
	errOverlong  = errors.New("varint over 64 bits")
	errTooLarge  = errors.New("does not fit in 32 bits")
	errWireType  = errors.New("wrong wire type")
	errGroup     = errors.New("group, or unknown wire type")
	errFieldZero = errors.New("field number 0")
	errFieldHigh = errors.New("field number over 2^29-1")
)

// inField adds where an error is.
func inField(num uint32, err error) error { return fmt.Errorf("field %d: %w", num, err) }

// protoReader takes fields off the front of what is left of a message.
type protoReader []byte

// varint consumes a number of at most ten bytes.
func (r *protoReader) varint() (uint64, error) {
	b := *r
	if len(b) > 0 && b[0] < 0x80 { // nearly always
		*r = b[1:]
		return uint64(b[0]), nil
	}
	var v uint64
	for i, c := range b {
		if i == 9 && c > 1 {
			return 0, errOverlong
		}
		v |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			*r = b[i+1:]
			return v, nil
		}
	}
	return 0, errTruncated
}

// tag consumes what a field begins with.
func (r *protoReader) tag() (num uint32, wireType uint8, err error) {
	v, err := r.varint()
	switch {
	case err != nil:
		return 0, 0, err
	case v>>3 == 0:
		return 0, 0, errFieldZero
	case v>>3 > 1<<29-1:
		return 0, 0, errFieldHigh
	}
	return uint32(v >> 3), uint8(v & 7), nil
}

func (r *protoReader) uint64(wireType uint8, v *uint64) (err error) {
	if wireType != typeVarint {
		return errWireType
	}
	*v, err = r.varint()
	return err
}

func (r *protoReader) uint32(wireType uint8, v *uint32) error {
	var u uint64
	if err := r.uint64(wireType, &u); err != nil {
		return err
	}
	if u > 1<<32-1 {
		return errTooLarge
	}
	*v = uint32(u)
	return nil
}

// bytes consumes a field's data and leaves it in place.
func (r *protoReader) bytes(wireType uint8, v *[]byte) error {
	if wireType != typeBytes {
		return errWireType
	}
	n, err := r.varint()
	if err != nil {
		return err
	}
	b := *r
	if n > uint64(len(b)) {
		return errTruncated
	}
	*v, *r = b[:n:n], b[n:]
	return nil
}

// str is bytes for strings, which are UTF-8 in proto3.
func (r *protoReader) str(wireType uint8, v *[]byte) error {
	if err := r.bytes(wireType, v); err != nil {
		return err
	}
	if !utf8.Valid(*v) {
		return errNotUTF8
	}
	return nil
}

// skip consumes the value of a field that we do not know.
func (r *protoReader) skip(wireType uint8) error {
	var n int
	switch wireType {
	case typeVarint:
		_, err := r.varint()
		return err
	case typeBytes:
		var b []byte
		return r.bytes(wireType, &b)
	case typeFixed32:
		n = 4
	case typeFixed64:
		n = 8
	default:
		return errGroup
	}
	if n > len(*r) {
		return errTruncated
	}
	*r = (*r)[n:]
	return nil
}
