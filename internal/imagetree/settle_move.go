package imagetree

import (
	"context"
	"errors"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/unpack"
)

// errUnfit says that a symbolic link leads to no place for a directory.
var errUnfit = errors.New("link leads to no directory")

// follow moves what the layer has in the directory name, which is in the
// directory here, and in whose place the layers below have the symbolic link
// low, to where the link leads.
func (s *settler) follow(ctx context.Context, here *node, name string, low *node, t *implicit, depth int) (bool, error) {
	if depth >= maxLinks {
		return false, nil
	}
	base := path.Base(name)
	held := here.dir.kids[base]
	if held == nil || !held.isDir() {
		return false, nil
	}
	delete(here.dir.kids, base)
	parent := s.tree.at(path.Dir(name))
	delete(parent.kids, base)
	s.walk = nil // what follows moves things
	to, err := s.reach(ctx, path.Dir(name), low.link, depth)
	s.walk = nil
	if errors.Is(err, errUnfit) {
		return false, release(held, here, base, t, parent)
	}
	if err != nil {
		return false, err
	}
	c, err := s.ensure(to)
	if err != nil {
		return false, err
	}
	s.moved[name] = to
	dt := s.tree.at(to)
	mergeDirs(held, c.dir()[0].node, t, dt)
	return true, s.visit(ctx, to, dt, depth+1)
}

// release puts a held directory back. Something else may have come to its
// place through links meanwhile.
func release(held, here *node, base string, t, parent *implicit) error {
	if here.dir.gone {
		return unix.ENOENT
	}
	if n := here.dir.kids[base]; n != nil && n.isDir() {
		mergeDirs(held, n, t, parent.at(base))
		return nil
	}
	here.dir.put(base, held)
	parent.put(base, t)
	return nil
}

// reach finds the real name of what target means in the directory at, with
// names that do not exist taken for directories to be made.
func (s *settler) reach(ctx context.Context, at, target string, depth int) (string, error) {
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
func (s *settler) tryReach(ctx context.Context, at, target string, depth int) (again bool, to string, err error) {
	c, err := s.place(s.current(at))
	if err != nil {
		return false, "", unfit(err)
	}
	w := &reacher{cursor: c}
	w.push(target)
	for len(w.todo) > 0 {
		name := w.pop()
		if w.lexical(name) {
			continue
		}
		full := path.Join(c.path(), name)
		if t := s.tree.find(full); t != nil && t.state == stateImplicit {
			_, err := s.settleDir(ctx, full, t, depth+1)
			return true, "", err
		}
		if err := w.step(name); err != nil {
			return false, "", err
		}
	}
	return false, path.Join(append(slices.Clone(c.names), w.missing...)...), nil
}

// reacher is a walk that goes on where nothing exists.
type reacher struct {
	*cursor
	missing []string // names below the cursor that do not exist
	todo    []string // what is left of the path, last first
	links   int
}

// push puts a path before what is left.
func (w *reacher) push(target string) {
	if strings.HasPrefix(target, "/") {
		w.reset()
	}
	w.todo = splitReversed(w.todo, target)
}

func (w *reacher) pop() string {
	name := w.todo[len(w.todo)-1]
	w.todo = w.todo[:len(w.todo)-1]
	return name
}

// lexical takes a step that needs no look at the tree.
func (w *reacher) lexical(name string) bool {
	switch {
	case name == "" || name == ".":
	case name == ".." && len(w.missing) > 0:
		w.missing = w.missing[:len(w.missing)-1]
	case name == "..":
		w.up()
	case len(w.missing) > 0:
		w.missing = append(w.missing, name)
	default:
		return false
	}
	return true
}

// step takes a step in the tree.
func (w *reacher) step(name string) error {
	if err := checkName(name); err != nil {
		return errUnfit
	}
	f, ok := w.dir().lookup(name)
	switch {
	case !ok:
		w.missing = append(w.missing, name)
	case f.isDir():
		w.down(name, f)
	case f.isSymlink():
		if w.links++; w.links > maxLinks {
			return errUnfit
		}
		w.push(f.link)
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
func (s *settler) ensure(to string) (*cursor, error) {
	c := newCursor(s.merged)
	for elem := range strings.SplitSeq(to, "/") {
		if elem == "" || elem == "." {
			continue
		}
		if depth := int64(len(c.names)); depth >= s.limits.PathDepth {
			return nil, &unpack.LimitError{Limit: "path-depth", Max: s.limits.PathDepth, Got: depth + 1}
		}
		if err := s.ensureDir(c.dir(), elem, path.Join(c.path(), elem)); err != nil {
			return nil, err
		}
		f, ok := c.dir().lookup(elem)
		if !ok || !f.isDir() {
			return nil, unix.ENOTDIR
		}
		c.down(elem, f)
	}
	return c, nil
}

// ensureDir makes one implicit directory in the layer, settled at once.
func (s *settler) ensureDir(d merged, name, full string) error {
	if err := checkName(name); err != nil {
		return err
	}
	here := d[0].node
	old := here.dir.kids[name]
	if old != nil && old.isDir() {
		return nil
	}
	if old != nil && !old.isWhiteout() {
		return unix.ENOTDIR
	}
	if s.made++; s.made > s.limits.Entries {
		return &unpack.LimitError{Limit: "entries", Max: s.limits.Entries, Got: s.made}
	}
	s.tree.at(full).state = stateSettled
	n := newDir(int32(s.layer))
	n.dir.implicit = true
	here.dir.put(name, n)
	if old != nil {
		n.dir.opaque = true
		return nil
	}
	if f, ok := d[1:].lookup(name); ok && f.isDir() {
		copyMeta(f.node, n)
	}
	return nil
}
