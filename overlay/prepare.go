package overlay

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/sys"
)

// Names in a bundle directory.
const (
	bundleLower  = "lower"
	bundleUpper  = "upper"
	bundleWork   = "work"
	bundleRootfs = "rootfs"
)

// BundleError says that a bundle directory does not hold what Prepare makes.
type BundleError struct {
	Dir    string
	Reason string
}

func (e *BundleError) Error() string {
	return fmt.Sprintf("read bundle %s: %s", e.Dir, e.Reason)
}

// Prepare makes the parts of a bundle that its overlay mount needs: lower/1 to
// lower/N, symbolic links to the layers, base first; the empty directories
// upper, work and rootfs. upper gets the attributes of the image's root
// directory, because overlayfs shows those of the upper dir.
//
// What an earlier Prepare made for the same layers is kept, with what the
// container wrote. Another image's is an fs.ErrExist.
func Prepare(bundleDir string, layers []Layer) error {
	if len(layers) == 0 {
		return fmt.Errorf("prepare bundle %s: the image has no layer that an overlay could be made of; --rootfs flat needs none", bundleDir)
	}
	lower := filepath.Join(bundleDir, bundleLower)
	if err := makeBundleDir(lower, 0o755); err != nil {
		return fmt.Errorf("prepare bundle: %w", err)
	}
	for i, l := range layers {
		if err := makeLink(l.Dir, filepath.Join(lower, strconv.Itoa(i+1))); err != nil {
			return fmt.Errorf("prepare bundle: %w", err)
		}
	}
	extra := filepath.Join(lower, strconv.Itoa(len(layers)+1))
	if _, err := os.Lstat(extra); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("prepare bundle: %w", &fs.PathError{Op: "link", Path: extra, Err: fs.ErrExist})
	}
	for name, mode := range map[string]fs.FileMode{bundleWork: 0o700, bundleRootfs: 0o755} {
		if err := makeBundleDir(filepath.Join(bundleDir, name), mode); err != nil {
			return fmt.Errorf("prepare bundle: %w", err)
		}
	}
	return makeUpper(filepath.Join(bundleDir, bundleUpper), layers[len(layers)-1].Dir)
}

func makeBundleDir(path string, mode fs.FileMode) error {
	err := os.Mkdir(path, mode)
	if info, serr := os.Lstat(path); errors.Is(err, fs.ErrExist) && serr == nil && info.IsDir() {
		return nil
	}
	return err
}

func makeLink(target, path string) error {
	target, err := filepath.Abs(target)
	if err != nil {
		return err
	}
	err = os.Symlink(target, path)
	if errors.Is(err, fs.ErrExist) {
		if have, rerr := os.Readlink(path); rerr == nil && have == target {
			return nil
		}
	}
	return err
}

// makeUpper makes the upper dir with the attributes of the topmost layer's
// root.
func makeUpper(path, top string) error {
	err := os.Mkdir(path, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return makeBundleDir(path, 0o700)
	}
	if err != nil {
		return fmt.Errorf("prepare bundle: %w", err)
	}
	src, err := openLayer(top)
	if err != nil {
		return fmt.Errorf("prepare bundle: open layer %s: %w", top, err)
	}
	defer func() { _ = unix.Close(src) }()
	// What was made just now, and not where somebody else has put a link.
	dst, err := sys.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("prepare bundle: open %s: %w", path, err)
	}
	defer func() { _ = unix.Close(dst) }()
	if err := copyMeta(src, dst); err != nil {
		return fmt.Errorf("prepare bundle: set attributes of %s: %w", path, err)
	}
	return nil
}

func openLayer(path string) (int, error) {
	return sys.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
}

// BundleMount returns what mounts the overlay of a bundle that Prepare made.
// Whether its layers carry user.overlay markers is read from their store.
func BundleMount(bundleDir string) (MountOptions, error) {
	dir, err := filepath.Abs(bundleDir)
	if err != nil {
		return MountOptions{}, fmt.Errorf("read bundle: %w", err)
	}
	o := MountOptions{
		Upper: filepath.Join(dir, bundleUpper), Work: filepath.Join(dir, bundleWork), Target: filepath.Join(dir, bundleRootfs),
	}
	for _, path := range []string{filepath.Join(dir, bundleLower), o.Upper, o.Work, o.Target} {
		if err := checkLink(dir, path); err != nil {
			return MountOptions{}, err
		}
	}
	names, err := os.ReadDir(filepath.Join(dir, bundleLower))
	if errors.Is(err, fs.ErrNotExist) {
		return MountOptions{}, &BundleError{Dir: dir, Reason: "it has no directory lower: its rootfs is plain files, which need no mount, or it is no bundle"}
	}
	if err != nil {
		return MountOptions{}, fmt.Errorf("read bundle: %w", err)
	}
	if len(names) == 0 {
		return MountOptions{}, &BundleError{Dir: dir, Reason: "lower is empty; make the bundle again"}
	}
	for i := range names {
		path := filepath.Join(dir, bundleLower, strconv.Itoa(i+1))
		_, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			return MountOptions{}, &BundleError{Dir: dir, Reason: fmt.Sprintf("lower holds %d names and %d is not among them; make the bundle again", len(names), i+1)}
		}
		if err != nil {
			return MountOptions{}, fmt.Errorf("read bundle: %w", err)
		}
		if err := checkLink(dir, path); err != nil {
			return MountOptions{}, err
		}
		o.Lower = append(o.Lower, path)
	}
	o.UserXattr, err = userXattrs(o.Lower[0])
	return o, err
}

// checkLink refuses a link of somebody else's: it could lead root's mount over
// /etc, or show in it what only root may see.
func checkLink(dir, path string) error {
	var st unix.Stat_t
	if sys.Lstat(path, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFLNK || st.Uid == 0 || int(st.Uid) == os.Geteuid() {
		return nil // Mount says what is missing
	}
	name, err := filepath.Rel(dir, path)
	if err != nil {
		name = path
	}
	return &BundleError{
		Dir:    dir,
		Reason: fmt.Sprintf("%s is a symbolic link that belongs to user %d, who could lead the mount elsewhere; run byhand as that user, or make the bundle again", name, st.Uid),
	}
}

// userXattrs asks the store that a lower dir is part of for its markers. A
// directory that is in no store has the usual ones.
func userXattrs(lower string) (bool, error) {
	dir, err := filepath.EvalSymlinks(lower)
	if err != nil {
		return false, nil // Mount names the layer that is missing
	}
	store := layout{root: filepath.Join(dir, "..", "..", "..")}
	raw, err := readSmall(store.format())
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read store format: %w", err)
	}
	var f Format
	if err := json.Unmarshal(raw, &f); err != nil {
		return false, &CorruptError{Path: store.format(), Reason: err.Error()}
	}
	return f.UserXattr, nil
}
