package websocket

import "encoding/binary"

// mask applies a masking key, as it is in memory (little endian), to b from
// its beginning: RFC 6455 section 5.3. It is its own inverse.
func mask(b []byte, key uint32) {
	k := uint64(key)<<32 | uint64(key)
	for len(b) >= 32 {
		q := b[:32]
		binary.LittleEndian.PutUint64(q, binary.LittleEndian.Uint64(q)^k)
		binary.LittleEndian.PutUint64(q[8:], binary.LittleEndian.Uint64(q[8:])^k)
		binary.LittleEndian.PutUint64(q[16:], binary.LittleEndian.Uint64(q[16:])^k)
		binary.LittleEndian.PutUint64(q[24:], binary.LittleEndian.Uint64(q[24:])^k)
		b = b[32:]
	}
	for len(b) >= 8 {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^k)
		b = b[8:]
	}
	for i := range b {
		b[i] ^= byte(k)
		k >>= 8
	}
}
