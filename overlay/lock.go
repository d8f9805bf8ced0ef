package overlay

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/sys"
)

// Waiting for a lock is polling, because flock(2) cannot be interrupted by a
// context. A step is short beside the work that the lock guards and long
// beside the system call (about a microsecond).
const (
	pollFirst = 2 * time.Millisecond
	pollMost  = 50 * time.Millisecond
)

// fileLock is an exclusive flock(2) on a file of staging. The kernel drops it
// with the process, however that ends.
type fileLock struct {
	file *os.File
	path string
}

// tryLock takes the lock at path, making the file where it is missing. It
// returns nil and no error when somebody else holds it.
func tryLock(path string) (*fileLock, error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, fmt.Errorf("open lock: %w", err)
		}
		held, err := flockNow(f, unix.LOCK_EX)
		if err != nil || !held {
			_ = f.Close()
			return nil, err
		}
		// The former owner may have unlinked or renamed the file between the
		// open and the lock; then this lock guards nothing.
		same, err := isFileAt(f, path)
		if err == nil && same {
			return &fileLock{file: f, path: path}, nil
		}
		_ = f.Close()
		if err != nil {
			return nil, err
		}
	}
}

// waitLock takes the lock at path, waiting for it as long as ctx lives.
func waitLock(ctx context.Context, path string) (*fileLock, error) {
	var l *fileLock
	err := poll(ctx, func() (bool, error) {
		var err error
		l, err = tryLock(path)
		return l != nil, err
	})
	return l, err
}

// release removes the lock's file and drops the lock.
func (l *fileLock) release() {
	// Unlink first: whoever opened the file before finds it gone and retries.
	_ = os.Remove(l.path)
	_ = l.file.Close()
}

// abandon drops the lock and leaves its file, for files that are more than
// a lock.
func (l *fileLock) abandon() { _ = l.file.Close() }

// lockDir locks the directory at path, exclusively or shared, waiting as long
// as ctx lives. Closing the returned file drops the lock. A directory needs no
// lock file, and can be locked by a reader of a read-only store too.
func lockDir(ctx context.Context, path string, exclusive bool) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	how := unix.LOCK_SH
	if exclusive {
		how = unix.LOCK_EX
	}
	if err := poll(ctx, func() (bool, error) { return flockNow(f, how) }); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// poll calls try until it reports true, fails, or ctx ends.
func poll(ctx context.Context, try func() (bool, error)) error {
	wait := pollFirst
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timer.C:
		}
		ok, err := try()
		if ok || err != nil {
			return err
		}
		timer.Reset(wait)
		wait = min(2*wait, pollMost)
	}
}

// flockNow tries to lock f without waiting.
func flockNow(f *os.File, how int) (bool, error) {
	err := sys.Flock(int(f.Fd()), how|unix.LOCK_NB)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, unix.EWOULDBLOCK):
		return false, nil
	}
	return false, &fs.PathError{Op: "lock", Path: f.Name(), Err: err}
}

// isFileAt reports whether path still names the open file f.
func isFileAt(f *os.File, path string) (bool, error) {
	open, err := f.Stat()
	if err != nil {
		return false, fmt.Errorf("check lock: %w", err)
	}
	named, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("check lock: %w", err)
	}
	return os.SameFile(open, named), nil
}
