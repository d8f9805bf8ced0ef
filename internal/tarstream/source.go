package tarstream

import (
	"errors"
	"io"
)

const (
	blockSize = 512
	// readSize is the buffer for readers that do not hand out their own.
	readSize = 256 << 10
)

// Chunker is a reader that hands out its own buffers. A chunk is valid until
// the next call. The end is io.EOF.
type Chunker interface {
	NextChunk() ([]byte, error)
}

// source gives the stream as pieces of memory, copying only what straddles.
type source struct {
	r     io.Reader
	ch    Chunker // r, if it is one
	buf   []byte
	cur   []byte // what is left of the last chunk
	err   error  // to be returned once cur is used up
	off   int64  // bytes consumed
	block [blockSize]byte
}

func newSource(r io.Reader) source {
	s := source{r: r}
	if ch, ok := r.(Chunker); ok {
		s.ch = ch
	}
	return s
}

// fill makes cur non-empty or returns why it cannot.
func (s *source) fill() error {
	for empty := 0; len(s.cur) == 0; empty++ {
		if s.err != nil {
			return s.err
		}
		if empty > 100 {
			return io.ErrNoProgress
		}
		if s.ch != nil {
			s.cur, s.err = s.ch.NextChunk()
			continue
		}
		if s.buf == nil {
			s.buf = make([]byte, readSize)
		}
		n, err := s.r.Read(s.buf)
		s.cur, s.err = s.buf[:n], err
	}
	return nil
}

// take returns up to n bytes, at least one.
func (s *source) take(n int64) ([]byte, error) {
	if err := s.fill(); err != nil {
		return nil, err
	}
	p := s.cur
	if int64(len(p)) > n {
		p = p[:n]
	}
	s.cur = s.cur[len(p):]
	s.off += int64(len(p))
	return p, nil
}

// next returns one block, valid until the next call of any method. The error
// is io.EOF only if nothing at all is left, and io.ErrUnexpectedEOF within a
// block.
func (s *source) next() ([]byte, error) {
	if err := s.fill(); err != nil {
		return nil, err
	}
	if len(s.cur) >= blockSize {
		return s.take(blockSize)
	}
	n := 0
	for n < blockSize {
		p, err := s.take(int64(blockSize - n))
		if err != nil {
			return s.block[:n], unexpected(err)
		}
		n += copy(s.block[n:], p)
	}
	return s.block[:], nil
}

// unexpected turns the end of the stream into io.ErrUnexpectedEOF.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
