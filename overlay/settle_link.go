package overlay

import (
	"errors"
	"path"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/settle"
	"github.com/byhand/byhand/internal/sys"
)

type settler = settle.Settler[*mergedDir, found, int]

// Link makes the file f another name of itself. A file system that cannot link
// it (another one below, too many links, foreign files that the kernel
// protects) gets a copy, which takes the file's place in the tree too, so that
// both are one file.
func (l *settling) Link(s *settler, f found, from string, dirfd int, base, full string) error {
	err := sys.Linkat(f.fd, f.name, dirfd, base, 0)
	switch {
	case errors.Is(err, unix.EXDEV), errors.Is(err, unix.EMLINK), errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
	default:
		return err
	}
	id := fileID{dev: f.st.Dev, ino: f.st.Ino}
	if first, ok := l.copied[id]; ok {
		if err := l.record.Copied(full); err != nil {
			return err
		}
		return linkName(s, first, dirfd, base)
	}
	if err := copyUp(f.node, dirfd, base); err != nil {
		return err
	}
	if err := l.record.Copied(full); err != nil {
		return err
	}
	l.copied[id] = full
	return l.raise(s, f, from, dirfd, base)
}

// raise makes the copy at base in dirfd the file at from as well, if f still
// shows there.
func (l *settling) raise(s *settler, f found, from string, dirfd int, base string) error {
	seen, ok, done := s.Shows(from)
	defer done()
	if !ok || seen.layer != f.layer || seen.st.Dev != f.st.Dev || seen.st.Ino != f.st.Ino {
		return nil // the layer hides the file, or has its own there
	}
	dst, release, err := s.Ensure(path.Dir(from))
	if err != nil {
		return err
	}
	defer release()
	if err := l.record.Copied(from); err != nil {
		return err
	}
	return keepTimes(dst, func() error { return sys.Linkat(dirfd, base, dst, f.name, 0) })
}

// linkName links base in dirfd to the layer's file of the name first.
func linkName(s *settler, first string, dirfd int, base string) error {
	dir, release, err := s.Ensure(path.Dir(first))
	if err != nil {
		return err
	}
	defer release()
	return sys.Linkat(dir, path.Base(first), dirfd, base, 0)
}
