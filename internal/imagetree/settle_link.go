package imagetree

import (
	"cmp"
	"context"
	"errors"
	"path"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/unpack"
)

// links makes the hard links in their order, and those to links that come
// later when these are made. Chains of them that run backwards are followed
// as far as the kernel follows symbolic links; no archiver makes one.
func (s *settler) links(ctx context.Context, links []unpack.HardLink) error {
	for turn := 0; len(links) > 0; turn++ {
		var again []unpack.HardLink
		var first error
		for _, l := range links {
			if err := ctx.Err(); err != nil {
				return err
			}
			err := entryError(l.Name, "make hard link", s.link(ctx, l))
			if err != nil && !errors.Is(err, ErrLinkTarget) {
				return err
			}
			if err != nil {
				first = cmp.Or(first, err)
				again = append(again, l)
			}
		}
		if len(again) == len(links) || turn == maxLinks {
			return first
		}
		links = again
	}
	return nil
}

// link makes a hard link whose target was not in the layer when its entry
// came. The file that the layers below had then is meant; where they have
// none, a later entry of this layer.
func (s *settler) link(ctx context.Context, l unpack.HardLink) error {
	// The place of the directory: what the link itself replaces stays.
	name := path.Join(s.current(path.Dir(l.Name)), path.Base(l.Name))
	to, err := s.reach(ctx, ".", path.Dir(name), 0)
	s.walk = nil
	if err != nil {
		return err
	}
	place, err := s.ensure(to)
	if err != nil {
		return err
	}
	target, err := s.target(l.Target)
	if err != nil {
		return err
	}
	kids, base := place.dir()[0].node.dir, path.Base(name)
	full := path.Join(to, base)
	if target.layer == s.layer && full == target.full {
		return nil // a link to itself
	}
	s.linked[full] = true
	// A name that the layer's links brought here yields to what is there.
	if n := kids.kids[base]; n != nil && (n.isDir() || name != l.Name && !n.isWhiteout()) {
		return nil
	}
	kids.put(base, target.node)
	return nil
}

// linkTarget is the file that a hard link names.
type linkTarget struct {
	found
	full string // its real name in the tree
}

// target finds the file that a hard link means.
func (s *settler) target(name string) (linkTarget, error) {
	low, lowErr := resolveTarget(s.below, name)
	own, ownErr := resolveTarget(s.merged, s.current(name))
	mine := ownErr == nil && own.layer == s.layer
	// The layer's own file is meant where it is a hard link made just now, or
	// where only links of the layers below lead to it: by its real name it
	// would have been found when the layer was read.
	preferOwn := mine && (s.linked[own.full] || lowErr == nil && low.full != path.Clean(name) && low.full == own.full)
	switch {
	case lowErr == nil && !preferOwn:
		return low, nil
	case mine:
		return own, nil
	}
	for _, err := range []error{lowErr, ownErr} {
		if err != nil && !isAbsent(err) {
			return linkTarget{}, err
		}
	}
	return linkTarget{}, ErrLinkTarget
}

func isAbsent(err error) bool {
	for _, e := range []error{unix.ENOENT, unix.ENOTDIR, unix.ELOOP, unix.ENAMETOOLONG} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// resolveTarget finds name in a tree; a symbolic link at its end is itself
// the target.
func resolveTarget(root merged, name string) (linkTarget, error) {
	if len(root) == 0 {
		return linkTarget{}, unix.ENOENT
	}
	c := newCursor(root)
	f, base, err := c.resolve(name, false)
	if err == nil && f.isDir() {
		err = unix.EISDIR
	}
	return linkTarget{found: f, full: path.Join(c.path(), base)}, err
}
