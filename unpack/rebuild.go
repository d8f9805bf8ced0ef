package unpack

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"github.com/byhand/byhand/internal/crc32c"
	"github.com/byhand/byhand/internal/rootfd"
	"github.com/byhand/byhand/internal/tarstream"
	"github.com/byhand/byhand/internal/tempfile"
	"golang.org/x/sys/unix"
)

// RebuildOptions configure Rebuild.
type RebuildOptions struct {
	// Damaged, when not nil, is told of each file whose content is not what
	// Apply wrote: missing, of another type or size, unreadable, or with
	// another checksum. Rebuild then goes on, with zeros for what it cannot
	// read. Names are those that the files should have in the directory.
	Damaged func(*EntryError)
	// Gone, when not nil, is told of each file whose content is in the record
	// because the layer itself or settling took its name away; what is left
	// of it, if anything, are hard links. file is the number of its entry
	// among those of regular files, from 0; size is that of its content, of
	// which sum is the SHA-256.
	Gone func(file int, size int64, sum [sha256.Size]byte)
	// HeadersOnly writes zeros for the content of files and opens none of
	// them: a stream for one who wants what the headers say.
	HeadersOnly bool
	// NoOpenat2 does without openat2(2).
	NoOpenat2 bool
}

// SizeError says that a file does not have the size that the layer gave it.
// It is the cause of an EntryError.
type SizeError struct{ Want, Got int64 }

func (e *SizeError) Error() string {
	return fmt.Sprintf("%d bytes expected, found %d", e.Want, e.Got)
}

// ErrContent is the cause of an EntryError for a file whose content has another
// checksum than when it was written, or data where the layer has a hole.
var ErrContent = errors.New("content changed")

// Rebuild writes to w the tar stream that Apply read, from the record that it
// wrote and the files in dir. If the directory is as Apply and settling left
// it, w gets the same bytes; whether it did is for a digest to say. open opens
// the record from its beginning; it is called several times.
//
// A file that is missing, of another type or size, or cannot be read is an
// *EntryError, a damaged record a *RecordError.
func Rebuild(ctx context.Context, dir *os.File, open func() (io.ReadCloser, error), w io.Writer, o RebuildOptions) error {
	fd, err := unix.FcntlInt(dir.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	root := rootfd.FromFD(fd, rootfd.Options{NoOpenat2: o.NoOpenat2})
	defer func() { _ = root.Close() }()
	b := &rebuilder{ctx: ctx.Err, root: root, o: o, w: w, buf: make([]byte, 128<<10)}
	defer b.close()
	if !o.HeadersOnly {
		if err := b.prepare(ctx, open); err != nil {
			return err
		}
	}
	b.files = 0
	return readRecord(ctx, open, recordVisitor{bytes: b.plain, file: b.file, sum: b.checkSum})
}

// RecordCopies returns the names at which settling put copies in the place of
// hard links.
func RecordCopies(ctx context.Context, open func() (io.ReadCloser, error)) ([]string, error) {
	var names []string
	err := readRecord(ctx, open, recordVisitor{copied: func(name string) error {
		names = append(names, name)
		return nil
	}})
	return names, err
}

// rebuilder goes through a record twice: first to learn what became of the
// files, then to write the stream. Where settling moved some, their names are
// read in between.
type rebuilder struct {
	ctx      func() error
	root     *rootfd.Root
	o        RebuildOptions
	w        io.Writer
	buf      []byte
	replaced map[string][]piece
	now      map[string]string // names of files that settling moved
	spill    *os.File          // content of files that are gone; nil if there are none
	spilled  int64
	files    int64 // 'F' seen in this pass

	last    string // the last file's name in the directory
	lastSum uint32
	lastBad bool // it has been reported
}

// piece is the content of a file that is gone, in the spill. It belongs to the
// last file of its name among the first so many.
type piece struct{ files, offset, size int64 }

func (b *rebuilder) close() {
	if b.spill != nil {
		_ = b.spill.Close()
	}
}

// step is something that settling did: a move, or a deletion if to is "".
type step struct {
	from, to string
	piece    piece
}

// prepare is the first pass, and the one for names.
func (b *rebuilder) prepare(ctx context.Context, open func() (io.ReadCloser, error)) error {
	b.replaced = make(map[string][]piece)
	var steps []step
	var kept []piece
	replaced := func(name string, p piece) {
		p.files = b.files
		b.replaced[name] = append(b.replaced[name], p)
	}
	deleted := func(name string, p piece) {
		p.files = math.MaxInt64
		steps = append(steps, step{from: name, piece: p})
	}
	keep := func(then func(string, piece)) func(string, io.Reader, int64) error {
		return func(name string, r io.Reader, size int64) error {
			p, err := b.keep(ctx, r, size)
			kept = append(kept, p)
			then(name, p)
			return err
		}
	}
	err := readRecord(ctx, open, recordVisitor{
		file:     func(recordFile) error { b.files++; return nil },
		replaced: keep(replaced),
		moved:    func(from, to string) error { steps = append(steps, step{from: from, to: to}); return nil },
		deleted:  keep(deleted),
		again: func(name string, back int64, gone bool) error {
			p := kept[int64(len(kept))-back]
			if gone {
				deleted(name, p)
			} else {
				replaced(name, p)
			}
			return nil
		},
	})
	if err != nil || len(steps) == 0 {
		return err
	}
	names := &recordNames{}
	err = readRecord(ctx, open, recordVisitor{file: func(f recordFile) error { names.add(f.name); return nil }})
	if err != nil {
		return err
	}
	for _, s := range steps {
		if s.to != "" {
			names.move(s.from, s.to)
		} else if n := names.detach(s.from); n != nil && n.file {
			b.replaced[n.first] = append(b.replaced[n.first], s.piece)
		}
	}
	b.now = make(map[string]string)
	names.each(func(first, now string) {
		if first != now {
			b.now[first] = now
		}
	})
	return nil
}

// keep stores the content of a file that is gone. Zeros take no room.
func (b *rebuilder) keep(ctx context.Context, r io.Reader, size int64) (piece, error) {
	if b.spill == nil {
		f, err := tempfile.Unnamed("byhand-rebuild-")
		if err != nil {
			return piece{}, err
		}
		b.spill = f
	}
	p := piece{b.files, b.spilled, size}
	for {
		if err := ctx.Err(); err != nil {
			return p, err
		}
		n, err := io.ReadFull(r, b.buf)
		if zeros(b.buf[:n]) < n {
			if _, err := b.spill.WriteAt(b.buf[:n], b.spilled); err != nil {
				return p, err
			}
		}
		b.spilled += int64(n)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return p, b.spill.Truncate(b.spilled)
		}
		if err != nil {
			return p, err
		}
	}
}

func (b *rebuilder) plain(r io.Reader) error {
	_, err := io.CopyBuffer(b.w, r, b.buf)
	return err
}

// file writes the segments of a file.
func (b *rebuilder) file(f recordFile) error {
	b.files++
	b.last, b.lastSum, b.lastBad = f.name, 0, false
	if now, ok := b.now[f.name]; ok {
		b.last = now
	}
	if b.o.HeadersOnly {
		b.lastBad = true
		return b.zeros(f.segs)
	}
	content, err := b.open(f)
	if err != nil {
		if err := b.damaged(err); err != nil {
			return err
		}
		return b.zeros(f.segs)
	}
	defer func() { _ = content.Close() }()
	for _, s := range f.segs {
		if err := b.segment(content, s); err != nil {
			return err
		}
	}
	return b.holes(content, f)
}

// damaged reports what is wrong with the last file, once, or returns it.
func (b *rebuilder) damaged(err error) error {
	ee := &EntryError{Name: b.last, Op: "read", Err: err}
	if b.o.Damaged == nil {
		return ee
	}
	if !b.lastBad {
		b.o.Damaged(ee)
	}
	b.lastBad = true
	return nil
}

func (b *rebuilder) checkSum(crc uint32) error {
	// Without a listener the digest tells, and no checksum needs to.
	if crc == b.lastSum || b.lastBad || b.o.Damaged == nil {
		return nil
	}
	return b.damaged(ErrContent)
}

// segment copies a part of the file, with zeros for what cannot be read.
func (b *rebuilder) segment(content io.ReaderAt, s tarstream.Segment) error {
	for s.Length > 0 {
		if err := b.ctx(); err != nil {
			return err
		}
		p := b.buf[:min(s.Length, int64(len(b.buf)))]
		n, err := content.ReadAt(p, s.Offset)
		if n < len(p) {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF // it was as long a moment ago
			}
			if err := b.damaged(err); err != nil {
				return err
			}
			clear(p[n:])
		}
		if err := b.put(p); err != nil {
			return err
		}
		s.Offset += int64(len(p))
		s.Length -= int64(len(p))
	}
	return nil
}

func (b *rebuilder) put(p []byte) error {
	b.lastSum = crc32c.Update(b.lastSum, p)
	_, err := b.w.Write(p)
	return err
}

func (b *rebuilder) zeros(segs []tarstream.Segment) error {
	clear(b.buf)
	for _, s := range segs {
		for s.Length > 0 {
			if err := b.ctx(); err != nil {
				return err
			}
			n := min(s.Length, int64(len(b.buf)))
			if _, err := b.w.Write(b.buf[:n]); err != nil {
				return err
			}
			s.Length -= n
		}
	}
	return nil
}

// holes demands zeros where the layer has a hole: the stream does not hold
// them.
func (b *rebuilder) holes(content *fileContent, f recordFile) error {
	var at int64
	for _, s := range append(f.segs, tarstream.Segment{Offset: f.size}) {
		if s.Offset > at {
			zero, err := content.isZero(b.ctx, b.buf, at, s.Offset)
			if err == nil && !zero {
				err = b.damaged(ErrContent)
			}
			if err != nil {
				return err
			}
		}
		at = s.Offset + s.Length
	}
	return nil
}

// open returns what the file held that is meant at this place of the record.
func (b *rebuilder) open(f recordFile) (*fileContent, error) {
	for _, p := range b.replaced[f.name] {
		if p.files >= b.files {
			return b.gone(p)
		}
	}
	// Not blocking: it may have become a FIFO.
	fd, err := b.root.OpenAt(b.last, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), b.last)
	info, err := file.Stat()
	switch {
	case err != nil:
	case !info.Mode().IsRegular():
		err = fmt.Errorf("file expected, found %s", info.Mode().Type())
	case info.Size() != f.size:
		err = &SizeError{Want: f.size, Got: info.Size()}
	default:
		return &fileContent{ReaderAt: file, file: file}, nil
	}
	_ = file.Close()
	return nil, err
}

// gone returns what the record has of a file.
func (b *rebuilder) gone(p piece) (*fileContent, error) {
	content := io.NewSectionReader(b.spill, p.offset, p.size)
	if b.o.Gone != nil {
		h := sha256.New()
		if _, err := io.CopyBuffer(h, content, b.buf); err != nil {
			return nil, err
		}
		b.o.Gone(int(b.files-1), p.size, [sha256.Size]byte(h.Sum(nil)))
	}
	return &fileContent{ReaderAt: content}, nil
}

// fileContent is a file that Apply wrote, or what is left of it in the spill.
type fileContent struct {
	io.ReaderAt
	file *os.File // nil in the spill
}

func (c *fileContent) Close() error {
	if c.file == nil {
		return nil
	}
	return c.file.Close()
}

// isZero tells whether the file is all zeros between two offsets. Only what
// takes room on the disk is read.
func (c *fileContent) isZero(ctx func() error, buf []byte, from, to int64) (bool, error) {
	for c.file != nil && from < to {
		data, err := c.file.Seek(from, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) || err == nil && data >= to {
			return true, nil
		}
		if err != nil {
			return false, err
		}
		n, err := c.ReadAt(buf[:min(to-data, int64(len(buf)))], data)
		if err != nil && !errors.Is(err, io.EOF) {
			return false, err
		}
		for _, x := range buf[:n] {
			if x != 0 {
				return false, nil
			}
		}
		if err := ctx(); err != nil || n == 0 {
			return n == 0, err
		}
		from = data + int64(n)
	}
	return true, nil
}
