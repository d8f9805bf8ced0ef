package overlay

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/sys"
)

// moveDir moves a directory that only one layer has in one piece. moved is
// false where it has to be gone through name by name.
func (f *flattener) moveDir(n node, dst int) (moved bool, err error) {
	err = sys.Renameat(n.fd, n.name, dst, n.name)
	switch {
	case errors.Is(err, unix.EXDEV):
		f.move.Store(false)
		return false, nil
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return false, nil // a directory must be writable to get another parent
	case err != nil:
		return false, err
	}
	fd, err := openDirAt(dst, n.name)
	if err != nil {
		return true, err
	}
	defer func() { _ = unix.Close(fd) }()
	return true, f.scrub(fd)
}

// makeWritable lets an ordinary user take names out of their own directories.
// Where it fails, so does moving, with a better error.
func makeWritable(d *mergedDir) {
	for _, p := range d.parts {
		var st unix.Stat_t
		if sys.Fstat(p.fd, &st) == nil && st.Mode&0o300 != 0o300 {
			_ = sys.Fchmod(p.fd, st.Mode&0o7777|0o700)
		}
	}
}

// scrub takes overlayfs's markers out of a tree that was moved whole.
func (f *flattener) scrub(dir int) error {
	for _, attr := range []string{opaqueTrusted, opaqueUser} {
		err := sys.Fremovexattr(dir, attr)
		if err != nil && !errors.Is(err, unix.ENODATA) && !refusedXattr(err) {
			return err
		}
	}
	buf, _ := f.buffers.Get().(*[]byte)
	var subs, white []string
	err := readDir(dir, *buf, func(name string, typ uint8) error {
		typ, isWhite, err := classifyAt(dir, name, typ)
		if typ == unix.DT_DIR {
			subs = append(subs, name)
		}
		if isWhite {
			white = append(white, name)
		}
		return err
	})
	f.buffers.Put(buf)
	if err != nil {
		return err
	}
	for _, name := range white {
		if err := keepTimes(dir, func() error { return sys.Unlinkat(dir, name, 0) }); err != nil {
			return err
		}
	}
	for _, name := range subs {
		fd, err := openDirAt(dir, name)
		if err != nil {
			return err
		}
		err = f.scrub(fd)
		_ = unix.Close(fd)
		if err != nil {
			return err
		}
	}
	return nil
}
