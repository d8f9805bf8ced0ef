package bundle

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/rootfd"
	"github.com/byhand/byhand/internal/sys"
)

// copyChunk is how much is copied between two looks at the context.
const copyChunk = 32 << 20

// copier copies trees from the root filesystem into open directories.
type copier struct {
	root    tree
	volume  string
	from    string           // the volume's path in the root
	top     int              // its copy's descriptor
	links   map[inode]string // files with several names: the first one's path below top
	skipped skipped
}

type inode struct{ dev, ino uint64 }

// directory copies the directory at name in the root to base in dirfd.
func (c *copier) directory(ctx context.Context, name string, m meta, dirfd int, base string) error {
	// The owner alone may look inside until everything has its own mode.
	if err := sys.Mkdirat(dirfd, base, 0o700); err != nil {
		return c.fail("make", name, err)
	}
	fd, err := openDir(dirfd, base)
	if err != nil {
		return c.fail("open copy of", name, err)
	}
	defer func() { _ = unix.Close(fd) }()
	if name == c.from {
		c.top = fd
	}
	list, err := fs.ReadDir(c.root.fsys, name)
	if err != nil {
		return c.fail("read", name, err)
	}
	for _, entry := range list {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := c.entry(ctx, path.Join(name, entry.Name()), fd, entry.Name()); err != nil {
			return err
		}
	}
	src, err := c.root.fsys.Open(name)
	if err != nil {
		return c.fail("open", name, err)
	}
	defer func() { _ = src.Close() }()
	return c.apply(fd, src, name, m)
}

// entry copies name in the root to base in dirfd.
func (c *copier) entry(ctx context.Context, name string, dirfd int, base string) error {
	info, err := c.root.lstat(name)
	if err != nil {
		return c.fail("read", name, err)
	}
	m := metaOf(info)
	if info.IsDir() {
		return c.directory(ctx, name, m, dirfd, base)
	}
	if c.link(m, name, dirfd, base) {
		return nil
	}
	switch info.Mode().Type() {
	case 0:
		return c.file(ctx, name, m, dirfd, base)
	case fs.ModeSymlink:
		return c.symlink(name, m, dirfd, base)
	default:
		return c.node(name, m, dirfd, base)
	}
}

// link makes a further name for a file that was copied. Where it cannot, the
// file is copied again.
func (c *copier) link(m meta, name string, dirfd int, base string) bool {
	if m.links < 2 {
		return false
	}
	below := strings.TrimPrefix(name, c.from+"/")
	first, ok := c.links[m.inode]
	if !ok {
		c.links[m.inode] = below
		return false
	}
	return sys.Linkat(c.top, first, dirfd, base, 0) == nil
}

func (c *copier) file(ctx context.Context, name string, m meta, dirfd int, base string) (err error) {
	src, err := c.root.fsys.Open(name)
	if err != nil {
		return c.fail("open", name, err)
	}
	defer func() { _ = src.Close() }()
	if info, err := src.Stat(); err != nil || !info.Mode().IsRegular() {
		return c.fail("open", name, errors.Join(err, fs.ErrInvalid))
	}
	fd, err := rootfd.Retry(func() (int, error) {
		return sys.Openat(dirfd, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	})
	if err != nil {
		return c.fail("make", name, err)
	}
	dst := os.NewFile(uintptr(fd), base)
	defer func() {
		if cerr := dst.Close(); err == nil && cerr != nil {
			err = c.fail("write", name, cerr)
		}
	}()
	if err := copyContent(ctx, dst, src, m.size); err != nil {
		return c.fail("copy", name, err)
	}
	return c.apply(fd, src, name, m)
}

// copyContent copies the file's data and leaves its holes. Between open files
// [os.File] uses copy_file_range(2), which shares extents where it can.
func copyContent(ctx context.Context, dst *os.File, src fs.File, size int64) error {
	file, ok := src.(interface {
		io.ReadSeeker
		Fd() uintptr
	})
	if !ok {
		return copyPart(ctx, dst, src, size)
	}
	for at := int64(0); at < size; {
		data, err := sys.Seek(int(file.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break // a hole up to the end
		}
		end := size
		if err != nil {
			data = at // a file system without holes
		} else if e, err := sys.Seek(int(file.Fd()), data, unix.SEEK_HOLE); err == nil {
			end = min(e, size)
		}
		if _, err := file.Seek(data, io.SeekStart); err != nil {
			return err
		}
		if _, err := dst.Seek(data, io.SeekStart); err != nil {
			return err
		}
		if err := copyPart(ctx, dst, file, end-data); err != nil {
			return err
		}
		at = end
	}
	return dst.Truncate(size)
}

func copyPart(ctx context.Context, dst *os.File, src io.Reader, n int64) error {
	for n > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		done, err := io.CopyN(dst, src, min(n, copyChunk))
		if err != nil {
			return err
		}
		n -= done
	}
	return nil
}

func (c *copier) symlink(name string, m meta, dirfd int, base string) error {
	target, err := c.root.readlink(name)
	if err != nil {
		return c.fail("read link", name, err)
	}
	if err := sys.Symlinkat(target, dirfd, base); err != nil {
		return c.fail("link", name, err)
	}
	return c.applyAt(dirfd, base, name, m, false)
}

// node makes a device, FIFO or socket. An ordinary user makes no devices; the
// volume is mounted nodev, so that they would be of no use either.
func (c *copier) node(name string, m meta, dirfd int, base string) error {
	err := sys.Mknodat(dirfd, base, m.mode&unix.S_IFMT|0o600, int(m.rdev))
	if errors.Is(err, unix.EPERM) && (m.mode&unix.S_IFMT == unix.S_IFCHR || m.mode&unix.S_IFMT == unix.S_IFBLK) {
		c.skipped.devices.add(name)
		return nil
	}
	if err != nil {
		return c.fail("make", name, err)
	}
	return c.applyAt(dirfd, base, name, m, true)
}
