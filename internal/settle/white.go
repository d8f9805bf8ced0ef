package settle

import (
	"context"
	"path"

	"github.com/byhand/byhand/internal/mergewalk"
)

// prune removes the whiteouts in directories that merge with nothing below.
func (s *Settler[D, F, H]) prune(ctx context.Context, whiteouts []string) error {
	const op = "remove whiteout"
	var c *mergewalk.Cursor[D, F]
	defer func() {
		if c != nil {
			c.Reset()
		}
	}()
	last := ""
	for _, name := range whiteouts {
		if err := ctx.Err(); err != nil {
			return err
		}
		name = s.current(name)
		if dir := path.Dir(name); c == nil || dir != last {
			if c != nil {
				c.Reset()
			}
			var err error
			c, err = s.place(dir)
			if err != nil && !isAbsent(err) {
				return EntryError(name, op, err)
			}
			last = dir
		}
		if c == nil {
			continue
		}
		here, ok := s.layer.Top(c.Dir())
		if !ok || !s.layer.Below(c.Dir()).Empty() {
			continue
		}
		if err := s.unmark(here, path.Base(name)); err != nil {
			return EntryError(name, op, err)
		}
	}
	return nil
}

// unmark removes base if it is a whiteout.
func (s *Settler[D, F, H]) unmark(dir H, base string) error {
	kind, err := s.layer.Kind(dir, base)
	if err != nil || kind != Whiteout {
		return err
	}
	return s.layer.KeepTimes(dir, func() error { return s.layer.Unmark(dir, base) })
}

// hideBelow does what an opaque root means: every name of the layers below
// that the layer lacks gets a whiteout, every directory that both have is
// opaque.
func (s *Settler[D, F, H]) hideBelow() error {
	below, err := s.below.Names()
	if err != nil {
		return EntryError(".", "list lower layers", err)
	}
	root := s.layer.Root()
	return s.layer.KeepTimes(root, func() error {
		for _, name := range below {
			kind, err := s.layer.Kind(root, name)
			switch {
			case err != nil:
			case kind == Absent:
				err = s.layer.Mark(root, name)
			case kind == Directory:
				err = s.opaqueSub(root, name)
			}
			if err != nil {
				return EntryError(name, "hide lower layers", err)
			}
		}
		return nil
	})
}
