package overlay

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/sys"
)

// maxStack is the kernel's OVL_MAX_STACK: more lower layers are refused by
// overlayfs itself.
const maxStack = 500

// MountOptions says which layers are stacked where.
type MountOptions struct {
	// Lower holds the lower dirs, base first. A symbolic link stands for the
	// directory it points to.
	Lower []string
	// Upper and Work are overlayfs's upperdir and workdir; both must be on
	// one file system. ReadOnly leaves them unused.
	Upper, Work string
	// Target is the directory that the merged tree appears on.
	Target string
	// UserXattr mounts with overlayfs markers in user.overlay.*, as layers
	// made without privilege have them.
	UserXattr bool
	// ReadOnly mounts the layers alone, without an upper dir.
	ReadOnly bool
}

// Mount stacks the layers of o on o.Target. It uses fsconfig(2) with one
// lowerdir+ per layer (Linux 6.8), and where that is not to be had mount(2),
// with names relative to a common directory so that hundreds of layers fit
// into the one page that mount(2) takes.
//
// What is mounted on o.Target already is left alone, because overlayfs must not
// have one upper dir twice: nothing is done if it is the same overlay, and
// anything else is an EBUSY.
//
// A lower dir that is not there is a LowerDirError; everything else that
// goes wrong is a MountError.
func Mount(o MountOptions) error {
	o, err := absolute(o)
	if err != nil {
		return err
	}
	if done, err := mountedAlready(o); done || err != nil {
		return err
	}
	if err := check(o); err != nil {
		return err
	}
	err = mountNew(o)
	if errors.Is(err, errNoLowerdirPlus) {
		err = mountClassic(o)
	}
	return err
}

// Obstacle says why no overlay of so many layers can have its upper dir in dir, or
// nothing.
func Obstacle(dir string, layers int) (string, error) {
	switch {
	case layers == 0:
		return "the image has no layer that an overlay could be made of", nil
	case layers > maxStack:
		return fmt.Sprintf("overlayfs stacks at most %d layers, the image has %d", maxStack, layers), nil
	}
	on, err := onOverlay(dir)
	if on {
		return dir + " is on an overlay itself, as all of a container is but its volumes, and an overlay's upper dir cannot be", nil
	}
	return "", err
}

// onOverlay says whether dir is on an overlay file system, on which no upper
// dir and no whiteout can be.
func onOverlay(dir string) (bool, error) {
	var st unix.Statfs_t
	if err := sys.Statfs(dir, &st); err != nil {
		return false, fmt.Errorf("find file system of %s: %w", dir, err)
	}
	return st.Type == unix.OVERLAYFS_SUPER_MAGIC, nil
}

// check finds the mistakes that the kernel would report as a bare EINVAL.
func check(o MountOptions) error {
	if len(o.Lower) == 0 {
		return &MountError{Target: o.Target, Op: "mount overlay", Err: errors.New("there is no lower layer")}
	}
	if len(stack(o)) > maxStack {
		return &MountError{
			Target: o.Target, Op: "mount overlay", Err: unix.EINVAL,
			Detail: fmt.Sprintf("overlayfs stacks at most %d lower layers, the image has %d; use a flat root filesystem", maxStack, len(o.Lower)),
		}
	}
	for i, dir := range o.Lower {
		if err := checkDir(dir); err != nil {
			if target, lerr := os.Readlink(dir); lerr == nil {
				dir = target // a bundle's link; the layer is what is missing
			}
			return &LowerDirError{Layer: i + 1, Dir: dir, Err: err}
		}
	}
	others := []string{o.Target}
	if !o.ReadOnly {
		others = append(others, o.Upper, o.Work)
	}
	for _, dir := range others {
		if err := checkDir(dir); err != nil {
			return &MountError{Target: o.Target, Op: "mount overlay", Detail: dir, Err: err}
		}
	}
	if o.ReadOnly && len(o.Lower) == 1 {
		return checkEmpty(o.Target)
	}
	return nil
}

// checkDir tells whether dir is a directory or a link to one.
func checkDir(dir string) error {
	info, err := os.Stat(dir)
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err // the caller names the path
	}
	if err == nil && !info.IsDir() {
		return unix.ENOTDIR
	}
	return err
}

// checkEmpty guards the one case in which the target is itself a lower dir.
func checkEmpty(target string) error {
	names, err := os.ReadDir(target)
	if err == nil && len(names) > 0 {
		err = unix.ENOTEMPTY
	}
	if err != nil {
		return &MountError{Target: target, Op: "mount overlay", Err: err}
	}
	return nil
}

// stack returns the lower dirs as they are handed to the kernel, base first.
// overlayfs refuses a single lower dir without an upper dir, so the empty
// target joins it at the bottom, where it contributes nothing.
func stack(o MountOptions) []string {
	if o.ReadOnly && len(o.Lower) == 1 {
		return []string{o.Target, o.Lower[0]}
	}
	return o.Lower
}

// absolute returns o with absolute paths.
func absolute(o MountOptions) (MountOptions, error) {
	o.Lower = append([]string(nil), o.Lower...)
	paths := []*string{&o.Target}
	if !o.ReadOnly {
		paths = append(paths, &o.Upper, &o.Work)
	}
	for i := range o.Lower {
		paths = append(paths, &o.Lower[i])
	}
	for _, p := range paths {
		abs, err := filepath.Abs(*p)
		if err != nil {
			return o, &MountError{Target: o.Target, Op: "mount overlay", Err: err}
		}
		*p = abs
	}
	return o, nil
}

// Unmount takes away whatever is mounted on target, however often. A target
// that has nothing mounted on it, or that does not exist, is no error.
func Unmount(target string) error {
	for {
		err := sys.Unmount(target, unix.UMOUNT_NOFOLLOW)
		switch {
		case err == nil:
			continue
		case errors.Is(err, unix.ENOENT):
			return nil
		case errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPERM):
			// EINVAL says both «no mount point» and «not yours to unmount»;
			// an ordinary user gets EPERM for either.
			if mounted, merr := mountRoot(target); merr == nil && !mounted {
				return nil
			}
		}
		e := &MountError{Target: target, Op: "unmount", Err: err}
		if errors.Is(err, unix.EBUSY) {
			e.Detail = "a process still uses it (see fuser -vm)"
		}
		return e
	}
}

// mountRoot tells whether path is the root of a mount.
func mountRoot(path string) (bool, error) {
	var st unix.Statx_t
	if err := sys.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, 0, &st); err != nil {
		return false, err
	}
	return st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0, nil
}
