package unpack

import (
	"context"
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

// putWhiteout hides e.base in lower layers, if the layer itself has none.
func (a *applier) putWhiteout(_ context.Context, e *entry) error {
	a.res.Counts.Whiteouts++
	n := e.dir
	if n.marks == nil {
		n.marks = make(map[string]bool)
	}
	if n.marks[e.base] {
		return nil
	}
	if err := a.remember(whiteoutCost + nameCost + n.size + 2*int64(len(e.base))); err != nil {
		return err
	}
	e.base = strings.Clone(e.base) // not the long name that it is part of
	n.marks[e.base] = false
	if kid := n.kids[e.base]; kid != nil {
		kid.hidden = true
		return nil
	}
	if _, ok := a.linkAs[linkKey{n, e.base}]; ok {
		return nil
	}
	fd, err := a.tree.fd(n)
	if err != nil {
		return err
	}
	err = ignoringEINTR(func() error { return unix.Mknodat(fd, e.base, unix.S_IFCHR, 0) })
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	if err != nil {
		return err
	}
	n.marks[e.base] = true
	return nil
}

// putOpaque makes the entry's directory hide what lower layers have in it.
func (a *applier) putOpaque(_ context.Context, e *entry) error {
	a.res.Counts.Opaques++
	e.dir.opaque = true
	return nil
}

// opaqueXattr is the attribute that makes a directory opaque
// (Documentation/filesystems/overlayfs.rst).
func (a *applier) opaqueXattr() string {
	if a.o.Format == OverlayUser {
		return "user.overlay.opaque"
	}
	return "trusted.overlay.opaque"
}
