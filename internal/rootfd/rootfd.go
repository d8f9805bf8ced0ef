// Package rootfd does file work inside a directory that somebody else filled,
// through descriptors only. Names are resolved as a process chrooted there
// would resolve them: absolute symbolic links start at the root and ".." of
// the root is the root, so that no name leads outside.
//
// Resolution is openat2(2) with RESOLVE_IN_ROOT. Where a kernel or a seccomp
// filter has no openat2, and for names longer than PATH_MAX, a walk opens one
// component after the other without following links.
package rootfd

import (
	"errors"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/sys"
)

// Options configure Open and FromFD.
type Options struct {
	// NoOpenat2 forces the walk that replaces openat2(2).
	NoOpenat2 bool
}

// Root is an open directory that names are resolved in. Its methods may be
// called concurrently.
type Root struct {
	fd      int
	openat2 bool
}

// Open opens dir, a path that is trusted and resolved as usual.
func Open(dir string, o Options) (*Root, error) {
	fd, err := Retry(func() (int, error) {
		return unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	return FromFD(fd, o), nil
}

// FromFD makes a Root of an open directory and takes over its descriptor.
func FromFD(fd int, o Options) *Root {
	return &Root{fd: fd, openat2: !o.NoOpenat2 && HasOpenat2(fd)}
}

// HasOpenat2 reports whether openat2(2) works here. It asks with dirfd, an
// open directory.
func HasOpenat2(dirfd int) bool {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT}
	fd, err := sys.Openat2(dirfd, ".", &how)
	if err != nil {
		return false
	}
	_ = unix.Close(fd)
	return true
}

// FD returns the descriptor of the root. It stays owned by the Root.
func (r *Root) FD() int { return r.fd }

// Close closes the descriptor of the root.
func (r *Root) Close() error {
	if err := unix.Close(r.fd); err != nil {
		return os.NewSyscallError("close", err)
	}
	return nil
}

// OpenAt opens name, resolved in the root, with the flags and mode of
// open(2); O_CLOEXEC is added. A symbolic link as the last component is
// followed, inside the root, unless flags say O_NOFOLLOW. The caller closes
// the descriptor. Errors are *fs.PathError holding the errno.
func (r *Root) OpenAt(name string, flags int, mode uint32) (int, error) {
	fd, err := r.open(name, flags|unix.O_CLOEXEC, mode)
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return fd, nil
}

func (r *Root) open(name string, flags int, mode uint32) (int, error) {
	if name == "" {
		return -1, unix.ENOENT
	}
	if strings.IndexByte(name, 0) >= 0 {
		return -1, unix.EINVAL
	}
	if !r.openat2 || len(name) >= unix.PathMax {
		return walkOpen(r.fd, name, flags, mode)
	}
	how := unix.OpenHow{
		Flags:   uint64(flags),
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	}
	if flags&(unix.O_CREAT|unix.O_TMPFILE) != 0 {
		how.Mode = uint64(mode)
	}
	// EAGAIN: something in the path was renamed or mounted during the
	// look-up. The walk does not depend on that.
	for range 32 {
		fd, err := sys.Openat2(r.fd, name, &how)
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
	return walkOpen(r.fd, name, flags, mode)
}

// OpenParent opens the directory that holds the last component of name, with
// O_PATH, and returns that component, unresolved. It is never "", "." or "..":
// a name that ends so is refused with EINVAL. The caller closes dirfd.
func (r *Root) OpenParent(name string) (dirfd int, base string, err error) {
	dir, base := splitLast(name)
	if base == "" || base == "." || base == ".." {
		return -1, "", &fs.PathError{Op: "open parent of", Path: name, Err: unix.EINVAL}
	}
	dirfd, err = r.open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, "", &fs.PathError{Op: "open parent of", Path: name, Err: err}
	}
	return dirfd, base, nil
}

// splitLast splits name before its last component. Slashes and "." at the end
// are dropped, as they say no more than that the name is a directory's.
func splitLast(name string) (dir, base string) {
	for {
		trimmed := strings.TrimRight(name, "/")
		if trimmed == "." || strings.HasSuffix(trimmed, "/.") {
			name = trimmed[:len(trimmed)-1]
			continue
		}
		name = trimmed
		break
	}
	i := strings.LastIndexByte(name, '/')
	if i < 0 {
		return ".", name
	}
	return name[:i+1], name[i+1:]
}

// Retry calls f until it returns something else than EINTR.
func Retry(f func() (int, error)) (int, error) {
	for {
		n, err := f()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}
