package overlay

import (
	"errors"
	"path"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/sys"
)

// merge moves the content of the held directory into the directory dst of the
// same layer, called to, and removes it. st and dt say what is implicit in each.
func (s *settler) merge(held string, dst int, to string, st, dt *implicit) error {
	s.forgetWalk()
	src, err := openDirAt(s.root, held)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(src) }()
	if err := s.mergeDirs(&merger{src: src, dst: dst, from: held, to: to, st: st, dt: dt}); err != nil {
		return err
	}
	return keepTimes(s.root, func() error {
		return sys.Unlinkat(s.root, held, unix.AT_REMOVEDIR)
	})
}

// merger is a directory on its way into another one.
type merger struct {
	src, dst int
	from, to string    // their names now
	st, dt   *implicit // what is implicit in them
}

func (s *settler) mergeDirs(m *merger) error {
	opaque, err := opaqueFD(m.src)
	if err == nil && opaque {
		if err = s.setOpaque(m.dst); err == nil {
			err = s.forgetKids(m.dst, m.dt)
		}
	}
	if err != nil {
		return err
	}
	var names []string
	err = readDir(m.src, s.buf, func(name string, _ uint8) error {
		names = append(names, name)
		return nil
	})
	if err != nil {
		return err
	}
	return keepTimes(m.dst, func() error {
		for _, name := range names {
			if err := s.mergeName(m, name); err != nil {
				return err
			}
		}
		return nil
	})
}

// mergeName moves one name. Where dst has it too, a whiteout only hides what
// is below, directories become one, and anything else of dst stays, because
// it was named there itself.
func (s *settler) mergeName(m *merger, name string) error {
	src, dst := m.src, m.dst
	var from, to unix.Stat_t
	if err := lstatat(src, name, &from); err != nil {
		return err
	}
	err := lstatat(dst, name, &to)
	if errors.Is(err, unix.ENOENT) {
		return s.moveName(m, name)
	}
	if err != nil {
		return err
	}
	fromDir := from.Mode&unix.S_IFMT == unix.S_IFDIR
	toDir := to.Mode&unix.S_IFMT == unix.S_IFDIR
	switch {
	case fromDir && toDir:
		return s.mergeSub(m, name)
	case isWhiteout(&from) && toDir:
		if err := s.opaqueSub(dst, name); err != nil {
			return err
		}
		if err := s.forget(dst, name, m.dt); err != nil {
			return err
		}
		return sys.Unlinkat(src, name, 0)
	case isWhiteout(&to) && fromDir:
		if err := sys.Unlinkat(dst, name, 0); err != nil {
			return err
		}
		if err := s.moveName(m, name); err != nil {
			return err
		}
		if err := s.opaqueSub(dst, name); err != nil {
			return err
		}
		return s.forget(dst, name, m.dt)
	case isWhiteout(&to):
		return s.moveName(m, name)
	}
	if err := s.record.Deleting(src, name, path.Join(m.from, name)); err != nil {
		return err
	}
	return s.drop(src, name, fromDir)
}

// moveName moves a name that dst lacks, and what is known of it.
func (s *settler) moveName(m *merger, name string) error {
	if err := sys.Renameat(m.src, name, m.dst, name); err != nil {
		return err
	}
	if err := s.record.Moved(path.Join(m.from, name), path.Join(m.to, name)); err != nil {
		return err
	}
	st, dt := m.st, m.dt
	if st == nil || st.kids[name] == nil {
		return nil
	}
	if dt.kids == nil {
		dt.kids = make(map[string]*implicit)
	}
	dt.kids[name] = st.kids[name]
	delete(st.kids, name)
	return nil
}

// mergeSub merges a directory that both have. An entry of its own beats none.
func (s *settler) mergeSub(m *merger, name string) error {
	from, err := openDirAt(m.src, name)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(from) }()
	to, err := openDirAt(m.dst, name)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(to) }()
	sub := m.dt.at(name)
	var kids *implicit
	if m.st != nil {
		kids = m.st.kids[name]
	}
	// Implicit directories that the layer itself hides from those below are
	// not marked; they are known by their attributes.
	if m.st.kid(name) == stateExplicit && !isPlain(from) && (sub.state != stateExplicit || isPlain(to)) {
		if err := removeXattrs(to); err != nil { // those of the layers below
			return err
		}
		if err := copyMeta(from, to); err != nil {
			return err
		}
		sub.state = stateExplicit
	}
	below := &merger{src: from, dst: to, from: path.Join(m.from, name), to: path.Join(m.to, name), st: kids, dt: sub}
	if err := s.mergeDirs(below); err != nil {
		return err
	}
	return sys.Unlinkat(m.src, name, unix.AT_REMOVEDIR)
}

func (s *settler) opaqueSub(dirfd int, name string) error {
	fd, err := openDirAt(dirfd, name)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	return s.setOpaque(fd)
}

// forget takes back what the layers below said about the implicit directory
// name and those in it, because the layer turns out to hide them.
func (s *settler) forget(dirfd int, name string, dt *implicit) error {
	t := dt.kids[name]
	if t == nil {
		return nil
	}
	fd, err := openDirAt(dirfd, name)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil // the tree of names may hold some that moved
	}
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	if t.state != stateExplicit {
		t.state = stateSettled
		if err := removeXattrs(fd); err != nil {
			return err
		}
		if err := plainMeta(fd); err != nil {
			return err
		}
	}
	return s.forgetKids(fd, t)
}

func (s *settler) forgetKids(dirfd int, t *implicit) error {
	for name := range t.kids {
		if err := s.forget(dirfd, name, t); err != nil {
			return err
		}
	}
	return nil
}

// drop deletes what lost against another entry. A directory loses only
// against a file of its own layer; its own content goes with it.
func (s *settler) drop(src int, name string, isDir bool) error {
	if !isDir {
		return sys.Unlinkat(src, name, 0)
	}
	return removeTree(src, name)
}
