package overlay

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/shell"
	"github.com/byhand/byhand/internal/sys"
)

// bundleImage is the file by which a bundle is known again wherever it was
// moved: bundles/KEY.ref is a hard link of it. While the file has more names
// than the store and the bundles that are where they were can account for,
// there is a bundle elsewhere. A bundle on another file system has no such
// link, and counts only where it was made.
const bundleImage = "image.json"

// bundleUse is a record of a bundle, and what became of that.
type bundleUse struct {
	useFile
	key   string
	there bool // where it was, and using the store
	own   bool // what is there has the image.json that the store knows
	moved bool // somewhere else
	err   error
}

// lookPatience is how long a bundle's file system may take to answer.
const lookPatience = 10 * time.Second

var errSilent = errors.New("its file system does not answer; its layers are kept")

// lookAt finds out whether b is there. A bundle may be where an ordinary user can
// mount a file system that never answers, or on a server that is gone. After
// patience b counts as there, lookAt returns false, and the look goes on for
// nobody.
func (s *Store) lookAt(b *bundleUse, mounts []stacked, patience time.Duration) bool {
	found := make(chan bundleUse, 1)
	go func(b bundleUse) {
		b.there, b.err = s.usesStore(b.useFile, mounts)
		b.own = s.refsTo(b.key, b.Dir)
		found <- b
	}(*b)
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case *b = <-found:
		return true
	case <-timer.C:
		b.there = true
		return false
	}
}

// userOf is how the user of a layer is named.
func (s *Store) userOf(u bundleUse) string {
	if u.there {
		return bundleUser(u.Dir)
	}
	return fmt.Sprintf("the bundle that was %s and has been moved (find / -samefile %s tells where)",
		u.Dir, shell.Quote(s.layout.bundleRef(u.key)))
}

// linkBundle keeps a link of the bundle's image.json. Not every file system and
// not every bundle can have one.
func (s *Store) linkBundle(key, dir string) error {
	ref := s.layout.bundleRef(key)
	if s.refsTo(key, dir) {
		return nil
	}
	err := os.Remove(ref)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		err = sys.Linkat(unix.AT_FDCWD, filepath.Join(dir, bundleImage), unix.AT_FDCWD, ref, 0)
	}
	for _, cannot := range []error{unix.ENOENT, unix.EXDEV, unix.EPERM, unix.EMLINK, unix.EOPNOTSUPP, unix.ENOSYS} {
		if errors.Is(err, cannot) {
			return nil
		}
	}
	return err
}

// refsTo says whether the record has a link of the image.json that is in dir.
func (s *Store) refsTo(key, dir string) bool {
	ref, rerr := lstatNames(s.layout.bundleRef(key))
	file, ferr := lstatNames(filepath.Join(dir, bundleImage))
	return rerr == nil && ferr == nil && ref.inode == file.inode
}

// setAside gives the record of a bundle that was moved away another key, if
// dir holds a new one now.
func (s *Store) setAside(key, dir string) error {
	ref, err := lstatNames(s.layout.bundleRef(key))
	if err != nil || ref.names == 1 || s.refsTo(key, dir) {
		return nil //nolint:nilerr // there is none, or it is of no use
	}
	other := digest.FromString(fmt.Sprintf("%s %d %d", key, ref.inode.dev, ref.inode.ino)).Encoded()
	err = os.Rename(s.layout.bundle(key), s.layout.bundle(other))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = os.Rename(s.layout.bundleRef(key), s.layout.bundleRef(other))
	}
	return err
}

// named is a file and how many names it has.
type named struct {
	inode inode
	names uint64
}

func lstatNames(path string) (named, error) {
	var st unix.Stat_t
	if err := sys.Lstat(path, &st); err != nil {
		return named{}, err
	}
	return named{inode{st.Dev, st.Ino}, uint64(st.Nlink)}, nil //nolint:unconvert // Nlink is 32 bits wide on arm64
}

// findMoved says of bundles that are not where they were whether they are
// somewhere else.
func (s *Store) findMoved(all []bundleUse) {
	known := map[inode]uint64{} // names that are accounted for
	refs := make([]named, len(all))
	for i, u := range all {
		ref, err := lstatNames(s.layout.bundleRef(u.key))
		if err != nil {
			continue
		}
		refs[i] = ref
		known[ref.inode]++
		if u.own { // used, or one that was begun and never finished
			known[ref.inode]++
		}
	}
	for i := range all {
		all[i].moved = !all[i].there && refs[i].names > known[refs[i].inode]
	}
}

// sweepRefs removes links whose record is gone.
func (s *Store) sweepRefs(entries []fs.DirEntry) {
	for _, e := range entries {
		key, ok := strings.CutSuffix(e.Name(), suffixRef)
		if !ok || digest.NewDigestFromEncoded(digest.Canonical, key).Validate() != nil {
			continue
		}
		if _, err := os.Lstat(s.layout.bundle(key)); errors.Is(err, fs.ErrNotExist) {
			_ = os.Remove(s.layout.bundleRef(key)) // the next removal tries again
		}
	}
}
