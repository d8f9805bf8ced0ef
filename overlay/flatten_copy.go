package overlay

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/rootfd"
	"github.com/byhand/byhand/internal/sys"
	"github.com/byhand/byhand/unpack"
)

// copier copies single files with as few system calls as it can.
type copier struct {
	umask    uint32
	uid, gid uint32
	noClone  atomic.Bool // FICLONE does not work between these file systems
	noRange  atomic.Bool // nor does copy_file_range
	// refused is asked whether something may be left out; it returns nil to
	// go on without.
	refused func(kind unpack.SkipKind, name, what string, err error) error
}

func newCopier() copier {
	return copier{umask: sys.Umask(), uid: uint32(unix.Geteuid()), gid: uint32(unix.Getegid())}
}

// copyUp copies a file into another layer.
func copyUp(n node, dirfd int, name string) error {
	c := newCopier()
	c.refused = func(kind unpack.SkipKind, _, _ string, err error) error {
		if kind == unpack.SkipXattr {
			return nil
		}
		return err
	}
	return c.copyNode(n, dirfd, name, "", nil)
}

// aliases finds the names of one file.
type aliases interface {
	alias(id fileID, dst int, name string) (done bool, err error)
	keep(id fileID, dst int, name string, failed error) error
}

// copyNode makes a copy of n, which is no directory, at name in dst. rel is
// what precedes the name in messages. links may be nil.
func (c *copier) copyNode(n node, dst int, name, rel string, links aliases) error {
	src := -1
	var st unix.Stat_t
	var err error
	if n.typ == unix.DT_REG {
		src, err = rootfd.Retry(func() (int, error) {
			return sys.Openat(n.fd, n.name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		})
		if err != nil {
			return err
		}
		defer func() { _ = unix.Close(src) }()
		err = sys.Fstat(src, &st)
	} else {
		err = lstatat(n.fd, n.name, &st)
	}
	if err == nil && uint8(st.Mode>>12) != n.typ {
		err = unix.ESTALE // not what the directory said: somebody changes the layer
	}
	if err != nil {
		return err
	}
	if st.Nlink == 1 || links == nil {
		return c.copyOne(n, src, &st, dst, name, rel)
	}
	id := fileID{dev: st.Dev, ino: st.Ino}
	if done, err := links.alias(id, dst, name); done || err != nil {
		return err
	}
	return links.keep(id, dst, name, c.copyOne(n, src, &st, dst, name, rel))
}

func (c *copier) copyOne(n node, src int, st *unix.Stat_t, dst int, name, rel string) error {
	if n.typ == unix.DT_REG {
		return c.copyRegular(src, st, dst, name, rel)
	}
	full := rel + name
	switch n.typ {
	case unix.DT_LNK:
		target, err := rootfd.Readlinkat(n.fd, n.name)
		if err == nil {
			err = sys.Symlinkat(target, dst, name)
		}
		if err != nil {
			return err
		}
	default:
		err := sys.Mknodat(dst, name, st.Mode&unix.S_IFMT|0o600, int(st.Rdev))
		if errors.Is(err, unix.EPERM) {
			what := fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
			return c.refused(unpack.SkipDevice, full, what, err)
		}
		if err != nil {
			return err
		}
	}
	return c.specialAttrs(n, st, dst, name, full)
}

// specialAttrs sets the attributes of what cannot be opened.
func (c *copier) specialAttrs(n node, st *unix.Stat_t, dst int, name, full string) error {
	mode := st.Mode & 0o7777
	if st.Uid != c.uid || st.Gid != c.gid {
		err := sys.Fchownat(dst, name, int(st.Uid), int(st.Gid), unix.AT_SYMLINK_NOFOLLOW)
		if mode, err = c.owner(st, full, err); err != nil {
			return err
		}
	}
	if n.typ != unix.DT_LNK {
		if err := rootfd.Chmodat(dst, name, mode); err != nil {
			return err
		}
	}
	err := eachXattrAt(n.fd, n.name, func(attr string, value []byte) error {
		return c.xattr(full, attr, rootfd.Setxattrat(dst, name, attr, value))
	})
	if err != nil {
		return err
	}
	return sys.UtimesNanoAt(dst, name, []unix.Timespec{st.Mtim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW)
}

// copyRegular copies content first and attributes afterwards: writing clears
// capabilities and set-id bits, and so does changing the owner.
func (c *copier) copyRegular(src int, st *unix.Stat_t, dst int, name, rel string) (err error) {
	fd, err := rootfd.Retry(func() (int, error) {
		return sys.Openat(dst, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, st.Mode&0o777)
	})
	if err != nil {
		return err
	}
	defer func() {
		if cerr := unix.Close(fd); err == nil {
			err = cerr
		}
	}()
	if st.Size > 0 {
		if err := c.content(src, fd, st); err != nil {
			return err
		}
	}
	return c.fileAttrs(st, src, fd, rel+name, st.Mode&0o777&^c.umask)
}

// attrs sets a directory's attributes.
func (c *copier) attrs(st *unix.Stat_t, src, dst int, full string) error {
	return c.fileAttrs(st, src, dst, full, 0o10000) // no mode is that of a new directory
}

// fileAttrs gives dst the attributes st and the extended ones of src. has is
// the mode that dst was made with.
func (c *copier) fileAttrs(st *unix.Stat_t, src, dst int, full string, has uint32) error {
	mode := st.Mode & 0o7777
	if st.Uid != c.uid || st.Gid != c.gid {
		var err error
		if mode, err = c.owner(st, full, sys.Fchown(dst, int(st.Uid), int(st.Gid))); err != nil {
			return err
		}
	}
	if mode != has {
		if err := sys.Fchmod(dst, mode); err != nil {
			return err
		}
	}
	err := eachXattr(src, func(attr string, value []byte) error {
		return c.xattr(full, attr, sys.Fsetxattr(dst, attr, value, 0))
	})
	if err != nil {
		return err
	}
	return rootfd.Futimens(dst, &[2]unix.Timespec{st.Mtim, st.Mtim})
}

// owner judges what giving a file its owner came to, and returns the mode that
// it may have now: a program that was to run as its owner must not run as the
// caller instead.
func (c *copier) owner(st *unix.Stat_t, full string, err error) (mode uint32, _ error) {
	mode = st.Mode & 0o7777
	if !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EINVAL) { // EINVAL: not mapped in this user namespace
		return mode, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		mode &^= unix.S_ISUID | unix.S_ISGID
	}
	return mode, c.refused(unpack.SkipOwner, full, fmt.Sprintf("%d:%d", st.Uid, st.Gid), err)
}

func (c *copier) xattr(full, attr string, err error) error {
	if refusedXattr(err) {
		return c.refused(unpack.SkipXattr, full, attr, err)
	}
	return err
}

// eachXattrAt is eachXattr for files that cannot be opened. It follows no
// link.
func eachXattrAt(dirfd int, name string, fn func(attr string, value []byte) error) error {
	return everyXattrAt(dirfd, name, func(attr string, value []byte) error {
		if overlayXattr(attr) {
			return nil
		}
		return fn(attr, value)
	})
}

// everyXattrAt is eachXattrAt with overlayfs's own attributes.
func everyXattrAt(dirfd int, name string, fn func(attr string, value []byte) error) error {
	path := "/proc/self/fd/" + strconv.Itoa(dirfd) + "/" + name
	var small [256]byte
	names, err := growing(small[:], func(b []byte) (int, error) { return sys.Llistxattr(path, b) })
	if err != nil || len(names) == 0 {
		if refusedXattr(err) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENAMETOOLONG) {
			return nil // ENOENT: no /proc here
		}
		return err
	}
	for attr := range strings.SplitSeq(strings.TrimSuffix(string(names), "\x00"), "\x00") {
		value, err := growing(small[:], func(b []byte) (int, error) { return sys.Lgetxattr(path, attr, b) })
		if refusedXattr(err) || errors.Is(err, unix.ENODATA) {
			continue
		}
		if err == nil {
			err = fn(attr, value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// growing calls get with buf, and where that is too small with the most that
// the kernel gives (XATTR_LIST_MAX and XATTR_SIZE_MAX are both 64 KiB).
func growing(buf []byte, get func([]byte) (int, error)) ([]byte, error) {
	n, err := get(buf)
	if errors.Is(err, unix.ERANGE) {
		buf = make([]byte, 65536)
		n, err = get(buf)
	}
	return buf[:max(n, 0)], err
}
