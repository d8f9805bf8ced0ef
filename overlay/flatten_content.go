package overlay

import (
	"errors"
	"io"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/rootfd"
	"github.com/byhand/byhand/internal/sys"
)

// content copies what a file holds: shared blocks where the file system can
// share them, else its data in the kernel, else through memory. Holes stay
// holes.
func (c *copier) content(src, dst int, st *unix.Stat_t) error {
	if !c.noClone.Load() {
		err := sys.IoctlFileClone(dst, src)
		if err == nil {
			return nil
		}
		// Once refused, it is not asked again for each of the files to come.
		c.noClone.Store(true)
	}
	if st.Blocks*512 >= st.Size {
		return c.data(src, dst, 0, st.Size)
	}
	for at := int64(0); at < st.Size; {
		start, err := sys.Seek(src, at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break // a hole to the end
		}
		if err != nil {
			return c.data(src, dst, 0, st.Size) // the file system tells nothing about holes
		}
		end, err := sys.Seek(src, start, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		end = min(end, st.Size)
		if err := c.data(src, dst, start, end); err != nil {
			return err
		}
		at = end
	}
	return sys.Ftruncate(dst, st.Size)
}

// data copies the bytes from start to end.
func (c *copier) data(src, dst int, start, end int64) error {
	for start < end && !c.noRange.Load() {
		in, out := start, start
		n, err := rootfd.Retry(func() (int, error) {
			return unix.CopyFileRange(src, &in, dst, &out, int(min(end-start, 1<<30)), 0)
		})
		switch {
		case err == nil && n > 0:
			start += int64(n)
			continue
		case err == nil:
			return io.ErrUnexpectedEOF // the layer changed
		case errors.Is(err, unix.EXDEV), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EOPNOTSUPP),
			errors.Is(err, unix.EINVAL), errors.Is(err, unix.EPERM):
			c.noRange.Store(true)
		default:
			return err
		}
	}
	if start >= end {
		return nil
	}
	return throughMemory(src, dst, start, end)
}

// copyBuf is the size of the buffer where the kernel cannot copy.
const copyBuf = 128 << 10

func throughMemory(src, dst int, start, end int64) error {
	buf := make([]byte, min(copyBuf, end-start))
	for start < end {
		n, err := rootfd.Retry(func() (int, error) {
			return unix.Pread(src, buf[:min(int64(len(buf)), end-start)], start)
		})
		if err != nil {
			return err
		}
		if n == 0 {
			return io.ErrUnexpectedEOF
		}
		for done := 0; done < n; {
			w, err := rootfd.Retry(func() (int, error) { return unix.Pwrite(dst, buf[done:n], start+int64(done)) })
			if err != nil {
				return err
			}
			done += w
		}
		start += int64(n)
	}
	return nil
}
