package pull

import (
	"errors"
	"io"
)

// NextChunk returns the next piece of the stream without copying it. It is
// valid until the next call of any method. The error is that of Read.
func (s *stream) NextChunk() ([]byte, error) {
	if len(s.rest) > 0 {
		chunk := s.rest
		s.rest = nil
		return chunk, nil
	}
	for !s.ended {
		if s.cur != nil {
			s.cur.release()
			s.cur = nil
		}
		b, ok := <-s.out
		if !ok {
			s.stages.Wait()
			s.ended, s.endErr = true, onlyVerdict(s.verdict())
			break
		}
		s.cur = b
		if len(b.data) > 0 {
			return b.data, nil
		}
	}
	return nil, s.endErr
}

// Read implements io.Reader. It returns io.EOF only after size, digest and
// diff ID have matched; any other end is an error.
func (s *stream) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	chunk, err := s.NextChunk()
	n := copy(p, chunk)
	s.rest = chunk[n:]
	return n, err
}

// WriteTo implements io.WriterTo, so that io.Copy needs no buffer of its own.
func (s *stream) WriteTo(w io.Writer) (int64, error) {
	var total int64
	for {
		chunk, err := s.NextChunk()
		if ended(err) {
			return total, nil
		}
		if err != nil {
			return total, err
		}
		n, err := w.Write(chunk)
		total += int64(n)
		if err != nil {
			return total, err
		}
	}
}

// Close stops all stages, waits for them, and releases what they held. It may
// be called at any time, also more than once, but not beside Read.
func (s *stream) Close() error {
	if s.body == nil {
		return nil
	}
	s.cancel(errClosed)
	if !s.ended {
		s.ended, s.endErr = true, errClosed
	}
	s.rest = nil
	if s.cur != nil {
		s.cur.release()
		s.cur = nil
	}
	s.stages.Wait()
	for b := range s.out {
		b.release()
	}
	s.in.recycle()
	s.outRing.recycle()
	err := s.body.Close()
	s.body = nil
	return err
}

// ended reports whether a reader has come to its end. Only io.EOF itself says
// so; a failure may well wrap it, for example when a connection breaks.
func ended(err error) bool { return err == io.EOF } //nolint:errorlint // see above

// onlyVerdict keeps a failure that wraps io.EOF from passing for the verdict
// that a layer is whole, whichever way a caller compares.
func onlyVerdict(err error) error {
	if ended(err) || !errors.Is(err, io.EOF) {
		return err
	}
	return &brokenOff{err}
}

// brokenOff is err without the io.EOF in it.
type brokenOff struct{ err error }

func (e *brokenOff) Error() string        { return e.err.Error() }
func (e *brokenOff) As(target any) bool   { return errors.As(e.err, target) }
func (e *brokenOff) Is(target error) bool { return target != io.EOF && errors.Is(e.err, target) }
