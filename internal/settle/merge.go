package settle

import (
	"errors"
	"path"

	"golang.org/x/sys/unix"
)

// merge moves the content of the held directory into the directory dst of the
// same layer, called to, and removes it. st and dt say what is implicit in each.
func (s *Settler[D, F, H]) merge(held string, dst H, to string, st, dt *names) error {
	s.forgetWalk()
	root := s.layer.Root()
	src, err := s.layer.Open(root, held)
	if err != nil {
		return err
	}
	defer s.layer.Close(src)
	if err := s.mergeDirs(&merger[H]{src: src, dst: dst, from: held, to: to, st: st, dt: dt}); err != nil {
		return err
	}
	return s.layer.KeepTimes(root, func() error { return s.layer.RemoveDir(root, held) })
}

// merger is a directory on its way into another one.
type merger[H any] struct {
	src, dst H
	from, to string // their names now
	st, dt   *names // what is implicit in them
}

func (s *Settler[D, F, H]) mergeDirs(m *merger[H]) error {
	opaque, err := s.layer.Opaque(m.src)
	if err == nil && opaque {
		if err = s.layer.SetOpaque(m.dst); err == nil {
			err = s.forgetKids(m.dst, m.dt)
		}
	}
	if err != nil {
		return err
	}
	list, err := s.layer.List(m.src)
	if err != nil {
		return err
	}
	return s.layer.KeepTimes(m.dst, func() error {
		for _, name := range list {
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
func (s *Settler[D, F, H]) mergeName(m *merger[H], name string) error {
	from, err := s.layer.Kind(m.src, name)
	if err != nil {
		return err
	}
	to, err := s.layer.Kind(m.dst, name)
	if err != nil {
		return err
	}
	switch {
	case to == Absent:
		return s.moveName(m, name)
	case from == Directory && to == Directory:
		return s.mergeSub(m, name)
	case from == Whiteout && to == Directory:
		if err := s.hide(m, name); err != nil {
			return err
		}
		return s.layer.Unmark(m.src, name)
	case to == Whiteout:
		if err := s.layer.Unmark(m.dst, name); err != nil {
			return err
		}
		if err := s.moveName(m, name); err != nil || from != Directory {
			return err
		}
		return s.hide(m, name)
	}
	return s.layer.Drop(m.src, name, path.Join(m.from, name))
}

// moveName moves a name that dst lacks, and what is known of it.
func (s *Settler[D, F, H]) moveName(m *merger[H], name string) error {
	err := s.layer.Rename(m.src, name, path.Join(m.from, name), m.dst, name, path.Join(m.to, name))
	if err != nil {
		return err
	}
	if known := m.st.kid(name); known != nil {
		m.dt.put(name, known)
		delete(m.st.kids, name)
	}
	return nil
}

// mergeSub merges a directory that both have. An entry of its own beats none.
func (s *Settler[D, F, H]) mergeSub(m *merger[H], name string) error {
	from, err := s.layer.Open(m.src, name)
	if err != nil {
		return err
	}
	defer s.layer.Close(from)
	to, err := s.layer.Open(m.dst, name)
	if err != nil {
		return err
	}
	defer s.layer.Close(to)
	sub := m.dt.at(name)
	// Implicit directories that the layer itself hides from those below are
	// not marked; they are known by their attributes.
	if m.st.kid(name).is() == explicit && !s.layer.Plain(from) && (sub.state != explicit || s.layer.Plain(to)) {
		if err := s.layer.Describe(to, from); err != nil {
			return err
		}
		sub.state = explicit
	}
	below := &merger[H]{
		src: from, dst: to, from: path.Join(m.from, name), to: path.Join(m.to, name),
		st: m.st.kid(name), dt: sub,
	}
	if err := s.mergeDirs(below); err != nil {
		return err
	}
	return s.layer.RemoveDir(m.src, name)
}

// hide makes the directory name in m.dst opaque.
func (s *Settler[D, F, H]) hide(m *merger[H], name string) error {
	if err := s.opaqueSub(m.dst, name); err != nil {
		return err
	}
	return s.forget(m.dst, name, m.dt)
}

func (s *Settler[D, F, H]) opaqueSub(dir H, name string) error {
	sub, err := s.layer.Open(dir, name)
	if err != nil {
		return err
	}
	defer s.layer.Close(sub)
	return s.layer.SetOpaque(sub)
}

// forget takes back what the layers below said about the implicit directory
// name and those in it, because the layer turns out to hide them.
func (s *Settler[D, F, H]) forget(dir H, name string, dt *names) error {
	t := dt.kid(name)
	if t == nil {
		return nil
	}
	sub, err := s.layer.Open(dir, name)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil // the tree of names may hold some that moved
	}
	if err != nil {
		return err
	}
	defer s.layer.Close(sub)
	if t.state != explicit {
		t.state = settled
		if err := s.layer.SetPlain(sub); err != nil {
			return err
		}
	}
	return s.forgetKids(sub, t)
}

func (s *Settler[D, F, H]) forgetKids(dir H, t *names) error {
	for name := range t.kids {
		if err := s.forget(dir, name, t); err != nil {
			return err
		}
	}
	return nil
}
