package bundle

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/rootfd"
	"github.com/byhand/byhand/internal/sys"
)

// meta is what a copied file has beside its content.
type meta struct {
	mode     uint32 // type and permissions, as st_mode
	uid, gid uint32
	rdev     uint64
	links    uint64
	size     int64
	inode    inode
	times    [2]unix.Timespec // access, modification
}

// metaOf takes all from the underlying stat where there is one, and else what
// every file system knows, owned by the caller.
func metaOf(info fs.FileInfo) meta {
	switch st := info.Sys().(type) {
	case *syscall.Stat_t:
		return meta{
			mode: st.Mode, uid: st.Uid, gid: st.Gid, rdev: uint64(st.Rdev), links: uint64(st.Nlink), size: st.Size,
			inode: inode{uint64(st.Dev), st.Ino},
			times: [2]unix.Timespec{unix.Timespec(st.Atim), unix.Timespec(st.Mtim)},
		}
	case interface{ Stat() unix.Stat_t }:
		s := st.Stat()
		return meta{
			mode: s.Mode, uid: s.Uid, gid: s.Gid, rdev: uint64(s.Rdev), links: uint64(s.Nlink), size: s.Size,
			inode: inode{uint64(s.Dev), s.Ino},
			times: [2]unix.Timespec{s.Atim, s.Mtim},
		}
	}
	t := unix.NsecToTimespec(info.ModTime().UnixNano())
	return meta{
		mode: sysMode(info.Mode()), uid: uint32(os.Geteuid()), gid: uint32(os.Getegid()),
		links: 1, size: info.Size(), times: [2]unix.Timespec{t, t},
	}
}

func sysMode(m fs.FileMode) uint32 {
	mode := uint32(m.Perm())
	for _, b := range []struct {
		bit fs.FileMode
		sys uint32
	}{
		{fs.ModeSetuid, unix.S_ISUID},
		{fs.ModeSetgid, unix.S_ISGID},
		{fs.ModeSticky, unix.S_ISVTX},
		{fs.ModeDir, unix.S_IFDIR},
		{fs.ModeSymlink, unix.S_IFLNK},
		{fs.ModeNamedPipe, unix.S_IFIFO},
		{fs.ModeSocket, unix.S_IFSOCK},
	} {
		if m&b.bit != 0 {
			mode |= b.sys
		}
	}
	return mode
}

// apply gives the open file fd what src has. The owner comes before the mode,
// as chown(2) clears setuid bits and file capabilities; the times come last.
func (c *copier) apply(fd int, src fs.File, name string, m meta) error {
	mode := m.mode & 0o7777
	err := sys.Fchown(fd, int(m.uid), int(m.gid))
	if refused(err) {
		mode, err = c.ownerLost(name, m), nil
	}
	if err == nil {
		err = sys.Fchmod(fd, mode)
	}
	if err != nil {
		return c.fail("set owner and mode of", name, err)
	}
	if err := c.xattrs(fd, src, name); err != nil {
		return c.fail("set extended attributes of", name, err)
	}
	if err := rootfd.Futimens(fd, &m.times); err != nil {
		return c.fail("set times of", name, err)
	}
	return nil
}

// applyAt is apply for what is not opened: links, devices, FIFOs, sockets.
func (c *copier) applyAt(dirfd int, base, name string, m meta, chmod bool) error {
	mode := m.mode & 0o7777
	err := sys.Fchownat(dirfd, base, int(m.uid), int(m.gid), unix.AT_SYMLINK_NOFOLLOW)
	if refused(err) {
		mode, err = c.ownerLost(name, m), nil
	}
	if err == nil && chmod {
		err = rootfd.Chmodat(dirfd, base, mode)
	}
	if err == nil {
		err = sys.UtimesNanoAt(dirfd, base, m.times[:], unix.AT_SYMLINK_NOFOLLOW)
	}
	if err != nil {
		return c.fail("set owner, mode and times of", name, err)
	}
	return nil
}

// refused says whether an owner cannot be given here: not permitted, or not
// mapped in this user namespace.
func refused(err error) bool { return errors.Is(err, unix.EPERM) || errors.Is(err, unix.EINVAL) }

// ownerLost returns the mode for a file that stays the caller's: a program
// that was to run as its owner must not run as the caller.
func (c *copier) ownerLost(name string, m meta) uint32 {
	c.skipped.owners.add(name)
	mode := m.mode & 0o7777
	if m.mode&unix.S_IFMT != unix.S_IFDIR {
		mode &^= unix.S_ISUID | unix.S_ISGID
	}
	return mode
}

// xattrs copies extended attributes, but those that belong to the file system
// below: overlayfs' own marks, and SELinux labels of the place.
func (c *copier) xattrs(fd int, src fs.File, name string) error {
	attrs, err := c.readXattrs(src, name)
	if err != nil {
		return err
	}
	for attr, value := range attrs {
		if attr == "security.selinux" || strings.HasPrefix(attr, "trusted.overlay.") || strings.HasPrefix(attr, "user.overlay.") {
			continue
		}
		err := sys.Fsetxattr(fd, attr, []byte(value), 0)
		if refused(err) || errors.Is(err, unix.ENOTSUP) {
			c.skipped.xattrs.add(name)
			continue
		}
		if err != nil {
			return fmt.Errorf("%q: %w", attr, err)
		}
	}
	return nil
}

// xattrFS is a file system that knows extended attributes by name, as a merged
// view does, whose directories are none that could be opened.
type xattrFS interface {
	Xattrs(name string) (map[string]string, error)
}

func (c *copier) readXattrs(src fs.File, name string) (map[string]string, error) {
	if x, ok := c.root.fsys.(xattrFS); ok {
		return x.Xattrs(name)
	}
	file, ok := src.(interface{ Fd() uintptr })
	if !ok {
		return nil, nil
	}
	fd := int(file.Fd())
	names, err := readXattr(func(b []byte) (int, error) { return sys.Flistxattr(fd, b) })
	if errors.Is(err, unix.ENOTSUP) || err == nil && len(names) == 0 {
		return nil, nil
	}
	attrs := map[string]string{}
	for raw := range bytes.SplitSeq(bytes.TrimSuffix(names, []byte{0}), []byte{0}) {
		var value []byte
		if err == nil {
			value, err = readXattr(func(b []byte) (int, error) { return sys.Fgetxattr(fd, string(raw), b) })
		}
		if errors.Is(err, unix.ENODATA) {
			err = nil
			continue
		}
		attrs[string(raw)] = string(value)
	}
	return attrs, err
}

// readXattr asks for the size first, and again if it grew meanwhile.
func readXattr(read func([]byte) (int, error)) ([]byte, error) {
	for {
		n, err := read(nil)
		if n == 0 || err != nil {
			return nil, err
		}
		b := make([]byte, n)
		n, err = read(b)
		if errors.Is(err, unix.ERANGE) {
			continue
		}
		return b[:max(n, 0)], err
	}
}

// skipped counts what could not be kept, to say it once.
type skipped struct{ owners, devices, xattrs tally }

type tally struct {
	n     int
	first string
}

func (t *tally) add(name string) {
	if t.n == 0 {
		t.first = name
	}
	t.n++
}

func (s *skipped) warnings() []string {
	var list []string
	for _, w := range []struct {
		what string
		tally
	}{
		{"owners of files in volumes not kept", s.owners},
		{"devices in volumes left out", s.devices},
		{"extended attributes of files in volumes not kept", s.xattrs},
	} {
		if w.n > 0 {
			list = append(list, fmt.Sprintf("%s: %d, the first is /%s", w.what, w.n, w.first))
		}
	}
	return list
}
