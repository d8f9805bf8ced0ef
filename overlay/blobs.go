package overlay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// HasBlob reports whether the store has a blob of this digest and size. Its
// content is not read.
func (s *Store) HasBlob(desc ocispec.Descriptor) bool {
	if desc.Digest.Validate() != nil {
		return false
	}
	st, err := os.Lstat(s.layout.blob(desc.Digest))
	return err == nil && st.Mode().IsRegular() && st.Size() == desc.Size
}

// Blob opens a blob. It is an [fs.ErrNotExist] when the store has none, and a
// [SizeError] when it has another size than the descriptor says. The content
// is not verified: the reader does that as it does with any source.
func (s *Store) Blob(_ context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	if err := desc.Digest.Validate(); err != nil {
		return nil, fmt.Errorf("open blob %q: %w", desc.Digest, err)
	}
	f, err := os.OpenFile(s.layout.blob(desc.Digest), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open blob: %w", err)
	}
	st, err := f.Stat()
	if err == nil && st.Size() != desc.Size {
		err = &SizeError{Object: "blob " + desc.Digest.String(), Want: desc.Size, Got: st.Size()}
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// ReadBlob returns the content of a manifest, config or index, verified.
func (s *Store) ReadBlob(_ context.Context, d digest.Digest) ([]byte, error) {
	if err := d.Validate(); err != nil {
		return nil, fmt.Errorf("read blob %q: %w", d, err)
	}
	raw, err := readSmall(s.layout.blob(d))
	if err != nil {
		return nil, fmt.Errorf("read blob: %w", err)
	}
	if got := d.Algorithm().FromBytes(raw); got != d {
		return nil, &DigestError{Object: "blob in " + s.layout.blob(d), Want: d, Got: got}
	}
	return raw, nil
}

// PutBlob stores the content of r under its descriptor, verified by size and
// digest. A blob that is there already is kept, and r is not read.
func (s *Store) PutBlob(ctx context.Context, desc ocispec.Descriptor, r io.Reader) (err error) {
	w, err := s.NewBlob(ctx, desc)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	if _, err := io.Copy(w, r); err != nil {
		return err
	}
	return w.Commit()
}

// DropBlob removes a blob that was found damaged, so that it can be fetched
// again. One that is not there is no error.
func (s *Store) DropBlob(d digest.Digest) error {
	if err := d.Validate(); err != nil {
		return fmt.Errorf("drop blob %q: %w", d, err)
	}
	if err := os.Remove(s.layout.blob(d)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("drop blob: %w", err)
	}
	return nil
}

// BlobWriter receives one blob in staging. It holds the blob's lock, so only
// one process fetches it. Use by one goroutine at a time.
type BlobWriter struct {
	store *Store
	desc  ocispec.Descriptor
	lock  *fileLock
	hash  digest.Digester
	begun bool  // the place to write at is settled
	size  int64 // bytes there and hashed
	flush int64 // bytes whose way to the disk has begun
	keep  bool  // Close leaves the bytes for another try
}

// NewBlob starts or takes up the writing of a blob. While another process
// writes the same one, it waits, as long as ctx lives. A blob that is there, at
// once or by then, is an [fs.ErrExist]; either way no process removes it from
// now until the Store is closed. Close must be called.
func (s *Store) NewBlob(ctx context.Context, desc ocispec.Descriptor) (*BlobWriter, error) {
	d := desc.Digest
	if err := d.Validate(); err != nil {
		return nil, fmt.Errorf("write blob %q: %w", d, err)
	}
	if desc.Size < 0 {
		return nil, &SizeError{Object: "blob " + d.String(), Want: desc.Size}
	}
	if err := s.lease(ctx, leaseBlob+d.String()); err != nil {
		return nil, fmt.Errorf("write blob: %w", err)
	}
	exist := fmt.Errorf("write blob %s: %w", d, fs.ErrExist)
	if s.HasBlob(desc) {
		return nil, exist
	}
	if err := ensureDir(dirMode{s.layout.blobDir(d.Algorithm()), 0o755}); err != nil {
		return nil, fmt.Errorf("write blob: %w", err)
	}
	lock, err := waitLock(ctx, s.layout.part(d, s.boot))
	if err != nil {
		return nil, fmt.Errorf("write blob: %w", err)
	}
	if s.HasBlob(desc) {
		lock.release()
		return nil, exist
	}
	return &BlobWriter{store: s, desc: desc, lock: lock, hash: d.Algorithm().Digester()}, nil
}

// Resume hashes the bytes that an earlier, killed or suspended writer left, and
// returns how many there are: writing goes on behind them. Without Resume
// they are thrown away. It comes before the first Write.
func (w *BlobWriter) Resume() (int64, error) {
	if w.begun {
		return w.size, nil
	}
	n, err := io.Copy(w.hash.Hash(), io.LimitReader(w.lock.file, w.desc.Size))
	if err != nil {
		return 0, fmt.Errorf("resume blob %s: %w", w.desc.Digest, err)
	}
	w.begun, w.size, w.flush = true, n, n
	// More bytes than the blob has cannot be of it.
	if err := w.lock.file.Truncate(n); err != nil {
		return 0, fmt.Errorf("resume blob %s: %w", w.desc.Digest, err)
	}
	return n, nil
}

// Prefix reads the bytes that are there, for one who must see the whole blob
// while only the rest is fetched. They are not verified yet.
func (w *BlobWriter) Prefix() io.Reader { return io.NewSectionReader(w.lock.file, 0, w.size) }

// flushStep is how many bytes are written before they are sent to the disk,
// so that the fsync of Commit finds most of its work done.
const flushStep = 8 << 20

// Write appends to the blob. More bytes than the descriptor says are a
// [SizeError].
func (w *BlobWriter) Write(p []byte) (int, error) {
	if !w.begun {
		if err := w.lock.file.Truncate(0); err != nil {
			return 0, fmt.Errorf("write blob %s: %w", w.desc.Digest, err)
		}
		w.begun = true
	}
	if int64(len(p)) > w.desc.Size-w.size {
		return 0, &SizeError{Object: "blob " + w.desc.Digest.String(), Want: w.desc.Size, Got: w.size + int64(len(p))}
	}
	n, err := w.lock.file.Write(p)
	_, _ = w.hash.Hash().Write(p[:n]) // a hash never fails
	w.size += int64(n)
	if err != nil {
		return n, fmt.Errorf("write blob %s: %w", w.desc.Digest, err)
	}
	if w.size-w.flush >= flushStep {
		// Only a hint; the fsync of Commit reports what fails.
		_ = unix.SyncFileRange(int(w.lock.file.Fd()), w.flush, w.size-w.flush, unix.SYNC_FILE_RANGE_WRITE)
		w.flush = w.size
	}
	return n, nil
}

// Commit verifies size and digest and gives the blob its name. On a
// [DigestError] or [SizeError] what was written is worthless and goes.
func (w *BlobWriter) Commit() error {
	if w.lock == nil {
		return fmt.Errorf("commit blob %s: %w", w.desc.Digest, fs.ErrClosed)
	}
	object, d := "blob "+w.desc.Digest.String(), w.desc.Digest
	w.keep = false
	if w.size != w.desc.Size {
		return &SizeError{Object: object, Want: w.desc.Size, Got: w.size}
	}
	if got := w.hash.Digest(); got != d {
		return &DigestError{Object: object, Want: d, Got: got}
	}
	if !w.begun { // an empty blob on top of leftovers
		if err := w.lock.file.Truncate(0); err != nil {
			return fmt.Errorf("commit blob %s: %w", d, err)
		}
	}
	err := errors.Join(w.lock.file.Chmod(0o644), w.lock.file.Sync())
	if err == nil {
		err = takePlace(w.lock.path, w.store.layout.blob(d))
	}
	if err != nil {
		return fmt.Errorf("commit blob %s: %w", d, err)
	}
	w.lock.abandon()
	w.lock = nil
	return nil
}

// Suspend makes Close keep what was written, unless the disk has no room for the
// rest, so that a later NewBlob can
// Resume behind it: for a fetch that was interrupted, not one that was wrong.
func (w *BlobWriter) Suspend() { w.keep = w.begun && w.size > 0 }

// Close ends the writing. What was not committed is removed, unless it was
// suspended. After Commit it does nothing.
func (w *BlobWriter) Close() error {
	if w.lock == nil {
		return nil
	}
	if w.keep && w.store.CheckSpace(w.desc.Size-w.size) == nil {
		w.lock.abandon()
	} else {
		w.lock.release()
	}
	w.lock = nil
	return nil
}
