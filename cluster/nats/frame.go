package natscluster

import (
	"encoding/binary"
	"errors"
	"slices"
)

// A message begins with a frame:
//
//	1 byte   version 1 in the upper half; bit 0: one of several copies
//	1 byte   length of the sender's ID
//	         the sender's ID
//	uvarint  number of the message among the sender's that have copies
//	         (only with bit 0)
//	         data
const (
	frameVersion = 0x10
	frameCopies  = 0x01
	frameMax     = 2 + maxNodeID + binary.MaxVarintLen64
)

var errFrame = errors.New("natscluster: malformed frame")

// appendFrame writes a frame; seq 0 means that there are no copies.
func appendFrame(b []byte, from string, seq uint64) []byte {
	kind := byte(frameVersion)
	if seq != 0 {
		kind |= frameCopies
	}
	b = append(b, kind, byte(len(from)))
	b = append(b, from...)
	if seq != 0 {
		b = binary.AppendUvarint(b, seq)
	}
	return b
}

// parseFrame takes a message apart; the results share its memory.
func parseFrame(b []byte) (from []byte, seq uint64, data []byte, err error) {
	if len(b) < 2 || b[0]&^frameCopies != frameVersion {
		return nil, 0, nil, errFrame
	}
	copies, n := b[0]&frameCopies != 0, int(b[1])
	b = b[2:]
	if n == 0 || n > maxNodeID || len(b) < n {
		return nil, 0, nil, errFrame
	}
	from, b = b[:n:n], b[n:]
	if copies {
		var size int
		seq, size = binary.Uvarint(b)
		if size <= 0 || seq == 0 {
			return nil, 0, nil, errFrame
		}
		b = b[size:]
	}
	return from, seq, slices.Clip(b), nil
}
