package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/rootfd"
	"github.com/byhand/byhand/internal/sys"
)

// scratch is a directory for one run. Its lock dies with the process, and
// the next run removes what a process left that was killed.
type scratch struct {
	dir    string
	parent *os.File
	lock   *os.File
}

// scratchPrefix begins the names of scratch directories; what has another
// name in the same place is somebody else's.
const scratchPrefix = "run-"

// runsDir is where a store has the scratch directories of runs.
const runsDir = "run"

const scratchFlags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC

// newScratch makes a directory below parent, and sweeps parent.
func newScratch(parent string) (_ *scratch, err error) {
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return nil, fmt.Errorf("make run directory: %w", err)
	}
	p, err := os.OpenFile(parent, scratchFlags, 0)
	if err != nil {
		return nil, fmt.Errorf("make run directory: %w", err)
	}
	sweepScratch(p)
	const attempts = 100 // a sweep may take the new directory before it is locked
	for range attempts {
		dir, err := os.MkdirTemp(parent, scratchPrefix)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("make run directory: %w", err), p.Close())
		}
		if lock := lockDir(p, filepath.Base(dir)); lock != nil {
			return &scratch{dir: dir, parent: p, lock: lock}, nil
		}
	}
	return nil, errors.Join(fmt.Errorf("make run directory in %s: it is swept all the time", parent), p.Close())
}

// sweepRuns removes what killed runs left in a store, whichever command opens
// it next.
func sweepRuns(store string) {
	p, err := os.OpenFile(filepath.Join(store, runsDir), scratchFlags, 0)
	if err != nil {
		return // there was no run
	}
	defer func() { _ = p.Close() }()
	sweepScratch(p)
}

// lockDir locks the directory name in parent, or returns nil where it is gone
// or somebody's.
func lockDir(parent *os.File, name string) *os.File {
	fd, err := rootfd.Retry(func() (int, error) {
		return sys.Openat(int(parent.Fd()), name, scratchFlags, 0)
	})
	if err != nil {
		return nil
	}
	f := os.NewFile(uintptr(fd), name)
	var st unix.Stat_t
	if sys.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) == nil && sys.Fstat(fd, &st) == nil &&
		st.Nlink > 0 && int(st.Uid) == os.Geteuid() {
		return f
	}
	_ = f.Close()
	return nil
}

// sweepScratch removes what runs that were killed have left. It is a
// courtesy: what cannot be removed now stays for the next time.
func sweepScratch(parent *os.File) {
	names, err := parent.Readdirnames(-1)
	if err != nil {
		return
	}
	for _, n := range names {
		if !isScratch(n) {
			continue
		}
		lock := lockDir(parent, n)
		if lock == nil {
			continue
		}
		_ = rootfd.RemoveAllAt(int(parent.Fd()), n)
		_ = lock.Close()
	}
}

// isScratch recognizes what os.MkdirTemp makes of scratchPrefix.
func isScratch(name string) bool {
	number, ok := strings.CutPrefix(name, scratchPrefix)
	return ok && number != "" && strings.Trim(number, "0123456789") == ""
}

func (s *scratch) remove() error {
	err := rootfd.RemoveAllAt(int(s.parent.Fd()), filepath.Base(s.dir))
	if err != nil {
		err = fmt.Errorf("remove run directory: %w", err)
	}
	return errors.Join(err, s.lock.Close(), s.parent.Close())
}
