package overlay

import (
	"context"
	"errors"
	"io"
	"syscall"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/byhand/byhand/unpack"
)

// Source is a layer that can be fetched.
type Source interface {
	// DiffID is the digest that the uncompressed tar must have, from a
	// verified config.
	DiffID() digest.Digest
	// Open returns the uncompressed tar. It MUST end in io.EOF only after
	// everything that was read matched the diff ID, and in another error
	// else; that EOF is what lets the layer become visible. A read MUST
	// return soon after ctx ends. Open may be called again, after Close.
	Open(ctx context.Context) (io.ReadCloser, error)
}

// sizer is what a Source may also be: Size is about how many bytes there are
// to fetch, so that the largest layer can go first.
type sizer interface{ Size() int64 }

// damaged is what an error of a source's stream may also be: Damaged reports
// that the content was not what it should be, so that fetching it once more
// may help.
type damaged interface{ Damaged() bool }

// stream is a source's stream that remembers how it ended.
type stream struct {
	r   io.Reader
	end error // nil while it has not ended, io.EOF, or the failure

	waited time.Duration // in reads from r
}

func (s *stream) Read(p []byte) (int, error) {
	if s.end != nil {
		return 0, s.end
	}
	began := time.Now()
	n, err := s.r.Read(p)
	s.waited += time.Since(began)
	if err != nil {
		s.end = err
	}
	return n, err
}

// chunker is a stream that hands out its own buffers, each valid until the
// next call. See unpack.Apply.
type chunker interface{ NextChunk() ([]byte, error) }

// chunkStream is a stream over a chunker. All of it is read as chunks.
type chunkStream struct {
	*stream
	chunks chunker
}

func (s chunkStream) NextChunk() ([]byte, error) {
	if s.end != nil {
		return nil, s.end
	}
	began := time.Now()
	p, err := s.chunks.NextChunk()
	s.waited += time.Since(began)
	if err != nil {
		s.end = err
	}
	return p, err
}

// reader returns the stream as unpack.Apply likes it best.
func (s *stream) reader() io.Reader {
	if c, ok := s.r.(chunker); ok {
		return chunkStream{stream: s, chunks: c}
	}
	return s
}

// drain reads to the end of the stream and returns the failure there, nil for
// a stream that was verified.
func (s *stream) drain(ctx context.Context) error {
	var buf []byte
	chunks, ok := s.reader().(chunkStream)
	for s.end == nil {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if ok {
			_, _ = chunks.NextChunk()
			continue
		}
		if buf == nil {
			buf = make([]byte, 64<<10)
		}
		_, _ = s.Read(buf)
	}
	return s.endError()
}

func (s *stream) endError() error {
	if errors.Is(s.end, io.EOF) {
		return nil
	}
	return s.end
}

// damageError marks a failure that says that what arrived was not the layer,
// so that it is fetched once more.
type damageError struct{ err error }

func (e *damageError) Error() string { return e.err.Error() }
func (e *damageError) Unwrap() error { return e.err }

// judge finds the reason why unpacking the stream failed with err. A malformed
// layer is fetched to its end first: if its digests do not match either, that
// is the reason, and it is worth another try; if they match, the image itself
// is bad.
func (s *stream) judge(ctx context.Context, err error, isDamage func(error) bool) error {
	if s.end == nil && ctx.Err() == nil && !isLocal(err) && !isLimit(err) {
		if verdict := s.drain(ctx); verdict != nil && isDamage(verdict) {
			err = verdict
		}
	}
	if s.end != nil && !errors.Is(s.end, io.EOF) && isDamage(s.end) {
		return &damageError{err}
	}
	return err
}

// isDamaged is the default of AddOptions.Damaged.
func isDamaged(err error) bool {
	var d damaged
	return errors.As(err, &d) && d.Damaged()
}

func isLimit(err error) bool {
	var l *unpack.LimitError
	return errors.As(err, &l)
}

// isLocal reports whether err is this machine's failure and not the layer's.
func isLocal(err error) bool {
	for _, errno := range []syscall.Errno{
		syscall.ENOSPC, syscall.EDQUOT, syscall.EIO, syscall.EROFS, syscall.EMFILE,
		syscall.ENFILE, syscall.ENOMEM, syscall.EACCES, syscall.EPERM,
	} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}
