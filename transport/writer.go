package transport

// Writer collects the bytes of frames for one [Framer]. The zero value is not
// usable; see [NewWriter]. It is not safe for concurrent use.
type Writer struct {
	framer Framer
	buf    []byte
	start  int
}

// NewWriter returns a Writer that appends to buf, which may be nil.
func NewWriter(f Framer, buf []byte) Writer { return Writer{framer: f, buf: buf} }

// Reset makes the Writer append to buf, frames of f.
func (w *Writer) Reset(f Framer, buf []byte) { *w = Writer{framer: f, buf: buf} }

// Begin starts a frame and returns the slice to append its payload to; give
// the result to End.
func (w *Writer) Begin() []byte {
	w.start = len(w.buf)
	return w.framer.Begin(w.buf)
}

// End completes the frame: b is what Begin returned with the payload appended.
// After an error the Writer is as it was before Begin.
func (w *Writer) End(b []byte, t FrameType) error {
	out, err := w.framer.End(b, w.start, t)
	if err != nil {
		w.buf = b[:w.start]
		return err
	}
	w.buf = out
	return nil
}

// Frame writes a whole frame whose payload is at hand.
func (w *Writer) Frame(t FrameType, payload []byte) error {
	return w.End(append(w.Begin(), payload...), t)
}

// Truncate drops the frames behind the first n bytes, as Bytes had them when
// that was its length.
func (w *Writer) Truncate(n int) { w.buf = w.buf[:n] }

// Bytes returns everything written. It is valid until the next call of Begin.
func (w *Writer) Bytes() []byte { return w.buf }
