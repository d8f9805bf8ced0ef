package overlay

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/settle"
	"github.com/byhand/byhand/internal/sys"
	"github.com/byhand/byhand/unpack"
)

// settling is a layer on disk while it is settled. Its directories are known
// by their descriptors.
type settling struct {
	index      int               // the layer's number in the merged tree
	root       int               // the staging directory
	copied     map[fileID]string // files that could only be copied, and the name of the copy
	opaqueAttr string
	buf        []byte
	record     *unpack.SettleRecord // may be nil
}

var _ settle.Layer[*mergedDir, found, int] = (*settling)(nil)

func (l *settling) Root() int { return l.root }

func (l *settling) Top(d *mergedDir) (fd int, ok bool) {
	return d.parts[0].fd, d.parts[0].layer == l.index
}

func (l *settling) Below(d *mergedDir) *mergedDir { return &mergedDir{parts: d.parts[1:]} }

func (l *settling) Owns(f found) bool { return f.layer == l.index }

func (l *settling) Kind(dirfd int, base string) (settle.Kind, error) {
	var st unix.Stat_t
	err := lstatat(dirfd, base, &st)
	switch {
	case errors.Is(err, unix.ENOENT):
		return settle.Absent, nil
	case err != nil:
		return settle.Absent, err
	case st.Mode&unix.S_IFMT == unix.S_IFDIR:
		return settle.Directory, nil
	case isWhiteout(&st):
		return settle.Whiteout, nil
	}
	return settle.Other, nil
}

func (l *settling) Open(dirfd int, base string) (int, error) { return openDirAt(dirfd, base) }

func (l *settling) Close(fd int) { _ = unix.Close(fd) }

func (l *settling) List(fd int) (names []string, err error) {
	err = readDir(fd, l.buf, func(name string, _ uint8) error {
		names = append(names, name)
		return nil
	})
	return names, err
}

func (l *settling) Opaque(fd int) (bool, error) { return opaqueFD(fd) }

func (l *settling) Plain(fd int) bool { return isPlain(fd) }

func (l *settling) Make(dirfd int, base string, _ int) error {
	if err := sys.Mkdirat(dirfd, base, 0o755); err != nil {
		return err
	}
	fd, err := openDirAt(dirfd, base)
	if err != nil {
		return err
	}
	defer l.Close(fd)
	return plainMeta(fd)
}

func (l *settling) SetPlain(fd int) error {
	if err := removeXattrs(fd); err != nil {
		return err
	}
	return plainMeta(fd)
}

func (l *settling) SetOpaque(fd int) error {
	return sys.Fsetxattr(fd, l.opaqueAttr, []byte("y"), 0)
}

func (l *settling) Inherit(fd int, from found) error {
	src, err := openDirAt(from.fd, from.name)
	if err != nil {
		return err
	}
	defer l.Close(src)
	return copyMeta(src, fd)
}

func (l *settling) Describe(fd, from int) error {
	if err := removeXattrs(fd); err != nil {
		return err
	}
	return copyMeta(from, fd)
}

func (l *settling) Rename(src int, base, full string, dst int, newBase, newFull string) error {
	if err := sys.Renameat2(src, base, dst, newBase, unix.RENAME_NOREPLACE); err != nil {
		return err
	}
	return l.record.Moved(full, newFull)
}

func (l *settling) Mark(dirfd int, base string) error {
	return sys.Mknodat(dirfd, base, unix.S_IFCHR, 0)
}

func (l *settling) Unmark(dirfd int, base string) error { return sys.Unlinkat(dirfd, base, 0) }

func (l *settling) RemoveDir(dirfd int, base string) error {
	return sys.Unlinkat(dirfd, base, unix.AT_REMOVEDIR)
}

func (l *settling) Drop(dirfd int, base, full string) error {
	if err := l.record.Deleting(dirfd, base, full); err != nil {
		return err
	}
	return removeTree(dirfd, base)
}

func (l *settling) KeepTimes(fd int, fn func() error) error { return keepTimes(fd, fn) }
