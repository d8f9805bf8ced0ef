package bundle

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/rootfd"
	"github.com/byhand/byhand/internal/sys"
)

// VolumeError reports that a volume could not be filled.
type VolumeError struct {
	Volume string // its place in the container
	Name   string // what could not be copied, a path in the container
	Op     string
	Err    error
}

func (e *VolumeError) Error() string {
	return fmt.Sprintf("fill volume %s: %s %s: %v", e.Volume, e.Op, e.Name, e.Err)
}

func (e *VolumeError) Unwrap() error { return e.Err }

// PopulateVolumes makes the volumes' directories in the bundle and fills each
// with what root has at its destination: content, owners, modes, times, links
// and extended attributes. A volume that is there stays as it is. A volume
// appears whole or not at all. The returned warnings say once what could not
// be kept, as owners for an ordinary user.
//
// Names are resolved as Spec resolves them, inside root. What is written goes
// to directories that are open, never to a path.
func PopulateVolumes(ctx context.Context, bundleDir string, volumes []Volume, root fs.FS) ([]string, error) {
	if len(volumes) == 0 {
		return nil, nil
	}
	dir, err := openVolumes(bundleDir)
	if err != nil {
		return nil, fmt.Errorf("make %s of bundle %s: %w", volumesDir, bundleDir, err)
	}
	defer func() { _ = unix.Close(dir) }()
	c := &copier{root: tree{root}}
	for _, v := range volumes {
		c.volume, c.links = v.Destination, map[inode]string{}
		if err := c.populate(ctx, dir, v); err != nil {
			return c.skipped.warnings(), err
		}
	}
	return c.skipped.warnings(), nil
}

// openVolumes opens the directory for volumes. A link in its place is refused.
func openVolumes(bundleDir string) (int, error) {
	bundle, err := rootfd.Retry(func() (int, error) {
		return sys.Open(bundleDir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return -1, err
	}
	defer func() { _ = unix.Close(bundle) }()
	if err := sys.Mkdirat(bundle, volumesDir, 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
		return -1, err
	}
	return openDir(bundle, volumesDir)
}

func openDir(dirfd int, name string) (int, error) {
	return rootfd.Retry(func() (int, error) {
		return sys.Openat(dirfd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	})
}

// populate copies beside and renames, so that a volume that was interrupted is
// made again and one in use is left alone.
func (c *copier) populate(ctx context.Context, dir int, v Volume) error {
	name := path.Base(v.Source)
	if strings.HasPrefix(name, ".") || v.Source != volumesDir+"/"+name {
		return &VolumeError{Volume: v.Destination, Name: v.Source, Op: "make", Err: fs.ErrInvalid}
	}
	var st unix.Stat_t
	if sys.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil {
		return nil
	}
	at, info, err := c.root.resolve(v.Destination)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		info = nil
	case err != nil:
		return c.fail("read", at, err)
	case at == "." || !info.IsDir():
		return &RootError{Path: v.Destination, Want: "a directory for the volume", Got: kind(info.Mode())}
	}
	staging := ".new-" + name
	if err := rootfd.RemoveAllAt(dir, staging); err != nil {
		return &VolumeError{Volume: v.Destination, Name: staging, Op: "remove", Err: err}
	}
	if info == nil {
		err = c.emptyVolume(dir, staging)
	} else {
		c.from = at
		err = c.directory(ctx, at, metaOf(info), dir, staging)
	}
	if err == nil {
		err = sys.Renameat2(dir, staging, dir, name, unix.RENAME_NOREPLACE)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
			err = sys.Renameat(dir, staging, dir, name)
		}
		if err == nil {
			return nil
		}
		err = &VolumeError{Volume: v.Destination, Name: name, Op: "rename to", Err: err}
	}
	_ = rootfd.RemoveAllAt(dir, staging)
	return err
}

// emptyVolume is for a volume that the image has no directory for.
func (c *copier) emptyVolume(dir int, name string) error {
	err := sys.Mkdirat(dir, name, 0o755)
	if err == nil {
		err = rootfd.Chmodat(dir, name, 0o755) // whatever the umask
	}
	if err != nil {
		return c.fail("make directory for", "", err)
	}
	return nil
}

func (c *copier) fail(op, name string, err error) error {
	var ve *VolumeError
	if errors.As(err, &ve) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &VolumeError{Volume: c.volume, Name: path.Join("/", name), Op: op, Err: err}
}
