package overlay

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/rootfd"
	"github.com/byhand/byhand/internal/sys"
)

// copyMeta gives the directory dst the mode, owner, times and extended
// attributes of src. Attributes that the file system or the caller's want of
// privilege refuses stay behind, as they did when src was made.
func copyMeta(src, dst int) error {
	var st, old unix.Stat_t
	if err := sys.Fstat(src, &st); err != nil {
		return err
	}
	if err := sys.Fstat(dst, &old); err != nil {
		return err
	}
	if st.Uid != old.Uid || st.Gid != old.Gid {
		if err := sys.Fchown(dst, int(st.Uid), int(st.Gid)); err != nil {
			return err
		}
	}
	if err := sys.Fchmod(dst, st.Mode&0o7777); err != nil {
		return err
	}
	err := eachXattr(src, func(name string, value []byte) error {
		err := sys.Fsetxattr(dst, name, value, 0)
		if refusedXattr(err) {
			return nil
		}
		return err
	})
	if err != nil {
		return err
	}
	return rootfd.Futimens(dst, &[2]unix.Timespec{st.Mtim, st.Mtim})
}

// plainMeta gives a directory that nobody described its defaults: mode 0755,
// root's, from the epoch.
func plainMeta(fd int) error {
	if err := sys.Fchown(fd, 0, 0); err != nil && !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EINVAL) {
		return err // EPERM: an ordinary user; EINVAL: 0 is not mapped
	}
	if err := sys.Fchmod(fd, 0o755); err != nil {
		return err
	}
	return rootfd.Futimens(fd, &[2]unix.Timespec{})
}

// isPlain tells whether a directory looks as plainMeta leaves it.
func isPlain(fd int) bool {
	var st unix.Stat_t
	return sys.Fstat(fd, &st) == nil && st.Mode&0o7777 == 0o755 && st.Mtim == (unix.Timespec{})
}

// removeXattrs removes the extended attributes of an open file but
// overlayfs's own.
func removeXattrs(fd int) error {
	return eachXattr(fd, func(name string, _ []byte) error {
		if err := sys.Fremovexattr(fd, name); err != nil && !refusedXattr(err) && !errors.Is(err, unix.ENODATA) {
			return err
		}
		return nil
	})
}

func refusedXattr(err error) bool {
	return errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES)
}

// overlayXattr tells whether an extended attribute is overlayfs's own. They
// belong to the layer and never to the merged tree.
func overlayXattr(name string) bool {
	return strings.HasPrefix(name, "trusted.overlay.") || strings.HasPrefix(name, "user.overlay.")
}

// eachXattr calls fn for every extended attribute of an open file but
// overlayfs's own.
func eachXattr(fd int, fn func(name string, value []byte) error) error {
	var small [256]byte
	names, err := growing(small[:], func(b []byte) (int, error) { return sys.Flistxattr(fd, b) })
	if err != nil || len(names) == 0 {
		if refusedXattr(err) || errors.Is(err, unix.EBADF) {
			return nil
		}
		return err
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names), "\x00"), "\x00") {
		if overlayXattr(name) {
			continue
		}
		value, err := growing(small[:], func(b []byte) (int, error) { return sys.Fgetxattr(fd, name, b) })
		if refusedXattr(err) || errors.Is(err, unix.ENODATA) {
			continue // not for the caller to see
		}
		if err == nil {
			err = fn(name, value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
