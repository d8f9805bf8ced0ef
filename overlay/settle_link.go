package overlay

import (
	"context"
	"errors"
	"path"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/sys"
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
			err := s.link(ctx, l)
			switch {
			case err == nil:
			case errors.Is(err, ErrLinkTarget):
				if first == nil {
					first = err
				}
				again = append(again, l)
			default:
				return err
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
	const op = "make hard link"
	// The place of the directory: what the link itself replaces stays.
	name := path.Join(s.current(path.Dir(l.Name)), path.Base(l.Name))
	to, err := s.reach(ctx, ".", path.Dir(name), 0)
	if err != nil {
		return entryError(l.Name, op, err)
	}
	place, err := s.ensure(to)
	if err != nil {
		return entryError(l.Name, op, err)
	}
	defer place.reset()
	dir, base := place.dir().parts[0].fd, path.Base(name)
	target, done, err := s.target(l.Target)
	if err != nil {
		return entryError(l.Name, op, err)
	}
	defer done()
	if target.layer == s.layer && path.Join(to, base) == target.full {
		return nil // a link to itself
	}
	err = keepTimes(dir, func() error {
		if free, err := s.clear(dir, base, path.Join(to, base), name == l.Name); err != nil || !free {
			return err
		}
		return s.linkOrCopy(target, dir, base, path.Join(to, base))
	})
	s.linked[path.Join(to, base)] = true
	return entryError(l.Name, op, err)
}

// linkTarget is the file that a hard link names.
type linkTarget struct {
	node
	full string // its real name in the tree
}

// target finds the file that a hard link means. done releases it.
func (s *settler) target(name string) (linkTarget, func(), error) {
	low, lowDone, lowErr := resolveTarget(s.below, name)
	own, ownDone, ownErr := resolveTarget(s.merged, s.current(name))
	mine := ownErr == nil && own.layer == s.layer
	// The layer's own file is meant where it is a hard link made just now, or
	// where only links of the layers below lead to it: by its real name the
	// unpacker would have found it.
	preferOwn := mine && (s.linked[own.full] || lowErr == nil && low.full != path.Clean(name) && low.full == own.full)
	switch {
	case lowErr == nil && !preferOwn:
		ownDone()
		return low, lowDone, nil
	case mine:
		lowDone()
		return own, ownDone, nil
	}
	lowDone()
	ownDone()
	for _, err := range []error{lowErr, ownErr} {
		if err != nil && !isAbsent(err) {
			return linkTarget{}, nil, err
		}
	}
	return linkTarget{}, nil, ErrLinkTarget
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
// the target. done may be called in any case.
func resolveTarget(root *mergedDir, name string) (t linkTarget, done func(), err error) {
	if len(root.parts) == 0 {
		return t, func() {}, unix.ENOENT
	}
	c := newCursor(root)
	f, err := c.resolve(name, false)
	if err == nil && f.typ == unix.DT_DIR {
		err = unix.EISDIR
	}
	return linkTarget{node: f.node, full: path.Join(c.path(), f.name)}, c.reset, err
}

// clear makes room for a hard link at base in dirfd, called full. A name that
// the layer's links brought here yields to what is there already.
func (s *settler) clear(dirfd int, base, full string, named bool) (free bool, err error) {
	var st unix.Stat_t
	err = lstatat(dirfd, base, &st)
	switch {
	case errors.Is(err, unix.ENOENT):
		return true, nil
	case err != nil:
		return false, err
	case st.Mode&unix.S_IFMT == unix.S_IFDIR || !named && !isWhiteout(&st):
		return false, nil
	}
	if err := s.record.Deleting(dirfd, base, full); err != nil {
		return false, err
	}
	return true, sys.Unlinkat(dirfd, base, 0)
}

// linkOrCopy gives the target another name, full, which is base in dirfd. A
// file system that cannot link it (another one below, too many links, foreign
// files that the kernel protects) gets a copy, which takes the target's place
// in the tree too, so that both are one file.
func (s *settler) linkOrCopy(t linkTarget, dirfd int, base, full string) error {
	err := sys.Linkat(t.fd, t.name, dirfd, base, 0)
	switch {
	case errors.Is(err, unix.EXDEV), errors.Is(err, unix.EMLINK), errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
	default:
		return err
	}
	var st unix.Stat_t
	if err := lstatat(t.fd, t.name, &st); err != nil {
		return err
	}
	id := fileID{dev: st.Dev, ino: st.Ino}
	if first, ok := s.copied[id]; ok {
		if err := s.record.Copied(full); err != nil {
			return err
		}
		return s.linkName(first, dirfd, base)
	}
	if err := copyUp(t.node, dirfd, base); err != nil {
		return err
	}
	if err := s.record.Copied(full); err != nil {
		return err
	}
	s.copied[id] = full
	return s.raise(t, id, dirfd, base)
}

// raise makes the copy at base in dirfd the target as well, if the target
// still shows.
func (s *settler) raise(t linkTarget, id fileID, dirfd int, base string) error {
	seen, done, err := resolveTarget(s.merged, t.full)
	defer done()
	if err != nil || seen.layer != t.layer || seen.full != t.full {
		return nil // the layer hides the target, or has its own there
	}
	var st unix.Stat_t
	err = lstatat(seen.fd, seen.name, &st)
	if err != nil || id != (fileID{dev: st.Dev, ino: st.Ino}) {
		return err
	}
	c, err := s.ensure(path.Dir(t.full))
	if err != nil {
		return err
	}
	defer c.reset()
	dst := c.dir().parts[0].fd
	if err := s.record.Copied(t.full); err != nil {
		return err
	}
	return keepTimes(dst, func() error { return sys.Linkat(dirfd, base, dst, t.name, 0) })
}

// linkName links base in dirfd to the layer's file of the name first.
func (s *settler) linkName(first string, dirfd int, base string) error {
	c, err := s.place(path.Dir(first))
	if err != nil {
		return err
	}
	defer c.reset()
	return sys.Linkat(c.dir().parts[0].fd, path.Base(first), dirfd, base, 0)
}
