package jsonscan

// quick returns where the value at d[i] ends that nests at most so deep, -1 if
// it is not valid or what programs seldom write. It is Scanner.Value for nearly
// all values, which says what is wrong with the others.
func quick(d []byte, i, most int) int {
	// One bit a level says whether it is an object.
	var objects [MaxDepth / 64]uint64
	depth := 0
	for {
		if i = blank(d, i); i == len(d) {
			return -1
		}
		opened := d[i]
		switch opened {
		case '{', '[':
			if depth >= most {
				return -1
			}
			bit := uint64(1) << (depth % 64)
			objects[depth/64%len(objects)] &^= bit
			if opened == '{' {
				objects[depth/64%len(objects)] |= bit
			}
			depth++
			i++
		default:
			if i = quickScalar(d, i); i < 0 {
				return -1
			}
			opened = 0
		}
		if depth == 0 {
			return i
		}
		if i, depth = advance(d, i, depth, &objects, opened != 0); depth <= 0 {
			return i
		}
	}
}

// advance goes on after a value or, first, after what opens an array or object,
// to where the next value begins, and returns how deep that is. At depth zero
// all has ended; the place is -1 then if something is wrong.
func advance(d []byte, i, depth int, objects *[MaxDepth / 64]uint64, first bool) (next, level int) {
	for ; depth > 0; depth-- {
		object := objects[(depth-1)/64%len(objects)]>>((depth-1)%64)&1 == 1
		end := byte(']')
		if object {
			end = '}'
		}
		if i = blank(d, i); i == len(d) {
			return -1, 0
		}
		if d[i] == end {
			i++
			first = false
			continue
		}
		if !first {
			if d[i] != ',' {
				return -1, 0
			}
			i++
		}
		if !object {
			return i, depth
		}
		if i = quickKey(d, blank(d, i)); i < 0 {
			return -1, 0
		}
		return i, depth
	}
	return i, 0
}

// quickKey returns where a key and its colon end, which begin at d[i].
func quickKey(d []byte, i int) int {
	if i == len(d) || d[i] != '"' {
		return -1
	}
	if i = quickText(d, i); i < 0 {
		return -1
	}
	if i = blank(d, i); i == len(d) || d[i] != ':' {
		return -1
	}
	return i + 1
}

// quickText returns where a string ends, which begins at d[i].
func quickText(d []byte, i int) int {
	if end := Plain(d, i+1); end >= 0 {
		return end + 1
	}
	s := Scanner{Data: d, Pos: i}
	if _, _, err := s.raw(); err != nil {
		return -1
	}
	return s.Pos
}

// quickScalar returns where a string, number or word ends, which begins at d[i].
func quickScalar(d []byte, i int) int {
	if d[i] == '"' {
		return quickText(d, i)
	}
	if d[i] >= '1' && d[i] <= '9' {
		end := digits(d, i)
		if end == len(d) || d[end] != '.' && d[end]|0x20 != 'e' {
			return end
		}
	}
	s := Scanner{Data: d, Pos: i}
	if _, err := s.begin(); err != nil {
		return -1
	}
	return s.Pos
}

// blank returns where white space ends that may begin at d[i].
func blank(d []byte, i int) int {
	for i < len(d) && d[i] <= ' ' && (d[i] == ' ' || d[i] == '\n' || d[i] == '\t' || d[i] == '\r') {
		i++
	}
	return i
}
