package bundle

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/rootfd"
	"github.com/byhand/byhand/internal/sys"
)

// RemoveError reports a directory that Remove does not touch.
type RemoveError struct {
	Path   string
	Reason string // what is in the way
	Remedy string
	Err    error // may be nil
}

func (e *RemoveError) Error() string {
	return fmt.Sprintf("remove bundle %s: %s; %s", e.Path, e.Reason, e.Remedy)
}

func (e *RemoveError) Unwrap() error { return e.Err }

// Made says whether dir holds a bundle that was made, or begun, with
// [WriteImage].
func Made(dir string) bool {
	state, _ := Inspect(dir)
	return state == StateInterrupted || state == StateComplete && ownImage(dir)
}

// Remove deletes the bundle in dir, whole or interrupted, with all that its
// container wrote. It refuses, with a [*RemoveError] and before it has deleted
// anything, what is no such bundle, has something of somebody else's in it,
// is in use by a run, or has anything mounted in it. No link is followed and
// no mount crossed. config.json goes first: what is left of a Remove that was
// interrupted is no bundle for a runtime, and can be removed again.
func Remove(dir string) error {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("remove bundle %s: %w", dir, err)
	}
	parent, err := sys.Open(filepath.Dir(abs), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("remove bundle %s: %w", dir, err)
	}
	defer func() { _ = unix.Close(parent) }()
	fd, err := openDir(parent, filepath.Base(abs))
	switch {
	case errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENOTDIR):
		return &RemoveError{Path: dir, Reason: "it is no directory", Remedy: "name the bundle's directory itself"}
	case err != nil:
		return fmt.Errorf("remove bundle %s: %w", dir, err)
	}
	f := os.NewFile(uintptr(fd), abs)
	defer func() { _ = f.Close() }()
	if err := removable(f, dir); err != nil {
		return err
	}
	if err := Clear(f); err != nil {
		return err
	}
	err = sys.Unlinkat(parent, filepath.Base(abs), unix.AT_REMOVEDIR)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove bundle %s: remove the empty directory: %w", dir, err)
	}
	return nil
}

// removable locks the bundle and looks for what forbids to remove it.
func removable(f *os.File, dir string) error {
	if err := sys.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return &RemoveError{Path: dir, Reason: "another byhand is using it", Remedy: "wait for it to end", Err: err}
	}
	// Not by its name, which may mean another directory by now.
	if same := fmt.Sprintf("/proc/self/fd/%d", f.Fd()); !ownImage(same) && !Made(same) {
		return &RemoveError{
			Path: dir, Reason: "expected the image.json of a bundle that byhand made, found none",
			Remedy: "what something else made is not removed", Err: fs.ErrNotExist,
		}
	}
	names, err := f.ReadDir(-1)
	if err != nil {
		return fmt.Errorf("remove bundle %s: %w", dir, err)
	}
	for _, n := range names {
		if !bundleName(n) && !ownFile(n) {
			return &RemoveError{
				Path: dir, Reason: fmt.Sprintf("%q in it is not of byhand's making", n.Name()),
				Remedy: "move it away first",
			}
		}
	}
	return unmounted(f, dir)
}

// ownFile says whether the entry is one that a whole bundle has beside what
// bundleName knows.
func ownFile(n fs.DirEntry) bool {
	name := n.Name()
	return n.Type().IsRegular() && (name == configFile || name == imageFile || strings.HasPrefix(name, "."+imageFile+"."))
}

// unmounted refuses a bundle with a mount in it: deleting stops at a mount, and
// then half of the bundle would be gone.
func unmounted(f *os.File, dir string) error {
	real, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	if err != nil {
		return fmt.Errorf("remove bundle %s: %w", dir, err)
	}
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(real))
	if err != nil {
		return fmt.Errorf("remove bundle %s: find mounts: %w", dir, err)
	}
	for _, m := range mounts {
		switch rel, _ := filepath.Rel(real, m.Mountpoint); rel {
		case ".": // a file system of the bundle's own: emptied, not removed
		case rootfsDir:
			return &RemoveError{Path: dir, Reason: "its rootfs is mounted", Remedy: "unmount it with byhand overlay umount " + dir}
		default:
			return &RemoveError{Path: dir, Reason: "something is mounted on " + m.Mountpoint, Remedy: "unmount it first"}
		}
	}
	return nil
}

// Clear empties the directory of a bundle: config.json first, so that no
// runtime takes what is left for whole, and image.json last, so that a Clear
// that was interrupted can be done again. A mount in it is an error.
func Clear(dir *os.File) error {
	if _, err := dir.Seek(0, 0); err != nil {
		return fmt.Errorf("clear bundle %s: %w", dir.Name(), err)
	}
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return fmt.Errorf("clear bundle %s: %w", dir.Name(), err)
	}
	rank := map[string]int{configFile: -1, imageFile: 1}
	slices.SortFunc(names, func(a, b string) int { return rank[a] - rank[b] })
	for _, name := range names {
		if err := rootfd.RemoveAllAt(int(dir.Fd()), name); err != nil {
			return fmt.Errorf("clear bundle %s: %w", dir.Name(), err)
		}
	}
	return nil
}
