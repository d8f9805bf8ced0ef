package unpack

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/byhand/byhand/internal/tarstream"
)

// RecordError says that a record is damaged.
type RecordError struct{ Reason string }

func (e *RecordError) Error() string { return "read record of layer: " + e.Reason }

// recordVisitor is told of the operations of a record, in their order. What
// it does not read of the n bytes of an operation is skipped. A function that
// is nil is not interested.
type recordVisitor struct {
	bytes    func(r io.Reader) error
	file     func(f recordFile) error
	sum      func(crc uint32) error
	replaced func(name string, r io.Reader, size int64) error
	moved    func(from, to string) error
	deleted  func(name string, r io.Reader, size int64) error
	again    func(name string, back int64, deleted bool) error // what was kept back contents ago
	copied   func(name string) error
}

// recordFile is a file whose content the stream goes on with. segs are valid
// during the call.
type recordFile struct {
	name string
	size int64
	segs []tarstream.Segment
}

// Bounds of what a record may make its reader hold in memory.
const (
	maxName     = 1 << 22 // bytes of a name: HeaderSize, by default, allows 1 MiB
	maxDepth    = 1 << 16 // components of a name: PathDepth, by default, is 4,096
	maxSettled  = 1 << 22 // steps of settling: Entries, by default
	maxSegments = 1 << 22 // of a sparse file: HeaderSize, by default, allows 2^19
)

// readRecord opens a record and tells v of what is in it.
func readRecord(ctx context.Context, open func() (io.ReadCloser, error), v recordVisitor) error {
	in, err := open()
	if err != nil {
		return fmt.Errorf("open record of layer: %w", err)
	}
	defer func() { _ = in.Close() }()
	r := &recordReader{r: bufio.NewReaderSize(in, 64<<10), v: v}
	if err := r.magic(); err != nil {
		return err
	}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		if r.ended && r.atEOF() {
			return r.err
		}
		err := r.next()
		if r.err != nil {
			return r.err
		}
		if err != nil {
			return err
		}
	}
}

// recordReader reads the parts of a record. After an error it returns zeros.
type recordReader struct {
	r       *bufio.Reader
	v       recordVisitor
	segs    []tarstream.Segment
	zero    []byte
	ended   bool  // what follows is of settling
	settled int   // steps of that
	kept    int64 // contents, since the beginning or the end
	err     error
}

// next reads one operation. Errors of the record are in r.err.
func (r *recordReader) next() error {
	op := r.byte()
	switch {
	case r.err != nil:
		return nil
	case r.ended && r.settled == maxSettled:
		r.fail(&RecordError{"too many steps of settling"})
		return nil
	case r.ended != ofSettling(op):
		r.fail(&RecordError{fmt.Sprintf("operation %q out of place", op)})
		return nil
	case r.ended:
		r.settled++
	}
	switch op {
	case opBytes:
		return r.take(r.number(), r.v.bytes)
	case opZeros:
		return r.zeros(r.number())
	case opFile:
		return r.file()
	case opSum:
		if crc := r.number(); r.v.sum != nil && r.err == nil {
			return r.v.sum(uint32(crc))
		}
	case opReplaced:
		return r.content(r.v.replaced)
	case opDeleted:
		return r.content(r.v.deleted)
	case opAgain, opGoneToo:
		return r.again(op == opGoneToo)
	case opMoved:
		if from, to := r.string(), r.string(); r.v.moved != nil && r.err == nil {
			return r.v.moved(from, to)
		}
	case opCopied:
		if name := r.string(); r.v.copied != nil && r.err == nil {
			return r.v.copied(name)
		}
	case opEnd:
		r.ended, r.kept = true, 0
	default:
		r.fail(&RecordError{fmt.Sprintf("unknown operation %q", op)})
	}
	return nil
}

// ofSettling says whether an operation belongs behind the end of the stream.
func ofSettling(op byte) bool {
	switch op {
	case opMoved, opDeleted, opGoneToo, opCopied:
		return true
	}
	return false
}

func (r *recordReader) zeros(n int64) error {
	if n > maxPlain {
		r.fail(&RecordError{"too many zeros"})
	}
	if r.v.bytes == nil || r.err != nil {
		return nil
	}
	if r.zero == nil {
		r.zero = make([]byte, maxPlain)
	}
	return r.v.bytes(bytes.NewReader(r.zero[:n]))
}

func (r *recordReader) file() error {
	f := recordFile{name: r.string(), size: r.number()}
	n := r.number()
	if n > maxSegments {
		r.fail(&RecordError{"too many segments"})
	}
	r.segs = r.segs[:0]
	var at int64
	for ; n > 0 && r.err == nil; n-- {
		s := tarstream.Segment{Offset: r.number(), Length: r.number()}
		if s.Offset < at || s.Length > f.size || s.Offset > f.size-s.Length {
			r.fail(&RecordError{"segments of a file out of order"})
		}
		at = s.Offset + s.Length
		r.segs = append(r.segs, s)
	}
	if f.segs = r.segs; r.v.file != nil && r.err == nil {
		return r.v.file(f)
	}
	return nil
}

// content hands the content of a file that is gone to fn.
func (r *recordReader) content(fn func(string, io.Reader, int64) error) error {
	name, size := r.string(), r.number()
	r.kept++
	if fn == nil {
		return r.take(size, nil)
	}
	return r.take(size, func(in io.Reader) error { return fn(name, in, size) })
}

// again reads a reference to a content that came before.
func (r *recordReader) again(deleted bool) error {
	name, back := r.string(), r.number()
	if back < 1 || back > r.kept {
		r.fail(&RecordError{"content that is not there"})
	}
	if r.v.again == nil || r.err != nil {
		return nil
	}
	return r.v.again(name, back, deleted)
}

// take hands n bytes to fn and skips what it leaves.
func (r *recordReader) take(n int64, fn func(io.Reader) error) error {
	if r.err != nil {
		return nil
	}
	in := &io.LimitedReader{R: &recordBytes{r}, N: n}
	if fn != nil {
		if err := fn(in); err != nil {
			return err
		}
	}
	if in.N > 0 {
		_, _ = io.Copy(io.Discard, in) // r.err has what went wrong
	}
	if in.N > 0 {
		r.fail(io.ErrUnexpectedEOF)
	}
	return nil
}

// recordBytes is the record as a plain stream, whose errors r.err has too.
type recordBytes struct{ r *recordReader }

func (b *recordBytes) Read(p []byte) (int, error) {
	n, err := b.r.r.Read(p)
	if err != nil {
		b.r.fail(err)
		err = b.r.err
	}
	return n, err
}

func (r *recordReader) fail(err error) {
	if r.err != nil {
		return
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = &RecordError{"it is cut off"}
	}
	r.err = err
}

func (r *recordReader) magic() error {
	got := make([]byte, len(recordMagic))
	if _, err := io.ReadFull(r.r, got); err != nil {
		r.fail(err)
	} else if string(got) != recordMagic {
		r.fail(&RecordError{"it begins with something else"})
	}
	return r.err
}

func (r *recordReader) atEOF() bool {
	_, err := r.r.Peek(1)
	if err != nil && !errors.Is(err, io.EOF) {
		r.fail(err)
	}
	return err != nil
}

func (r *recordReader) byte() byte {
	if r.err != nil {
		return 0
	}
	b, err := r.r.ReadByte()
	if err != nil {
		r.fail(err)
		return 0
	}
	return b
}

func (r *recordReader) number() int64 {
	// A number of ten bytes is larger than any that Apply writes.
	var v int64
	for shift := 0; shift < 63; shift += 7 {
		b := r.byte()
		v |= int64(b&0x7f) << shift
		if b < 0x80 {
			return v
		}
	}
	r.fail(&RecordError{"number too large"})
	return 0
}

func (r *recordReader) string() string {
	n := r.number()
	if n > maxName {
		r.fail(&RecordError{"name too long"})
	}
	if r.err != nil {
		return ""
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r.r, b); err != nil {
		r.fail(err)
	}
	if bytes.Count(b, []byte("/")) >= maxDepth {
		r.fail(&RecordError{"name too deep"})
	}
	return string(b)
}
