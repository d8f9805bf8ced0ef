package overlay

import (
	"errors"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/rootfd"
	"github.com/byhand/byhand/internal/sys"
)

// openRegular opens a regular file, and nothing else that may have taken its
// place.
func openRegular(dirfd int, name string) (*os.File, error) {
	fd, err := rootfd.Retry(func() (int, error) {
		return unix.Openat(dirfd, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	err = sys.Fstat(fd, &st)
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = unix.ESTALE
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// viewFile is an open regular file.
type viewFile struct {
	*os.File
	info *info
}

func (f *viewFile) Stat() (fs.FileInfo, error) { return f.info, nil }

// viewSpecial is an open FIFO, socket or device, which is not really opened.
type viewSpecial struct {
	name   string
	info   *info
	closed bool
}

func (f *viewSpecial) Stat() (fs.FileInfo, error) { return f.info, nil }

func (f *viewSpecial) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: f.name, Err: errors.New("not a regular file")}
}

func (f *viewSpecial) Close() error {
	if f.closed {
		return &fs.PathError{Op: "close", Path: f.name, Err: fs.ErrClosed}
	}
	f.closed = true
	return nil
}

// viewDir is an open directory.
type viewDir struct {
	viewSpecial
	rest []fs.DirEntry
}

func (d *viewDir) ReadDir(n int) ([]fs.DirEntry, error) {
	if n > 0 && len(d.rest) == 0 {
		return nil, io.EOF
	}
	if n <= 0 || n > len(d.rest) {
		n = len(d.rest)
	}
	list := d.rest[:n]
	d.rest = d.rest[n:]
	return list, nil
}
