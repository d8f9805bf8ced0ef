package unpack

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// xattrDefaultACL is passed on to what is made in a directory, so it is set
// last.
const xattrDefaultACL = "system.posix_acl_default"

// isOverlayXattr says whether overlayfs would obey or hide the attribute.
func isOverlayXattr(name string) bool {
	return strings.HasPrefix(name, "trusted.overlay.") || strings.HasPrefix(name, "user.overlay.")
}

// xattrs hands the attributes of the entry to set.
func (a *applier) xattrs(e *entry, set func(attr string, value []byte) error) error {
	var size int64
	for _, x := range e.h.Xattrs {
		size += int64(len(x.Name) + len(x.Value))
		if size > a.limits.XattrSize {
			return &LimitError{Limit: "xattr-size", Max: a.limits.XattrSize, Got: size}
		}
		if isOverlayXattr(x.Name) {
			a.skip(SkipOverlayXattr, e.h.Name, x.Name, nil)
			continue
		}
		err := set(x.Name, []byte(x.Value))
		if refused(err) {
			a.skip(SkipXattr, e.h.Name, x.Name, err)
			continue
		}
		if err != nil {
			e.op = "set extended attribute of"
			return fmt.Errorf("%s: %w", x.Name, err)
		}
	}
	return nil
}

// refused says whether err is about the attribute rather than about storage:
// no such name space here (ENOTSUP), no privilege (EPERM, EACCES), or a value
// that this kernel does not take, such as an ACL of users that a user
// namespace does not know (EINVAL).
func refused(err error) bool {
	for _, errno := range [...]error{unix.ENOTSUP, unix.EPERM, unix.EACCES, unix.EINVAL} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}
