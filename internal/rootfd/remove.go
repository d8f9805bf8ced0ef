package rootfd

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/sys"
)

// MountError says that something is mounted on Name, so that it was not
// deleted, nor anything behind it.
//
// It comes before anything is deleted, unless the mount came while the deletion
// was under way.
type MountError struct {
	Name string // relative to the parent of what was to be deleted
}

func (e *MountError) Error() string {
	return fmt.Sprintf("delete %s: something is mounted there; unmount it first", strconv.Quote(e.Name))
}

// maxHold is how many directories deep a deletion goes with a descriptor held
// for each. Deeper ones are moved up first.
const maxHold = 64

// RemoveAllAt deletes base in the directory dirfd with all that is below it.
// It follows no symbolic link and crosses no mount: a tree in which something is
// mounted is left whole, with a *MountError. Directories without permission for
// their owner are given it.
// A base that does not exist is no error.
func RemoveAllAt(dirfd int, base string) error {
	return removeAllAt(dirfd, base, HasOpenat2(dirfd))
}

func removeAllAt(dirfd int, base string, openat2 bool) error {
	if base == "" || base == "." || base == ".." || strings.ContainsAny(base, "/\x00") {
		return &fs.PathError{Op: "delete", Path: base, Err: unix.EINVAL}
	}
	r := &remover{openat2: openat2, top: -1}
	return r.remove(dirfd, base, base, 0)
}

type remover struct {
	openat2 bool
	top     int // descriptor of the tree's first directory
	moved   int // directories moved up to top so far
}

// remove deletes name in dirfd. rel is its name for messages, depth the
// number of directories held above it.
func (r *remover) remove(dirfd int, name, rel string, depth int) error {
	err := unlink(dirfd, name, 0)
	switch {
	case err == nil, errors.Is(err, unix.ENOENT):
		return nil
	case errors.Is(err, unix.EBUSY):
		return &MountError{Name: rel}
	case !errors.Is(err, unix.EISDIR):
		return &fs.PathError{Op: "delete", Path: rel, Err: err}
	}
	if depth == 0 {
		if err := checkMounts(dirfd, name); err != nil {
			return err
		}
	}
	if depth >= maxHold {
		return r.moveUp(dirfd, name, rel)
	}
	fd, err := r.openDir(dirfd, name)
	switch {
	case errors.Is(err, unix.EXDEV):
		return &MountError{Name: rel}
	case errors.Is(err, unix.ENOENT):
		return nil
	case err != nil:
		return &fs.PathError{Op: "delete", Path: rel, Err: err}
	}
	if depth == 0 {
		r.top = fd
	}
	err = r.empty(fd, rel, depth)
	_ = unix.Close(fd)
	if err != nil {
		return err
	}
	err = unlink(dirfd, name, unix.AT_REMOVEDIR)
	switch {
	case errors.Is(err, unix.EBUSY):
		return &MountError{Name: rel}
	case err != nil && !errors.Is(err, unix.ENOENT):
		return &fs.PathError{Op: "delete", Path: rel, Err: err}
	}
	return nil
}

// empty deletes what is in the directory fd. It reads the directory again
// until it finds nothing, because entries may be missed while others vanish.
func (r *remover) empty(fd int, rel string, depth int) error {
	writable := false
	for {
		names, err := readNames(fd)
		if err != nil {
			return &fs.PathError{Op: "read", Path: rel, Err: err}
		}
		if len(names) == 0 {
			return nil
		}
		for _, name := range names {
			err := r.remove(fd, name, path.Join(rel, name), depth+1)
			if errors.Is(err, unix.EACCES) && !writable {
				writable = true
				if err := sys.Fchmod(fd, 0o700); err != nil {
					return &fs.PathError{Op: "chmod", Path: rel, Err: err}
				}
				err = r.remove(fd, name, path.Join(rel, name), depth+1)
			}
			if err != nil {
				return err
			}
		}
	}
}

// moveUp renames the directory name in dirfd into the tree's first directory,
// whose turn to be read again will come.
func (r *remover) moveUp(dirfd int, name, rel string) error {
	chmodded := false
	for {
		r.moved++
		err := sys.Renameat2(dirfd, name, r.top, fmt.Sprintf(".moved-%d", r.moved), unix.RENAME_NOREPLACE)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EEXIST):
		case errors.Is(err, unix.EBUSY):
			return &MountError{Name: rel}
		case errors.Is(err, unix.EACCES) && !chmodded:
			// Moving a directory rewrites its "..", which needs write
			// permission on it.
			chmodded = true
			if err := Chmodat(dirfd, name, 0o700); err != nil {
				return &fs.PathError{Op: "chmod", Path: rel, Err: err}
			}
		default:
			return &fs.PathError{Op: "delete", Path: rel, Err: err}
		}
	}
}

// openDir opens the directory name for reading, EXDEV if it is a mount point.
func (r *remover) openDir(dirfd int, name string) (int, error) {
	fd, err := r.openOnMount(dirfd, name)
	if !errors.Is(err, unix.EACCES) {
		return fd, err
	}
	if err := Chmodat(dirfd, name, 0o700); err != nil {
		return -1, err
	}
	return r.openOnMount(dirfd, name)
}

func (r *remover) openOnMount(dirfd int, name string) (int, error) {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	if r.openat2 {
		how := unix.OpenHow{
			Flags:   flags,
			Resolve: unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_BENEATH,
		}
		for range 32 {
			fd, err := sys.Openat2(dirfd, name, &how)
			if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
				return fd, err
			}
		}
	}
	fd, err := Retry(func() (int, error) { return unix.Openat(dirfd, name, flags, 0) })
	if err != nil {
		return -1, err
	}
	same, err := sameMount(dirfd, fd)
	if err == nil && !same {
		err = unix.EXDEV
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// sameMount reports whether two open files are on one mount. Kernels before
// 5.8 know no mount ID; there a bind mount of the same file system passes.
func sameMount(a, b int) (bool, error) {
	var sa, sb unix.Statx_t
	const mask = unix.STATX_BASIC_STATS | unix.STATX_MNT_ID
	if err := sys.Statx(a, "", unix.AT_EMPTY_PATH, mask, &sa); err != nil {
		return false, err
	}
	if err := sys.Statx(b, "", unix.AT_EMPTY_PATH, mask, &sb); err != nil {
		return false, err
	}
	if sa.Dev_major != sb.Dev_major || sa.Dev_minor != sb.Dev_minor {
		return false, nil
	}
	return sa.Mask&sb.Mask&unix.STATX_MNT_ID == 0 || sa.Mnt_id == sb.Mnt_id, nil
}

func unlink(dirfd int, name string, flags int) error {
	_, err := Retry(func() (int, error) { return 0, unix.Unlinkat(dirfd, name, flags) })
	return err
}

// readNames returns up to a buffer of the names in the directory fd, from its
// beginning.
func readNames(fd int) ([]string, error) {
	if _, err := sys.Seek(fd, 0, 0); err != nil {
		return nil, err
	}
	buf := make([]byte, 64<<10)
	for {
		n, err := Retry(func() (int, error) { return unix.ReadDirent(fd, buf) })
		if err != nil || n == 0 {
			return nil, err
		}
		_, _, names := unix.ParseDirent(buf[:n], -1, nil)
		if len(names) > 0 { // "." and ".." are left out
			return names, nil
		}
	}
}
