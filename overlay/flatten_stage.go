package overlay

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/rootfd"
	"github.com/byhand/byhand/internal/sys"
)

// Names inside a stage.
const (
	stageTree  = "tree"
	stageLinks = "links"
)

// stage is the directory in which a tree is made. It is beside its
// destination, or inside of it. Its name follows from the destination's, and
// a lock that ends with the process says whether somebody works in it, so
// that the next run finds and removes what an interrupted one left.
type stage struct {
	dst    string
	inside bool
	parent int    // the directory that holds the stage
	name   string // of the stage in parent
	fd     int    // the stage
	links  int    // names for files that get more than one
}

func newStage(dst string) (*stage, error) {
	if real, err := filepath.EvalSymlinks(dst); err == nil {
		dst = real
	}
	s := &stage{dst: dst, parent: -1, fd: -1, links: -1, name: stageName(dst)}
	exists, err := s.checkDst()
	if err != nil {
		return nil, err
	}
	if mounted, merr := mountRoot(dst); exists && merr == nil && mounted {
		err = s.open(dst, true)
	} else {
		err = s.open(filepath.Dir(dst), false)
		if exists && (errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EROFS)) {
			s.closeFDs()
			err = s.open(dst, true)
		}
	}
	if err != nil {
		s.closeFDs()
		var busy *BusyError
		if errors.As(err, &busy) {
			return nil, err
		}
		return nil, fmt.Errorf("write to %s: %w", dst, err)
	}
	return s, nil
}

// stageName is short whatever the name of dst, and its own for each.
func stageName(dst string) string {
	sum := sha256.Sum256([]byte(filepath.Base(dst)))
	return ".byhand-" + hex.EncodeToString(sum[:8])
}

// checkDst refuses a destination that holds something. A new ext4 file system
// has lost+found, and an interrupted run may have left a stage.
func (s *stage) checkDst() (exists bool, err error) {
	fd, err := sys.Open(s.dst, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("write to %s: %w", s.dst, err)
	}
	defer func() { _ = unix.Close(fd) }()
	mounted, _ := mountRoot(s.dst)
	err = readDir(fd, make([]byte, direntBuf), func(name string, typ uint8) error {
		if name == s.name || mounted && name == "lost+found" && typ == unix.DT_DIR {
			return nil
		}
		return &NotEmptyError{Dir: s.dst, Found: name}
	})
	return true, err
}

// open makes, or takes over, the stage in the directory parent.
func (s *stage) open(parent string, inside bool) (err error) {
	s.inside = inside
	s.parent, err = sys.Open(parent, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	for {
		if err := sys.Mkdirat(s.parent, s.name, 0o700); err != nil && !errors.Is(err, unix.EEXIST) {
			return err
		}
		ok, err := s.take()
		if err != nil {
			return err
		}
		if ok {
			break
		}
	}
	// An access control list that every new file inherits is not the image's.
	if err := sys.Fremovexattr(s.fd, "system.posix_acl_default"); err != nil && !errors.Is(err, unix.ENODATA) && !refusedXattr(err) {
		return err
	}
	for _, name := range []string{stageTree, stageLinks} {
		if err := rootfd.RemoveAllAt(s.fd, name); err != nil {
			return err
		}
	}
	if err := sys.Mkdirat(s.fd, stageLinks, 0o700); err != nil {
		return err
	}
	s.links, err = openDirAt(s.fd, stageLinks)
	return err
}

// take locks the stage. ok is false when its owner deleted it meanwhile.
func (s *stage) take() (ok bool, err error) {
	s.fd, err = openDirAt(s.parent, s.name)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := sys.Flock(s.fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			return false, &BusyError{Dir: s.dst}
		}
		return false, err
	}
	var mine, named unix.Stat_t
	if err := sys.Fstat(s.fd, &mine); err != nil {
		return false, err
	}
	// Whoever else can write the directory must not be able to put a stage
	// of theirs in our way.
	if int(mine.Uid) != unix.Geteuid() {
		return false, unix.EPERM
	}
	err = lstatat(s.parent, s.name, &named)
	if err == nil && named.Ino == mine.Ino && named.Dev == mine.Dev {
		return true, nil
	}
	_ = unix.Close(s.fd)
	s.fd = -1
	return false, nil
}

// publish gives the finished tree its name.
func (s *stage) publish() error {
	if s.inside {
		return s.publishInside()
	}
	err := renameDir(s.fd, stageTree, s.parent, filepath.Base(s.dst))
	switch {
	case errors.Is(err, unix.ENOTEMPTY), errors.Is(err, unix.EEXIST):
		return &NotEmptyError{Dir: s.dst, Found: "what was put there meanwhile"}
	case err != nil:
		return fmt.Errorf("rename tree to %s: %w", s.dst, err)
	}
	return nil
}

// publishInside moves the tree's names up into dst, which cannot be replaced,
// and takes back those moved when one fails.
func (s *stage) publishInside() error {
	tree, err := openDirAt(s.fd, stageTree)
	if err != nil {
		return fmt.Errorf("open tree for %s: %w", s.dst, err)
	}
	defer func() { _ = unix.Close(tree) }()
	var st unix.Stat_t
	if err := sys.Fstat(tree, &st); err != nil {
		return fmt.Errorf("open tree for %s: %w", s.dst, err)
	}
	var names []string
	err = readDir(tree, make([]byte, direntBuf), func(name string, _ uint8) error {
		names = append(names, name)
		return nil
	})
	for i := 0; err == nil && i < len(names); i++ {
		if err = renameDir(tree, names[i], s.parent, names[i]); err != nil {
			for _, back := range names[:i] {
				_ = renameDir(s.parent, back, tree, back)
			}
		}
	}
	if err != nil {
		return fmt.Errorf("move tree into %s: %w", s.dst, err)
	}
	// The times come last, after the stage itself is gone from dst.
	if err := s.remove(); err != nil {
		return err
	}
	err = copyMeta(tree, s.parent)
	if err == nil {
		err = rootfd.Futimens(s.parent, &[2]unix.Timespec{st.Mtim, st.Mtim})
	}
	if err != nil {
		return fmt.Errorf("set attributes of %s: %w", s.dst, err)
	}
	return nil
}

// renameDir renames, and makes a directory writable meanwhile where an
// ordinary user must have it so to give it another parent.
func renameDir(from int, name string, to int, newName string) error {
	err := sys.Renameat(from, name, to, newName)
	if !errors.Is(err, unix.EACCES) {
		return err
	}
	fd, oerr := openDirAt(from, name)
	if oerr != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	var st unix.Stat_t
	if sys.Fstat(fd, &st) != nil || sys.Fchmod(fd, st.Mode&0o7777|0o700) != nil {
		return err
	}
	err = sys.Renameat(from, name, to, newName)
	if cerr := sys.Fchmod(fd, st.Mode&0o7777); err == nil {
		err = cerr
	}
	return err
}

// remove deletes the stage with what is left in it.
func (s *stage) remove() error {
	if err := rootfd.RemoveAllAt(s.parent, s.name); err != nil {
		return fmt.Errorf("remove %s beside %s: %w", s.name, s.dst, err)
	}
	return nil
}

func (s *stage) close() error {
	err := s.remove()
	s.closeFDs()
	return err
}

func (s *stage) closeFDs() {
	for _, fd := range []*int{&s.links, &s.fd, &s.parent} {
		if *fd >= 0 {
			_ = unix.Close(*fd)
			*fd = -1
		}
	}
}

// removeTree deletes name in dirfd with all that is below it.
func removeTree(dirfd int, name string) error { return rootfd.RemoveAllAt(dirfd, name) }
