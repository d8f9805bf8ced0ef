package ociruntime

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/userns"
)

// record is the file that outlives a run whose supervisor was killed. The
// supervisor holds a lock (flock) on it, which ends with its process and with
// that every other of the run. The content names what the kernel does
// not take away by itself.
type record struct {
	file *os.File // locked
	dir  *os.File // the state directory, below the tmpfs that hides it
	name string
}

// leftovers is a record's content.
type leftovers struct {
	ID      string
	Cgroups []string
}

// newRecord writes the record of a run.
func newRecord(r request) (*record, error) {
	rec := &record{name: r.ID}
	for {
		if err := os.MkdirAll(r.StateDir, 0o700); err != nil {
			return nil, fmt.Errorf("create state directory: %w", err)
		}
		err := rec.create(r.StateDir)
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) { // the last run to end removes the directory
			return nil, fmt.Errorf("create run record %s: %w", filepath.Join(r.StateDir, r.ID), err)
		}
	}
	if err := json.NewEncoder(rec.file).Encode(leftovers{ID: r.ID, Cgroups: r.Cgroups}); err != nil {
		rec.close(nil)
		return nil, fmt.Errorf("write run record %s: %w", filepath.Join(r.StateDir, r.ID), err)
	}
	return rec, nil
}

// create opens the state directory and the record in it.
func (r *record) create(dir string) error {
	var err error
	if r.dir, err = os.Open(dir); err != nil {
		return err
	}
	if r.file, err = createLocked(r.dir, r.name); err != nil {
		_ = r.dir.Close()
	}
	return err
}

// createLocked creates name in dir and locks it. A sweep of another process may
// take the file between the two; then it is made again.
func createLocked(dir *os.File, name string) (*os.File, error) {
	for {
		fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
		if errors.Is(err, unix.EEXIST) {
			return nil, errors.New("a container of this name is running")
		}
		if err != nil {
			return nil, err
		}
		f := os.NewFile(uintptr(fd), name)
		if err := retry(func() error { return unix.Flock(fd, unix.LOCK_EX) }); err != nil {
			_ = f.Close()
			return nil, err
		}
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err == nil && st.Nlink > 0 {
			return f, nil
		}
		_ = f.Close()
	}
}

// close ends the record of a run that is over. What left says could not be
// removed is for the next run's sweep, which finds it by the record.
func (r *record) close(left error) {
	if left == nil {
		_ = unix.Unlinkat(int(r.dir.Fd()), r.name, 0) // else the next run sweeps it
	}
	_ = r.file.Close()
	_ = unix.Rmdir(r.dir.Name()) // unless it has other runs' records
	_ = r.dir.Close()
}

// Sweep does what the next [Run] would do first: it cleans up after runs whose
// supervisors were killed.
func Sweep() {
	if status, err := userns.Inspect(); err == nil {
		sweep(defaultStateDir(status.OuterUID))
	}
}

// sweep cleans up after runs whose supervisors were killed. What cannot be
// removed stays for the next one; a sweep never fails a run. What
// another user may have written is not believed.
func sweep(path string) {
	dir, err := os.Open(path)
	if err != nil {
		return
	}
	defer func() { _ = dir.Close() }()
	var st unix.Stat_t
	if unix.Fstat(int(dir.Fd()), &st) != nil || int(st.Uid) != os.Geteuid() || st.Mode&0o022 != 0 {
		return
	}
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return
	}
	for _, name := range names {
		if !strings.HasSuffix(name, ".d") {
			sweepOne(dir, name)
		}
	}
}

func sweepOne(dir *os.File, name string) {
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return
	}
	f := os.NewFile(uintptr(fd), name)
	defer func() { _ = f.Close() }()
	if unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) != nil {
		return // running
	}
	var left leftovers
	text, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err != nil {
		return
	}
	// An empty or cut record is one whose run had not begun.
	if json.Unmarshal(text, &left) == nil && left.ID == name {
		if removeCgroups(left.Cgroups) != nil {
			return
		}
		removeState(filepath.Join(dir.Name(), name+".d"))
	}
	_ = unix.Unlinkat(int(dir.Fd()), name, 0)
}

// stateDir returns the directory of records, which nobody else may write.
func stateDir(given string, s userns.Status) (string, error) {
	dir := given
	if dir == "" {
		dir = defaultStateDir(s.OuterUID)
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("find state directory: %w", err)
	}
	// A Unix socket in it has a name of at most 107 bytes, unix(7).
	if longest := 107 - len("/console"); len(dir) > longest {
		return "", fmt.Errorf("use state directory %s: its name is longer than %d bytes", dir, longest)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("create state directory: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return "", fmt.Errorf("use state directory %s: %w", dir, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || int(st.Uid) != os.Geteuid() || st.Mode&0o022 != 0 {
		return "", fmt.Errorf("use state directory %s: it is not a directory that only this user can write", dir)
	}
	return dir, nil
}

// defaultStateDir is below /run for root of the machine and for users with a
// session, else in the temporary directory under the user's true uid.
func defaultStateDir(uid uint32) string {
	if uid == 0 {
		return "/run/byhand"
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		var st unix.Stat_t
		if unix.Stat(dir, &st) == nil && int(st.Uid) == os.Geteuid() && unix.Access(dir, unix.W_OK) == nil {
			return filepath.Join(dir, "byhand")
		}
	}
	return filepath.Join(os.TempDir(), "byhand-"+strconv.Itoa(int(uid)))
}
