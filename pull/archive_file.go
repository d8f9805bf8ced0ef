package pull

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"

	"github.com/byhand/byhand/internal/tempfile"
)

// archiveFile is an archive's bytes, wherever they came from.
type archiveFile struct {
	data   io.ReaderAt
	size   int64
	closer io.Closer // nil: not ours to close
}

func (f *archiveFile) Close() error {
	if f.closer == nil {
		return nil
	}
	return f.closer.Close()
}

// Archive is an uncompressed tar that may be read in any order, and by several
// goroutines.
type Archive struct {
	io.ReaderAt
	Size int64 // in bytes

	file *archiveFile
}

// Close ends the use of the archive.
func (a *Archive) Close() error { return a.file.Close() }

// OpenArchive opens the file that an oci-archive: or docker-archive: reference
// names. One that is compressed, or a pipe, is written to an unnamed temporary
// file, as large as Limits.ArchiveSize at most. Errors are *NotFoundError,
// *FormatError, *UnsupportedError, *LimitError, and those of the file system.
func (c *Client) OpenArchive(ctx context.Context, name string) (*Archive, error) {
	f, err := openArchiveFile(ctx, c, name, "archive "+name)
	if err != nil {
		return nil, err
	}
	return &Archive{ReaderAt: f.data, Size: f.size, file: f}, nil
}

// openArchiveFile opens an archive for reading in any order. What cannot be
// read so (a pipe, a compressed file) is written to a temporary file first: the
// list of contents may come last.
func openArchiveFile(ctx context.Context, c *Client, name, object string) (*archiveFile, error) {
	if name == "-" {
		return c.stdin.open(ctx, c, object)
	}
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &NotFoundError{Object: object}
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", object, err)
	}
	a, err := archiveFrom(ctx, c, f, object)
	if err == nil && a.closer == nil {
		a.closer = f
		return a, nil
	}
	return a, errors.Join(err, f.Close())
}

// stdinArchive is the archive on standard input, which can be read only once.
type stdinArchive struct {
	mu   sync.Mutex
	file *archiveFile
}

// open reads standard input, or returns what was read from it before. The
// client closes the file in the end.
func (s *stdinArchive) open(ctx context.Context, c *Client, object string) (*archiveFile, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil {
		if c.Stdin == nil {
			return nil, fmt.Errorf("read %s: there is no standard input", object)
		}
		a, err := archiveFrom(ctx, c, c.Stdin, object)
		if err != nil {
			return nil, err
		}
		s.file = a
		c.onClose(a.Close)
	}
	return &archiveFile{data: s.file.data, size: s.file.size}, nil
}

// archiveFrom returns what in holds as an uncompressed file. Its closer is nil
// if that is in itself.
func archiveFrom(ctx context.Context, c *Client, in io.Reader, object string) (*archiveFile, error) {
	f, _ := in.(*os.File)
	a, err := seekable(f)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", object, err)
	}
	return unpackArchive(ctx, c, a, in, object)
}

// seekable returns f's content if f is a regular file, nil if it is none.
func seekable(f *os.File) (*archiveFile, error) {
	if f == nil {
		return nil, nil
	}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return nil, errors.New("it is a directory; read an image layout in a directory as oci:PATH")
	}
	if !info.Mode().IsRegular() {
		return nil, nil
	}
	at, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return nil, err
	}
	if at == 0 {
		return &archiveFile{data: f, size: info.Size()}, nil
	}
	rest := max(0, info.Size()-at) // standard input may have been read from
	return &archiveFile{data: io.NewSectionReader(f, at, rest), size: rest}, nil
}

// unpackArchive returns the archive as an uncompressed file: a itself, or a copy
// of in.
func unpackArchive(ctx context.Context, c *Client, a *archiveFile, in io.Reader, object string) (*archiveFile, error) {
	var head []byte
	if a != nil {
		head = make([]byte, min(a.size, 16))
		if _, err := a.data.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("read %s: %w", object, err)
		}
		if sniff(head) == plain {
			return a, nil
		}
		in = io.NewSectionReader(a.data, 0, a.size)
	} else {
		var stop func()
		in, stop = interruptible(ctx, in)
		defer stop()
		head = make([]byte, 16)
		n, err := readFull(in, head)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("read %s: %w", object, err)
		}
		in = io.MultiReader(bytes.NewReader(head[:n]), in)
		head = head[:n]
	}
	return spool(ctx, c, in, sniff(head), object)
}

// spool writes what in holds, uncompressed, to a file without a name, which is
// gone with its last descriptor.
func spool(ctx context.Context, c *Client, in io.Reader, kind compression, object string) (*archiveFile, error) {
	f, err := tempfile.Unnamed("byhand-archive-")
	if err != nil {
		return nil, fmt.Errorf("make room for %s: %w", object, err)
	}
	n, err := spoolTo(ctx, c, f, in, kind, object)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &archiveFile{data: f, size: n, closer: f}, nil
}

func spoolTo(ctx context.Context, c *Client, f *os.File, in io.Reader, kind compression, object string) (int64, error) {
	limits := c.Limits.withDefaults()
	counted := &countingReader{in: in}
	warn := func() { c.warnAbout(object, trailingMessage) }
	r, done, err := newDecompressor(kind, counted, limits, object, warn)
	if err != nil {
		return 0, decompressError(kind, object, err)
	}
	defer done()
	buf := make([]byte, blockSize)
	var total int64
	for {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		n, err := readFull(r, buf)
		if total += int64(n); total > limits.ArchiveSize {
			return 0, &LimitError{Object: object, Limit: "ArchiveSize", Max: limits.ArchiveSize, Got: total}
		}
		if _, err := f.Write(buf[:n]); err != nil {
			return 0, fmt.Errorf("make room for %s: %w", object, err)
		}
		if err := checkRatio(object, limits, total, counted.n); err != nil {
			return 0, err
		}
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil && counted.err != nil {
			return 0, fmt.Errorf("read %s: %w", object, counted.err)
		}
		if err != nil {
			return 0, decompressError(kind, object, err)
		}
	}
}

// countingReader counts the bytes of in, and remembers its failure.
type countingReader struct {
	in  io.Reader
	n   int64
	err error
}

func (r *countingReader) Read(p []byte) (int, error) {
	n, err := r.in.Read(p)
	r.n += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}
