package unpack

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/byhand/byhand/internal/rootfd"
	"golang.org/x/sys/unix"
)

// RebuildOptions configure Rebuild.
type RebuildOptions struct {
	// Rename, when not nil, tells where in the directory the file is now that
	// was name when the layer was unpacked, for directories that settling
	// with the layers below has moved.
	Rename func(name string) string
	// NoOpenat2 does without openat2(2).
	NoOpenat2 bool
}

// RecordError says that a record is damaged.
type RecordError struct{ Reason string }

func (e *RecordError) Error() string { return "read record of layer: " + e.Reason }

// SizeError says that a file does not have the size that the layer gave it.
// It is the cause of an EntryError.
type SizeError struct{ Want, Got int64 }

func (e *SizeError) Error() string {
	return fmt.Sprintf("%d bytes expected, found %d", e.Want, e.Got)
}

// Rebuild writes to w the tar stream that Apply read, from the record that it
// wrote and the files in dir. If the directory is as Apply left it, w
// gets the same bytes; whether it did is for a digest to say. open opens the
// record from its beginning; it is called twice.
//
// A file that is missing, of another type or size, or cannot be read is an
// *EntryError.
func Rebuild(ctx context.Context, dir *os.File, open func() (io.ReadCloser, error), w io.Writer, o RebuildOptions) error {
	fd, err := unix.FcntlInt(dir.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	root := rootfd.FromFD(fd, rootfd.Options{NoOpenat2: o.NoOpenat2})
	defer func() { _ = root.Close() }()
	b := &rebuilder{root: root, o: o, replaced: make(map[string][]piece)}
	defer b.close()
	if err := b.pass(ctx, open, b.keep, nil); err != nil {
		return err
	}
	return b.pass(ctx, open, nil, w)
}

// rebuilder goes through a record twice: first to keep the content of files
// that were replaced later, then to write the stream.
type rebuilder struct {
	root     *rootfd.Root
	o        RebuildOptions
	replaced map[string][]piece
	spill    *os.File // their content; nil if there are none
	spilled  int64
	files    int64 // 'F' seen in this pass
}

// piece is the content of a replaced file in the spill. It belongs to the
// last file of its name among the first so many.
type piece struct{ files, offset, size int64 }

func (b *rebuilder) close() {
	if b.spill != nil {
		_ = b.spill.Close()
	}
}

// pass reads the record once. Replaced files go to keep, the stream to w,
// either of which may be nil.
func (b *rebuilder) pass(ctx context.Context, open func() (io.ReadCloser, error), keep func(string, io.Reader, int64) error, w io.Writer) error {
	in, err := open()
	if err != nil {
		return fmt.Errorf("open record of layer: %w", err)
	}
	defer func() { _ = in.Close() }()
	r := &recordReader{r: bufio.NewReaderSize(in, 64<<10)}
	if err := r.magic(); err != nil {
		return err
	}
	b.files = 0
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		switch op := r.byte(); op {
		case opBytes:
			err = r.copy(w, r.number())
		case opFile:
			err = b.file(r, w)
		case opReplaced:
			err = b.replacedFile(r, keep)
		case opEnd:
			return r.err
		default:
			err = &RecordError{fmt.Sprintf("unknown operation %q", op)}
		}
		if r.err != nil {
			return r.err
		}
		if err != nil {
			return err
		}
	}
}

func (b *rebuilder) replacedFile(r *recordReader, keep func(string, io.Reader, int64) error) error {
	name, size := r.string(), r.number()
	if keep == nil || r.err != nil {
		return r.copy(nil, size)
	}
	err := keep(name, r.r, size)
	if errors.Is(err, io.EOF) {
		r.fail(err)
	}
	return err
}

// keep stores the content of a file that was replaced.
func (b *rebuilder) keep(name string, r io.Reader, size int64) error {
	if b.spill == nil {
		f, err := os.CreateTemp("", "byhand-rebuild-")
		if err != nil {
			return err
		}
		b.spill = f
		if err := unix.Unlink(f.Name()); err != nil {
			return os.NewSyscallError("unlink", err)
		}
	}
	if _, err := io.CopyN(b.spill, r, size); err != nil {
		return err
	}
	b.replaced[name] = append(b.replaced[name], piece{b.files, b.spilled, size})
	b.spilled += size
	return nil
}

// file writes the segments of a file.
func (b *rebuilder) file(r *recordReader, w io.Writer) error {
	b.files++
	name, size, n := r.string(), r.number(), r.number()
	var content io.ReaderAt
	var err error
	for i := int64(0); i < n && r.err == nil && err == nil; i++ {
		offset, length := r.number(), r.number()
		if w == nil || r.err != nil {
			continue
		}
		if content == nil {
			var done func()
			content, done, err = b.content(name, size)
			if err != nil {
				return &EntryError{Name: name, Op: "read", Err: err}
			}
			defer done() // once: content is not nil any more
		}
		_, err = io.CopyN(w, io.NewSectionReader(content, offset, length), length)
		if errors.Is(err, io.EOF) {
			err = &EntryError{Name: name, Op: "read", Err: io.ErrUnexpectedEOF}
		}
	}
	return err
}

// content returns what the file held that is meant at this place of the
// record.
func (b *rebuilder) content(name string, size int64) (io.ReaderAt, func(), error) {
	for _, p := range b.replaced[name] {
		if p.files >= b.files {
			return io.NewSectionReader(b.spill, p.offset, p.size), func() {}, nil
		}
	}
	if b.o.Rename != nil {
		name = b.o.Rename(name)
	}
	// Not blocking: it may have become a FIFO.
	fd, err := b.root.OpenAt(name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	f := os.NewFile(uintptr(fd), name)
	done := func() { _ = f.Close() }
	info, err := f.Stat()
	switch {
	case err != nil:
	case !info.Mode().IsRegular():
		err = fmt.Errorf("file expected, found %s", info.Mode().Type())
	case info.Size() != size:
		err = &SizeError{Want: size, Got: info.Size()}
	default:
		return f, done, nil
	}
	done()
	return nil, nil, err
}

// recordReader reads the parts of a record. After an error it returns zeros.
type recordReader struct {
	r   *bufio.Reader
	err error
}

func (r *recordReader) fail(err error) {
	if r.err == nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = &RecordError{"it is cut off"}
		}
		r.err = err
	}
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

func (r *recordReader) byte() byte {
	b, err := r.r.ReadByte()
	if err != nil {
		r.fail(err)
		return 0
	}
	return b
}

func (r *recordReader) number() int64 {
	if r.err != nil {
		return 0
	}
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
	return string(b)
}

// maxName bounds names in a record: PathDepth times 256, by default.
const maxName = 1 << 24

// copy hands on n bytes of the record, to nowhere if w is nil.
func (r *recordReader) copy(w io.Writer, n int64) error {
	if r.err != nil {
		return nil
	}
	if w == nil {
		w = io.Discard
	}
	in := &io.LimitedReader{R: r.r, N: n}
	_, err := io.Copy(w, in)
	if err == nil && in.N > 0 {
		r.fail(io.ErrUnexpectedEOF)
	}
	return err
}
