package settle

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/mergewalk"
)

// errUnfit says that a symbolic link leads to no place for a directory.
var errUnfit = errors.New("link leads to no directory")

// follow moves what the layer has in the directory name, which is in here, and
// in whose place the layers below have the symbolic link, to where the link
// leads.
func (s *Settler[D, F, H]) follow(ctx context.Context, here H, name string, link F, t *names, depth int) (bool, error) {
	if depth >= mergewalk.MaxLinks {
		return false, nil
	}
	target, err := link.Readlink()
	if err != nil {
		return false, err
	}
	s.forgetWalk()
	held, err := s.hold(here, name)
	if err != nil || held == "" {
		return false, err
	}
	parent := s.tree.at(path.Dir(name))
	delete(parent.kids, path.Base(name))
	to, err := s.reach(ctx, path.Dir(name), target, depth)
	s.forgetWalk()
	if errors.Is(err, errUnfit) {
		return false, s.release(held, here, name, t, parent)
	}
	if err != nil {
		return false, err
	}
	c, err := s.ensure(to)
	if err != nil {
		return false, err
	}
	defer c.Reset()
	dst, ok := s.layer.Top(c.Dir())
	if !ok {
		return false, unix.ENOENT
	}
	s.moved[name] = to
	dt := s.tree.at(to)
	if err := s.merge(held, dst, to, t, dt); err != nil {
		return false, err
	}
	return true, s.visit(ctx, to, dt, depth+1)
}

// hold moves the directory name, which is in here, out of the way, to a new
// name in the layer's root. It returns "" when there is no such directory.
func (s *Settler[D, F, H]) hold(here H, name string) (held string, err error) {
	base := path.Base(name)
	kind, err := s.layer.Kind(here, base)
	if err != nil || kind != Directory {
		return "", err
	}
	root := s.layer.Root()
	err = s.keepBoth(root, here, func() error {
		for i := 0; ; i++ {
			held = fmt.Sprintf(".byhand-settling-%d", i)
			err := s.layer.Rename(here, base, name, root, held, held)
			if !errors.Is(err, unix.EEXIST) {
				return err
			}
		}
	})
	return held, err
}

func (s *Settler[D, F, H]) keepBoth(a, b H, fn func() error) error {
	return s.layer.KeepTimes(a, func() error { return s.layer.KeepTimes(b, fn) })
}

// release puts a held directory back to name, which is in here. Something
// else may have come to its place through links meanwhile.
func (s *Settler[D, F, H]) release(held string, here H, name string, t, parent *names) error {
	base := path.Base(name)
	root := s.layer.Root()
	back := func() error {
		return s.keepBoth(root, here, func() error { return s.layer.Rename(root, held, held, here, base, name) })
	}
	err := back()
	if !errors.Is(err, unix.EEXIST) {
		parent.put(base, t)
		return err
	}
	kind, err := s.layer.Kind(here, base)
	if err != nil {
		return err
	}
	if kind == Directory {
		return s.mergeInto(held, here, name, t, parent.at(base))
	}
	err = s.layer.KeepTimes(here, func() error { return s.layer.Drop(here, base, name) })
	if err != nil {
		return err
	}
	parent.put(base, t)
	return back()
}

func (s *Settler[D, F, H]) mergeInto(held string, here H, name string, t, dt *names) error {
	dst, err := s.layer.Open(here, path.Base(name))
	if err != nil {
		return err
	}
	defer s.layer.Close(dst)
	return s.merge(held, dst, name, t, dt)
}

// reach finds the real name of what target means in the directory at, with
// names that do not exist taken for directories to be made.
func (s *Settler[D, F, H]) reach(ctx context.Context, at, target string, depth int) (string, error) {
	for {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		again, to, err := s.tryReach(ctx, at, target, depth)
		if err != nil || !again {
			return to, err
		}
	}
}

// tryReach asks to be called again when it had to settle a directory on the
// way, because that can change what the way is.
func (s *Settler[D, F, H]) tryReach(ctx context.Context, at, target string, depth int) (again bool, to string, err error) {
	c, err := s.place(s.current(at))
	if err != nil {
		return false, "", unfit(err)
	}
	defer c.Reset()
	w := &reacher[D, F]{Cursor: c}
	w.push(target)
	for len(w.todo) > 0 {
		name := w.pop()
		if w.lexical(name) {
			continue
		}
		full := path.Join(c.Path(), name)
		if t := s.tree.find(full); t != nil && t.state == implicit {
			_, err := s.settleDir(ctx, full, t, depth+1)
			return true, "", err
		}
		if err := w.step(name); err != nil {
			return false, "", err
		}
	}
	return false, path.Join(append(slices.Clone(c.Names()), w.missing...)...), nil
}

// reacher is a walk that goes on where nothing exists.
type reacher[D mergewalk.Dir[D, F], F mergewalk.File] struct {
	*mergewalk.Cursor[D, F]
	missing []string // names below the cursor that do not exist
	todo    []string // what is left of the path, last first
	links   int
}

// push puts a path before what is left.
func (w *reacher[D, F]) push(target string) {
	if strings.HasPrefix(target, "/") {
		w.Reset()
	}
	w.todo = mergewalk.SplitReversed(w.todo, target)
}

func (w *reacher[D, F]) pop() string {
	name := w.todo[len(w.todo)-1]
	w.todo = w.todo[:len(w.todo)-1]
	return name
}

// lexical takes a step that needs no look at the tree.
func (w *reacher[D, F]) lexical(name string) bool {
	switch {
	case name == "" || name == ".":
	case name == ".." && len(w.missing) > 0:
		w.missing = w.missing[:len(w.missing)-1]
	case name == "..":
		w.Up()
	case len(w.missing) > 0:
		w.missing = append(w.missing, name)
	default:
		return false
	}
	return true
}

// step takes a step in the tree.
func (w *reacher[D, F]) step(name string) error {
	f, ok, err := w.Dir().Lookup(name)
	switch {
	case err != nil:
		return unfit(err)
	case !ok:
		w.missing = append(w.missing, name)
	case f.IsDir():
		return w.Down(name, f)
	case f.IsSymlink():
		if w.links++; w.links > mergewalk.MaxLinks {
			return errUnfit
		}
		target, err := f.Readlink()
		if err != nil {
			return err
		}
		w.push(target)
	default:
		return errUnfit
	}
	return nil
}

// unfit turns what a strange link target can cause into errUnfit.
func unfit(err error) error {
	for _, strange := range []error{unix.ENAMETOOLONG, unix.ENOTDIR, unix.ENOENT, unix.EINVAL} {
		if errors.Is(err, strange) {
			return errUnfit
		}
	}
	return err
}

// ensure makes every directory of the real name to in the layer and returns
// the place.
func (s *Settler[D, F, H]) ensure(to string) (*mergewalk.Cursor[D, F], error) {
	s.forgetWalk()
	c := mergewalk.New[D, F](s.merged)
	for elem := range strings.SplitSeq(to, "/") {
		if elem == "" || elem == "." {
			continue
		}
		err := s.ensureDir(c, elem)
		if err == nil {
			err = c.Descend([]string{elem})
		}
		if err != nil {
			c.Reset()
			return nil, err
		}
	}
	return c, nil
}

// ensureDir makes one implicit directory where c is, settled at once.
func (s *Settler[D, F, H]) ensureDir(c *mergewalk.Cursor[D, F], name string) error {
	here, ok := s.layer.Top(c.Dir())
	if !ok {
		return unix.ENOENT
	}
	kind, err := s.layer.Kind(here, name)
	if err != nil || kind == Directory {
		return err
	}
	if kind == Other {
		return unix.ENOTDIR
	}
	s.tree.at(path.Join(c.Path(), name)).state = settled
	return s.layer.KeepTimes(here, func() error {
		if kind == Whiteout {
			if err := s.layer.Unmark(here, name); err != nil {
				return err
			}
		}
		if err := s.layer.Make(here, name, len(c.Names())); err != nil {
			return err
		}
		if kind == Whiteout {
			return s.opaqueSub(here, name)
		}
		f, ok, err := s.layer.Below(c.Dir()).Lookup(name)
		if err != nil || !ok || !f.IsDir() {
			return err
		}
		return s.inherit(here, name, f)
	})
}
