package overlay

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/klauspost/compress/s2"
	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/rootfd"
	"github.com/byhand/byhand/internal/sys"
	"github.com/byhand/byhand/unpack"
)

// recordBlock is how many bytes are compressed by themselves. It bounds how far
// back the compressor looks, and its memory: headers of neighbouring entries
// are what resembles.
const recordBlock = 128 << 10

// recordMaxBlock is what a reader grants, so that a foreign record cannot take
// more memory.
const recordMaxBlock = 1 << 20

// recorders has the compressors of records. One takes 300 kB and outlives its
// layer by two garbage collections, so that an image of hundreds of small layers
// has to use a few of them again.
type recorders struct{ pool sync.Pool }

// recordFile writes the compressed record of a layer in staging. S2 takes less
// than half the time of Zstandard, and a third more space.
type recordFile struct {
	*s2.Writer
	file *os.File
	from *recorders
}

// open begins the record at path, or goes on with it: streams of S2 follow one
// another.
func (r *recorders) open(path string) (*recordFile, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND|unix.O_NOFOLLOW, 0o644)
	if err != nil {
		return nil, fmt.Errorf("write record of layer: %w", err)
	}
	w, ok := r.pool.Get().(*s2.Writer)
	if !ok {
		w = s2.NewWriter(nil, s2.WriterConcurrency(1), s2.WriterBlockSize(recordBlock))
	}
	w.Reset(f)
	return &recordFile{w, f, r}, nil
}

// Close ends the stream.
func (r *recordFile) Close() error {
	err := errors.Join(r.Writer.Close(), r.file.Close())
	r.Reset(nil)
	r.from.pool.Put(r.Writer)
	r.Writer = nil // it is another's from here
	if err != nil {
		return fmt.Errorf("write record of layer: %w", err)
	}
	return nil
}

// laterRecord is a recordFile that begins with the first write: most layers
// settle without a word.
type laterRecord struct {
	from *recorders
	path string
	file *recordFile
}

func (r *laterRecord) Write(p []byte) (int, error) {
	if r.file == nil {
		var err error
		if r.file, err = r.from.open(r.path); err != nil {
			return 0, err
		}
	}
	return r.file.Write(p)
}

func (r *laterRecord) Close() error {
	if r.file == nil {
		return nil
	}
	return r.file.Close()
}

// layerDir is a layer of the store, open. What is in it is looked up from
// here, and never through a link.
type layerDir struct {
	fd   int
	diff *os.File
}

// openLayerDir opens layers/CHAINID and its diff.
func (s *Store) openLayerDir(c ChainID) (*layerDir, error) {
	flags := unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	path := s.layout.layer(c)
	fd, err := rootfd.Retry(func() (int, error) { return sys.Open(path, flags, 0) })
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	diff, err := rootfd.Retry(func() (int, error) { return sys.Openat(fd, nameDiff, flags, 0) })
	if err != nil {
		_ = unix.Close(fd)
		return nil, &os.PathError{Op: "open", Path: filepath.Join(path, nameDiff), Err: err}
	}
	return &layerDir{fd: fd, diff: os.NewFile(uintptr(diff), filepath.Join(path, nameDiff))}, nil
}

func (d *layerDir) Close() error {
	return errors.Join(unix.Close(d.fd), d.diff.Close())
}

// openRecord opens the layer's record, uncompressed.
func (d *layerDir) openRecord() (io.ReadCloser, error) {
	f, err := openRegular(d.fd, nameRecord)
	if errors.Is(err, unix.ENOENT) {
		return nil, &NoRecordError{}
	}
	if err != nil && isLocal(err) {
		return nil, &os.PathError{Op: "open", Path: nameRecord, Err: err}
	}
	if err != nil {
		return nil, &unpack.RecordError{Reason: err.Error()}
	}
	z := s2.NewReader(f, s2.ReaderMaxBlockSize(recordMaxBlock), s2.ReaderAllocBlock(recordBlock))
	return &recordReader{z, f}, nil
}

// recordReader is an open record. What the decompressor finds wrong is a
// RecordError.
type recordReader struct {
	z    *s2.Reader
	file *os.File
}

func (r *recordReader) Read(p []byte) (int, error) {
	n, err := r.z.Read(p)
	var errno unix.Errno
	if err != nil && !errors.Is(err, io.EOF) && !errors.As(err, &errno) {
		err = &unpack.RecordError{Reason: err.Error()}
	}
	return n, err
}

func (r *recordReader) Close() error { return r.file.Close() }

// NoRecordError reports a layer that was unpacked before layers had records.
type NoRecordError struct{}

func (*NoRecordError) Error() string {
	return "the layer has no record of its tar, for it was unpacked by an earlier version of byhand"
}
