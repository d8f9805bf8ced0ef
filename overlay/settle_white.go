package overlay

import (
	"context"
	"errors"
	"path"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/sys"
)

// prune removes the whiteouts in directories that merge with nothing below.
func (s *settler) prune(ctx context.Context, names []string) error {
	var c *cursor
	last := ""
	defer func() {
		if c != nil {
			c.reset()
		}
	}()
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		name = s.current(name)
		if dir := path.Dir(name); c == nil || dir != last {
			if c != nil {
				c.reset()
			}
			var err error
			c, err = s.place(dir)
			if err != nil && !isAbsent(err) {
				return entryError(name, "remove whiteout", err)
			}
			last = dir
		}
		if c == nil || len(c.dir().parts) > 1 || c.dir().parts[0].layer != s.layer {
			continue
		}
		if err := unlinkWhiteout(c.dir().parts[0].fd, path.Base(name)); err != nil {
			return entryError(name, "remove whiteout", err)
		}
	}
	return nil
}

// unlinkWhiteout removes base if it is a whiteout.
func unlinkWhiteout(dirfd int, base string) error {
	var st unix.Stat_t
	err := lstatat(dirfd, base, &st)
	if errors.Is(err, unix.ENOENT) || err == nil && !isWhiteout(&st) {
		return nil
	}
	if err != nil {
		return err
	}
	return keepTimes(dirfd, func() error { return sys.Unlinkat(dirfd, base, 0) })
}

// hideBelow does what an opaque root means: every name of the layers below
// that the layer lacks gets a whiteout, every directory that both have is
// opaque.
func (s *settler) hideBelow() error {
	if len(s.below.parts) == 0 {
		return nil
	}
	names, err := s.below.list(s.buf)
	if err != nil {
		return entryError(".", "list lower layers", err)
	}
	return keepTimes(s.root, func() error {
		for _, n := range names {
			var st unix.Stat_t
			err := lstatat(s.root, n.name, &st)
			switch {
			case errors.Is(err, unix.ENOENT):
				err = sys.Mknodat(s.root, n.name, unix.S_IFCHR, 0)
			case err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR:
				err = s.opaqueSub(s.root, n.name)
			}
			if err != nil {
				return entryError(n.name, "hide lower layers", err)
			}
		}
		return nil
	})
}
