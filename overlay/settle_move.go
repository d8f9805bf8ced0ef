package overlay

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/rootfd"
	"github.com/byhand/byhand/internal/sys"
)

// errUnfit says that a symbolic link leads to no place for a directory.
var errUnfit = errors.New("link leads to no directory")

// follow moves what the layer has in the directory name, in whose place the
// layers below have the symbolic link n, to where the link leads.
func (s *settler) follow(ctx context.Context, dirfd int, name string, n node, t *implicit, depth int) (bool, error) {
	if depth >= maxLinks {
		return false, nil
	}
	target, err := rootfd.Readlinkat(n.fd, n.name)
	if err != nil {
		return false, err
	}
	s.forgetWalk()
	held, err := s.hold(dirfd, n.name, name)
	if err != nil || held == "" {
		return false, err
	}
	parent := s.tree.at(path.Dir(name))
	delete(parent.kids, n.name)
	to, err := s.reach(ctx, path.Dir(name), target, depth)
	if errors.Is(err, errUnfit) {
		return false, s.release(held, dirfd, name, t, parent)
	}
	if err != nil {
		return false, err
	}
	c, err := s.ensure(to)
	if err != nil {
		return false, err
	}
	defer c.reset()
	s.moved[name] = to
	dt := s.tree.at(to)
	if err := s.merge(held, c.dir().parts[0].fd, to, t, dt); err != nil {
		return false, err
	}
	return true, s.visit(ctx, to, dt, depth+1)
}

// hold moves the directory base in dirfd, called name, out of the way, to a
// new name in the layer's root. It returns "" when there is no such directory.
func (s *settler) hold(dirfd int, base, name string) (held string, err error) {
	var st unix.Stat_t
	err = lstatat(dirfd, base, &st)
	if errors.Is(err, unix.ENOENT) || err == nil && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	err = keepTimes(s.root, func() error {
		return keepTimes(dirfd, func() error {
			for i := 0; ; i++ {
				held = fmt.Sprintf(".byhand-settling-%d", i)
				err := sys.Renameat2(dirfd, base, s.root, held, unix.RENAME_NOREPLACE)
				if !errors.Is(err, unix.EEXIST) {
					return err
				}
			}
		})
	})
	if err == nil {
		err = s.record.Moved(name, held)
	}
	return held, err
}

// release puts a held directory back to name, which is in dirfd. Something
// else may have come to its place through links meanwhile.
func (s *settler) release(held string, dirfd int, name string, t, parent *implicit) error {
	s.forgetWalk()
	base := path.Base(name)
	back := func() error {
		return keepTimes(s.root, func() error {
			return keepTimes(dirfd, func() error {
				return sys.Renameat2(s.root, held, dirfd, base, unix.RENAME_NOREPLACE)
			})
		})
	}
	err := back()
	if errors.Is(err, unix.EEXIST) {
		fd, oerr := openDirAt(dirfd, base)
		if oerr == nil {
			defer func() { _ = unix.Close(fd) }()
			return s.merge(held, fd, name, t, parent.at(base))
		}
		if err = s.record.Deleting(dirfd, base, name); err == nil {
			err = keepTimes(dirfd, func() error { return sys.Unlinkat(dirfd, base, 0) })
		}
		if err == nil {
			err = back()
		}
	}
	if err == nil {
		err = s.record.Moved(held, name)
	}
	parent.at(base)
	parent.kids[base] = t
	return err
}

// reach finds the real name of what target means in the directory at, with
// names that do not exist taken for directories to be made.
func (s *settler) reach(ctx context.Context, at, target string, depth int) (string, error) {
	for {
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
	defer c.reset()
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
	var st unix.Stat_t
	n, ok, err := w.dir().lookup(name, &st)
	switch {
	case err != nil:
		return unfit(err)
	case !ok:
		w.missing = append(w.missing, name)
	case n.typ == unix.DT_DIR:
		return w.down(n)
	case n.typ == unix.DT_LNK:
		if w.links++; w.links > maxLinks {
			return errUnfit
		}
		target, err := rootfd.Readlinkat(n.fd, name)
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
func (s *settler) ensure(to string) (*cursor, error) {
	s.forgetWalk()
	c := newCursor(s.merged)
	for elem := range strings.SplitSeq(to, "/") {
		if elem == "" || elem == "." {
			continue
		}
		if err := s.ensureDir(c.dir(), elem, path.Join(c.path(), elem)); err != nil {
			c.reset()
			return nil, err
		}
		var st unix.Stat_t
		n, ok, err := c.dir().lookup(elem, &st)
		if err == nil && (!ok || n.typ != unix.DT_DIR) {
			err = unix.ENOTDIR
		}
		if err == nil {
			err = c.down(n)
		}
		if err != nil {
			c.reset()
			return nil, err
		}
	}
	return c, nil
}

// ensureDir makes one implicit directory in the layer, settled at once.
func (s *settler) ensureDir(d *mergedDir, name, full string) error {
	dirfd := d.parts[0].fd
	var st unix.Stat_t
	err := lstatat(dirfd, name, &st)
	anew := false
	switch {
	case err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR:
		return nil
	case err == nil && isWhiteout(&st):
		anew = true
	case err == nil:
		return unix.ENOTDIR
	case !errors.Is(err, unix.ENOENT):
		return err
	}
	s.tree.at(full).state = stateSettled
	return keepTimes(dirfd, func() error {
		if anew {
			if err := sys.Unlinkat(dirfd, name, 0); err != nil {
				return err
			}
		}
		if err := sys.Mkdirat(dirfd, name, 0o755); err != nil {
			return err
		}
		fd, err := openDirAt(dirfd, name)
		if err != nil {
			return err
		}
		defer func() { _ = unix.Close(fd) }()
		if anew {
			err = s.setOpaque(fd)
		}
		if err == nil {
			err = plainMeta(fd)
		}
		if err != nil || anew {
			return err
		}
		lower := &mergedDir{parts: d.parts[1:]}
		n, ok, err := lower.lookup(name, &st)
		if err != nil || !ok || n.typ != unix.DT_DIR {
			return err
		}
		return s.copyDirMeta(n.fd, dirfd, name)
	})
}

func (s *settler) setOpaque(fd int) error {
	return sys.Fsetxattr(fd, s.opaqueAttr, []byte("y"), 0)
}
