package settle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/mergewalk"
	"github.com/byhand/byhand/unpack"
)

// links makes the hard links in their order, and those to links that come
// later when these are made. Chains of them that run backwards are followed
// as far as the kernel follows symbolic links; no archiver makes one.
func (s *Settler[D, F, H]) links(ctx context.Context, links []unpack.HardLink) error {
	for turn := 0; len(links) > 0; turn++ {
		var again []unpack.HardLink
		var first error
		for _, l := range links {
			if err := ctx.Err(); err != nil {
				return err
			}
			err := EntryError(l.Name, "make hard link", s.link(ctx, l))
			if err != nil && !errors.Is(err, ErrLinkTarget) {
				return err
			}
			if err != nil {
				first = cmp.Or(first, err)
				again = append(again, l)
			}
		}
		if len(again) == len(links) || turn == mergewalk.MaxLinks {
			return first
		}
		links = again
	}
	return nil
}

// link makes a hard link whose target was not in the layer when its entry
// came. The file that the layers below had then is meant; where they have
// none, a later entry of this layer.
func (s *Settler[D, F, H]) link(ctx context.Context, l unpack.HardLink) error {
	// The place of the directory: what the link itself replaces stays.
	name := path.Join(s.current(path.Dir(l.Name)), path.Base(l.Name))
	to, err := s.reach(ctx, ".", path.Dir(name), 0)
	if err != nil {
		return err
	}
	place, err := s.ensure(to)
	if err != nil {
		return err
	}
	defer place.Reset()
	here, ok := s.layer.Top(place.Dir())
	if !ok {
		return unix.ENOENT
	}
	base := path.Base(name)
	full := path.Join(to, base)
	target, done, err := s.target(l.Target)
	if err != nil {
		return err
	}
	defer done()
	if s.layer.Owns(target.file) && full == target.full {
		return nil // a link to itself
	}
	s.linked[full] = true
	return s.layer.KeepTimes(here, func() error {
		if free, err := s.clear(here, base, full, name == l.Name); err != nil || !free {
			return err
		}
		return s.layer.Link(s, target.file, target.full, here, base, full)
	})
}

// clear makes room for a hard link at base in dir, called full. A name that
// the layer's links brought here yields to what is there already.
func (s *Settler[D, F, H]) clear(dir H, base, full string, named bool) (free bool, err error) {
	kind, err := s.layer.Kind(dir, base)
	switch {
	case err != nil || kind == Absent:
		return err == nil, err
	case kind == Directory || kind == Other && !named:
		return false, nil
	}
	return true, s.layer.Drop(dir, base, full)
}

// target is the file that a hard link names.
type target[F any] struct {
	file F
	full string // its real name in the tree
}

// target finds the file that a hard link means. done releases it.
func (s *Settler[D, F, H]) target(name string) (t target[F], done func(), err error) {
	low, lowDone, lowErr := resolveTarget[D, F](s.below, name)
	own, ownDone, ownErr := resolveTarget[D, F](s.merged, s.current(name))
	mine := ownErr == nil && s.layer.Owns(own.file)
	// The layer's own file is meant where it is a hard link made just now, or
	// where only links of the layers below lead to it: by its real name it
	// would have been found when the layer was unpacked.
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
			return t, nil, fmt.Errorf("target %q: %w", name, err)
		}
	}
	return t, nil, fmt.Errorf("target %q: %w", name, ErrLinkTarget)
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
func resolveTarget[D Dir[D, F], F mergewalk.File](root D, name string) (t target[F], done func(), err error) {
	if root.Empty() {
		return t, func() {}, unix.ENOENT
	}
	c := mergewalk.New[D, F](root)
	f, base, err := c.Resolve(name, false)
	if err == nil && f.IsDir() {
		err = unix.EISDIR
	}
	return target[F]{f, path.Join(c.Path(), base)}, c.Reset, err
}

// Shows finds what the merged tree shows at a real name that a hard link was
// made to; ok is false where links lead on from there. done releases it.
func (s *Settler[D, F, H]) Shows(full string) (f F, ok bool, done func()) {
	t, done, err := resolveTarget[D, F](s.merged, full)
	return t.file, err == nil && t.full == full, done
}

// Ensure opens the layer's own directory at the real name dir, made where it
// is missing. done releases it.
func (s *Settler[D, F, H]) Ensure(dir string) (h H, done func(), err error) {
	c, err := s.ensure(dir)
	if err != nil {
		return h, nil, err
	}
	h, ok := s.layer.Top(c.Dir())
	if !ok {
		c.Reset()
		return h, nil, unix.ENOENT
	}
	return h, c.Reset, nil
}
