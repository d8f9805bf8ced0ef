package bundle

import (
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/rootfd"
)

var _ fs.ReadLinkFS = (*Root)(nil)

// Root is a directory as the root filesystem of a container: links are
// resolved inside it, whoever made them. Unlike other implementations of
// [fs.FS] it takes names of any bytes.
type Root struct{ fd *rootfd.Root }

// OpenRoot opens dir, a mounted rootfs or a plain tree.
func OpenRoot(dir string) (*Root, error) {
	fd, err := rootfd.Open(dir, rootfd.Options{})
	if err != nil {
		return nil, err
	}
	return &Root{fd}, nil
}

// Close closes the directory.
func (r *Root) Close() error { return r.fd.Close() }

// Open opens name for reading. It does not wait for a FIFO's writer.
func (r *Root) Open(name string) (fs.File, error) {
	return r.open(name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
}

// Stat follows links inside the root.
func (r *Root) Stat(name string) (fs.FileInfo, error) { return r.stat(name, unix.O_PATH) }

// Lstat does not follow a link in the last component.
func (r *Root) Lstat(name string) (fs.FileInfo, error) {
	return r.stat(name, unix.O_PATH|unix.O_NOFOLLOW)
}

// ReadLink returns where the link points to.
func (r *Root) ReadLink(name string) (string, error) {
	dirfd, base, err := r.fd.OpenParent(name)
	if err != nil {
		return "", err
	}
	defer func() { _ = unix.Close(dirfd) }()
	target, err := rootfd.Readlinkat(dirfd, base)
	if err != nil {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: err}
	}
	return target, nil
}

// ReadDir lists a directory, sorted by name.
func (r *Root) ReadDir(name string) ([]fs.DirEntry, error) {
	f, err := r.open(name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	list := make([]fs.DirEntry, 0, len(names))
	for _, n := range names {
		info, err := r.Lstat(path.Join(name, n))
		if err != nil {
			return nil, err
		}
		list = append(list, fs.FileInfoToDirEntry(info))
	}
	return list, nil
}

func (r *Root) stat(name string, flags int) (fs.FileInfo, error) {
	f, err := r.open(name, flags)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return f.Stat()
}

func (r *Root) open(name string, flags int) (*os.File, error) {
	fd, err := r.fd.OpenAt(strings.TrimPrefix(name, "/"), flags, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}
