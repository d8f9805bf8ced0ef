package pull

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"context"
	"errors"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/byhand/byhand/internal/inflate"
)

const trailingMessage = "ignoring what follows the compressed data"

// readerDecoder decodes with a decompressor that is an io.Reader.
type readerDecoder struct {
	kind     compression
	trailing func()
}

func (d readerDecoder) decode(ctx context.Context, in *input, out *output) error {
	r, done, err := newDecompressor(d.kind, in, out.limits, out.object, d.trailing)
	if err != nil {
		return err
	}
	defer done()
	return out.readFrom(ctx, r)
}

// gzipDecoder decodes gzip straight from block to block, twice as fast as a
// decompressor that is an io.Reader. It is as lenient as gzipMembers, and
// leaves checksums to the diff ID.
type gzipDecoder struct{ trailing func() }

func (d gzipDecoder) decode(ctx context.Context, in *input, out *output) error {
	sink := &blockSink{out: out, block: func() (*block, error) { return out.block(ctx) }}
	inflater := inflate.NewDecoder(in, sink)
	beside := out.diff.hashers.accompany(inflater, func() bool { return len(out.to) > 0 })
	in.aside, out.ring.aside = beside, beside
	trailing, err := inflater.Gunzip()
	in.aside, out.ring.aside = nil, nil
	beside.pause()
	if trailing {
		d.trailing()
	}
	return err
}

// blockSink makes an output an inflate.Sink.
type blockSink struct {
	out    *output
	block  func() (*block, error)
	queued []*block // handed out and not yet flushed, two at most
}

func (s *blockSink) Next() ([]byte, error) {
	b, err := s.block()
	if err != nil {
		return nil, err
	}
	s.queued = append(s.queued, b)
	return b.mem, nil
}

func (s *blockSink) Flush(_ []byte, n int) error {
	b := s.queued[0]
	s.queued = append(s.queued[:0], s.queued[1:]...)
	return s.out.emit(b, b.room()[:n])
}

// newDecompressor returns the content of in, which is packed as kind says.
// done releases what it holds. trailing is called if something other than
// zeros follows gzip data.
func newDecompressor(kind compression, in io.Reader, limits Limits, object string, trailing func()) (r io.Reader, done func(), err error) {
	done = func() {}
	switch kind {
	case plain:
		return in, done, nil
	case gzipped:
		r, err = newGzipMembers(in, trailing)
	case zstandard:
		return newZstd(in, limits)
	case bzipped: // Docker reads such layers too
		r = bzip2.NewReader(bufio.NewReaderSize(in, readAhead))
	default:
		err = &UnsupportedError{Object: object, What: "it is compressed with " + kind.String() + ", which is not supported; use gzip or zstd"}
	}
	return r, done, err
}

// readAhead is how much compressed data a decompressor takes at once, in bytes.
const readAhead = 64 << 10

// newZstd reads zstd frames, skippable ones among them (RFC 8878). The window
// that a frame asks for is memory, so that it has a limit. Anything else after
// a frame is an error, as with zstd itself.
func newZstd(in io.Reader, limits Limits) (io.Reader, func(), error) {
	zr, err := zstd.NewReader(in,
		zstd.WithDecoderConcurrency(1), // no goroutines besides ours
		zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(uint64(max(limits.ZstdWindow, zstd.MinWindowSize))),
	)
	if err != nil {
		return nil, nil, err
	}
	return zstdReader{zr, limits.ZstdWindow}, zr.Close, nil
}

type zstdReader struct {
	*zstd.Decoder
	limit int64
}

func (r zstdReader) Read(p []byte) (int, error) {
	n, err := r.Decoder.Read(p)
	if errors.Is(err, zstd.ErrWindowSizeExceeded) || errors.Is(err, zstd.ErrDecoderSizeExceeded) {
		err = &LimitError{Limit: "ZstdWindow", Max: r.limit, Got: r.limit + 1}
	}
	return n, err
}

// decompressError names the object of a decompressor's failure.
func decompressError(kind compression, object string, err error) error {
	var limit *LimitError
	var unsupported *UnsupportedError
	switch {
	case errors.As(err, &limit):
		limit.Object = object
		return limit
	case errors.As(err, &unsupported):
		return err
	}
	return &FormatError{Object: object, Reason: "damaged " + kind.String() + " data: " + err.Error()}
}

// gzipMembers reads any number of gzip members as one stream (RFC 1952, 2.2).
// What follows the last member and is not another one is ignored, as GNU gzip
// does: zero padding silently, other bytes with a call of trailing. That is
// safe in a layer, for the bytes count for the blob's digest, and whatever is
// missing shows in the diff ID.
type gzipMembers struct {
	in       *bufio.Reader
	zr       *gzip.Reader
	trailing func()
	done     bool
}

func newGzipMembers(in io.Reader, trailing func()) (*gzipMembers, error) {
	m := &gzipMembers{in: bufio.NewReaderSize(in, readAhead), trailing: trailing}
	zr, err := gzip.NewReader(m.in)
	if err != nil {
		return nil, noEOF(err)
	}
	zr.Multistream(false)
	m.zr = zr
	return m, nil
}

func (m *gzipMembers) Read(p []byte) (int, error) {
	for !m.done {
		n, err := m.zr.Read(p)
		if ended(err) {
			err = m.nextMember()
		}
		if n > 0 || err != nil {
			return n, noEOF(err)
		}
	}
	return 0, io.EOF
}

// nextMember starts the next member, if there is one.
func (m *gzipMembers) nextMember() error {
	head, err := m.in.Peek(3)
	if err != nil && !ended(err) {
		return err
	}
	if sniff(head) == gzipped {
		if err := m.zr.Reset(m.in); err != nil {
			return err
		}
		m.zr.Multistream(false)
		return nil
	}
	m.done = true
	for {
		chunk, err := m.in.Peek(max(1, m.in.Buffered()))
		if len(bytes.Trim(chunk, "\x00")) > 0 {
			m.trailing()
			return nil
		}
		if err != nil {
			return nil // the end, or what the fetching stage will report
		}
		_, _ = m.in.Discard(len(chunk)) // cannot fail, it is buffered
	}
}

// noEOF makes an end within a member or header an error of its own.
func noEOF(err error) error {
	if ended(err) {
		return io.ErrUnexpectedEOF
	}
	return err
}
