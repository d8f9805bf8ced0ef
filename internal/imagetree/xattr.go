package imagetree

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/tarstream"
	"github.com/byhand/byhand/unpack"
)

// Bounds of the kernel (linux/limits.h).
const (
	xattrNameMax = 255
	xattrSizeMax = 65536
)

// xattrs gives n the attributes of the entry.
func (l *reader) xattrs(e *entry, n *node) error {
	var size int64
	for _, x := range e.h.Xattrs {
		size += int64(len(x.Name) + len(x.Value))
		if size > l.limits.XattrSize {
			return &unpack.LimitError{Limit: "xattr-size", Max: l.limits.XattrSize, Got: size}
		}
		if strings.HasPrefix(x.Name, "trusted.overlay.") || strings.HasPrefix(x.Name, "user.overlay.") {
			l.skip(unpack.SkipOverlayXattr, e.h.Name, x.Name, nil)
			continue
		}
		err := checkXattr(n.mode&unix.S_IFMT, x)
		if err != nil && slices.Contains([]error{unix.ENOTSUP, unix.EPERM, unix.EACCES, unix.EINVAL}, err) {
			l.skip(unpack.SkipXattr, e.h.Name, x.Name, err)
			continue
		}
		if err != nil {
			e.op = "set extended attribute of"
			return fmt.Errorf("%s: %w", x.Name, err)
		}
		n.setXattr(x)
	}
	return nil
}

// checkXattr says what the kernel would on every file system, see xattr(7).
func checkXattr(format uint32, x tarstream.Xattr) error {
	if x.Name == "" || len(x.Name) > xattrNameMax {
		return unix.ERANGE
	}
	if len(x.Value) > xattrSizeMax {
		return unix.E2BIG
	}
	space, rest, _ := strings.Cut(x.Name, ".")
	switch space {
	case "user", "trusted", "security":
		if rest == "" {
			return unix.EINVAL
		}
		if space == "user" && format != unix.S_IFREG && format != unix.S_IFDIR {
			return unix.EPERM
		}
		return nil
	case "system":
		return checkACL(format, rest, x.Value)
	}
	return unix.ENOTSUP
}

// checkACL knows the attributes of the name space system that file systems
// store: access control lists, version 2 (linux/posix_acl_xattr.h).
func checkACL(format uint32, name, value string) error {
	switch {
	case name != "posix_acl_access" && name != "posix_acl_default", format == unix.S_IFLNK:
		return unix.ENOTSUP
	case name == "posix_acl_default" && format != unix.S_IFDIR:
		return unix.EACCES
	case len(value) < 4 || (len(value)-4)%8 != 0 || value[:4] != "\x02\x00\x00\x00":
		return unix.EINVAL
	}
	return nil
}
