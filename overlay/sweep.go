package overlay

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/rootfd"
	"github.com/byhand/byhand/internal/sys"
)

// keepPart is how long an unfinished blob, or a parked layer, waits to be
// resumed.
const keepPart = 7 * 24 * time.Hour

// sweep removes from staging what dead owners left. Names that this package
// does not make are left alone. all removes unfinished blobs and parked
// layers too that could still be of use. self is the caller's own ID.
func (s *Store) sweep(self string, all bool) error {
	entries, err := os.ReadDir(s.layout.staging())
	if err != nil {
		return err
	}
	dead := map[string]bool{}
	var errs []error
	for _, e := range entries {
		kind, id := classify(e.Name())
		switch kind {
		case stagingOwner, stagingWork:
			if id != self {
				dead[id] = true // until its lock says otherwise
			}
		case stagingLock:
			errs = append(errs, sweepLock(filepath.Join(s.layout.staging(), e.Name())))
		case stagingPart:
			if all || id != s.boot || isOld(e) {
				errs = append(errs, sweepLock(filepath.Join(s.layout.staging(), e.Name())))
			}
		case stagingParked:
			if all || id != s.boot || isOld(e) {
				errs = append(errs, s.sweepParked(e.Name()))
			}
		}
	}
	for id := range dead {
		errs = append(errs, s.sweepOwner(id))
	}
	return errors.Join(errs...)
}

func isOld(e fs.DirEntry) bool {
	info, err := e.Info()
	return err == nil && time.Since(info.ModTime()) > keepPart
}

// sweepLock removes a lock's file, or an unfinished blob, that nobody holds.
func sweepLock(path string) error {
	lock, err := tryLock(path)
	if lock != nil {
		lock.release()
	}
	return err
}

// sweepParked removes a parked layer that nobody is making.
func (s *Store) sweepParked(name string) error {
	chain, _, _ := strings.Cut(name, ".")
	c, _ := chainOfName(chain)
	lock, err := tryLock(s.layout.chainLock(c))
	if lock == nil {
		return err
	}
	defer lock.release()
	return s.removeStaged(name)
}

// sweepOwner removes what the owner id left, if it is dead. A work name
// without an owner's file is dead too, because owners make that file first
// and IDs do not come back.
func (s *Store) sweepOwner(id string) error {
	lock, err := tryLock(s.layout.owner(id))
	if lock == nil {
		return err
	}
	if err := sweepWork(s.layout, map[string]bool{id: true}); err != nil {
		lock.abandon()
		return err
	}
	lock.release()
	return nil
}

// sweepWork removes everything that owners have in work. The caller holds
// their locks.
func sweepWork(l layout, ids map[string]bool) error {
	staging, err := os.Open(l.staging())
	if err != nil {
		return err
	}
	defer func() { _ = staging.Close() }()
	names, err := staging.Readdirnames(-1)
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		if kind, id := classify(name); kind == stagingWork && ids[id] {
			errs = append(errs, removeIn(staging, name))
		}
	}
	return errors.Join(errs...)
}

// removeIn deletes one entry of an open directory with all below it.
func removeIn(dir *os.File, name string) error {
	if err := rootfd.RemoveAllAt(int(dir.Fd()), name); err != nil {
		return fmt.Errorf("remove %s: %w", filepath.Join(dir.Name(), name), err)
	}
	return nil
}

// removeStaged deletes one entry of staging.
func (s *Store) removeStaged(name string) error {
	staging, err := os.Open(s.layout.staging())
	if err != nil {
		return err
	}
	defer func() { _ = staging.Close() }()
	return removeIn(staging, name)
}

// retire takes a layer's directory out of the store by renaming it into
// staging, where it dies with this process at the latest, and deletes it.
func (s *Store) retire(path string) error {
	name, err := s.rename(path)
	if err != nil {
		return err
	}
	return s.removeStaged(name)
}

// rename moves a directory of the store into staging and returns its name
// there. A directory with a mount in it is refused and stays.
func (s *Store) rename(path string) (string, error) {
	if err := checkMounts(path); err != nil {
		return "", err
	}
	o, err := s.own()
	if err != nil {
		return "", err
	}
	work := o.work(s.layout)
	err = renameNew(path, work)
	if errors.Is(err, unix.EBUSY) {
		return "", &InUseError{What: path, Users: []string{"a mount on it"}}
	}
	return filepath.Base(work), err
}

// checkMounts refuses a directory on or in which something is mounted.
func checkMounts(path string) error {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	mounts, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		return m.Mountpoint != real && !strings.HasPrefix(m.Mountpoint, real+"/"), false
	})
	if err != nil {
		return fmt.Errorf("read mounts: %w", err)
	}
	var users []string
	for _, m := range mounts {
		users = append(users, "the mount on "+m.Mountpoint)
	}
	if len(users) > 0 {
		return &InUseError{What: path, Users: users}
	}
	return nil
}

// renameNew renames without replacing anything.
func renameNew(from, to string) error {
	err := sys.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS):
		// A file system without the flag, such as NFS. The lock on the
		// name keeps others away, and a directory never replaces one
		// that is not empty.
		return renamePlain(from, to)
	}
	return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
}

func renamePlain(from, to string) error {
	if _, err := os.Lstat(to); err == nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: unix.EEXIST}
	}
	return os.Rename(from, to)
}
