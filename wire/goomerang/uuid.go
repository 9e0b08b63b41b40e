package goomerang

// uuids makes the uuids of one session's calls: a random half, and the number
// of the call, so that nobody needs to remember them. They have the form of
// version 4, RFC 9562 section 5.4.
type uuids [uuidHalf]byte

const (
	uuidBytes = 36
	uuidHalf  = 19 // with the dash behind it
	maxCallID = 1<<62 - 1

	hexDigits = "0123456789abcdef"
)

func newUUIDs(random uint64) (u uuids) {
	dst := appendHex(u[:0], random&^0xf000|0x4000, 4, 6) // the version
	return uuids(append(dst, '-'))
}

// appendHex appends the digits of v, with dashes before some of its bytes.
func appendHex(dst []byte, v uint64, dash1, dash2 int) []byte {
	for i := range 8 {
		if i == dash1 || i == dash2 {
			dst = append(dst, '-')
		}
		dst = append(dst, hexDigits[v>>(60-8*i)&0xf], hexDigits[v>>(56-8*i)&0xf])
	}
	return dst
}

// append appends the uuid of a call, whose number is at most maxCallID.
func (u *uuids) append(dst []byte, id uint64) []byte {
	return appendHex(append(dst, u[:]...), id|1<<63, 2, 2) // the variant
}

// call returns the number of the call whose uuid this is, zero if it is none of
// this session's.
func (u *uuids) call(uuid []byte) (id uint64) {
	if len(uuid) != uuidBytes || string(uuid[:uuidHalf]) != string(u[:]) {
		return 0
	}
	for i, c := range uuid[uuidHalf:] {
		switch {
		case i == 4 && c == '-':
			continue
		case i == 4:
			return 0
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		default:
			return 0
		}
		id = id<<4 | uint64(c)
	}
	if id>>62 != 2 {
		return 0
	}
	return id & maxCallID
}
