package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/moby/sys/mountinfo"
	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/bundle"
	"github.com/byhand/byhand/internal/explain"
	"github.com/byhand/byhand/overlay"
)

func overlayCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:      "overlay",
		Usage:     "mount, unmount or show a bundle's overlay",
		UsageText: "byhand overlay mount|umount|show DIR",
		Description: "DIR is a bundle, whose layers are mounted, topmost first, as one tree on DIR/rootfs,\n" +
			"with DIR/upper for what is written.\n\n   byhand overlay show ./alpine",
		Subcommands: []*cli.Command{
			overlaySub(std, "mount", "mount the bundle's overlay on DIR/rootfs", doOverlayMount,
				&cli.BoolFlag{Name: "read-only", Usage: "mount the lower dirs alone, without DIR/upper"}),
			overlaySub(std, "umount", "unmount DIR/rootfs, if it is mounted", doOverlayUmount),
			overlaySub(std, "show", "print the mount command that does the same", doOverlayShow,
				&cli.BoolFlag{Name: "read-only", Usage: "show the mount of the lower dirs alone"}),
		},
		Action: func(c *cli.Context) error { return usagef("overlay: expected mount, umount or show") },
	}
}

func overlaySub(std streams, name, usage string, h handler, flags ...cli.Flag) *cli.Command {
	return &cli.Command{
		Name: name, Usage: usage, UsageText: "byhand overlay " + name + " DIR",
		Description: "   byhand overlay " + name + " ./alpine",
		Flags:       flags, Action: action(std, operands{min: 1, max: 1}, h),
	}
}

func (c *call) bundleMount() (overlay.MountOptions, error) {
	if _, err := os.Stat(c.args[0]); err != nil {
		return overlay.MountOptions{}, fmt.Errorf("read bundle: %w", err)
	}
	o, err := overlay.BundleMount(c.args[0])
	o.ReadOnly = c.flags.Bool("read-only")
	return o, err
}

// checkLayers asks the store that a bundle's lower dirs are in whether they
// can be trusted: after a power loss one may never have reached the disk. It
// records where the bundle is, which may have been moved.
func checkLayers(ctx context.Context, dir string, o overlay.MountOptions) (err error) {
	lower, err := filepath.EvalSymlinks(o.Lower[0])
	if errors.Is(err, fs.ErrNotExist) {
		return nil // Mount names the layer that is missing
	}
	if err != nil {
		return fmt.Errorf("read bundle: %w", err)
	}
	root := filepath.Join(lower, "..", "..", "..")
	_, err = os.Stat(filepath.Join(root, "oci-layout"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // lower dirs of no store are the person's own
	}
	if err != nil {
		return fmt.Errorf("find store: %w", err)
	}
	img, err := bundle.ReadImage(dir)
	if err != nil {
		return err
	}
	store, err := overlay.Open(ctx, root, overlay.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	layers, err := store.Layers(img.DiffIDs)
	if err != nil {
		return err
	}
	err = store.UseAgain(ctx, dir, chains(layers))
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS) {
		return nil // another's store, or one that nobody can change: the bundle works without
	}
	return err
}

// lockUpper keeps the bundle's upper dir out of a second mount: a run may have
// one that is seen by nobody else. What is mounted here already stays as it is.
func lockUpper(dir string, o overlay.MountOptions) (io.Closer, error) {
	mounted, err := mountinfo.Mounted(o.Target)
	if err != nil || mounted || o.ReadOnly {
		return io.NopCloser(nil), nil //nolint:nilerr // Mount says what is wrong with the target
	}
	lock, err := lockBundle(dir, true)
	if errors.Is(err, errInUse) {
		err = fmt.Errorf("%w, with a mount of its own; wait for it to end", err)
	}
	if err != nil {
		return nil, fmt.Errorf("mount overlay %s: %w", o.Target, err)
	}
	if err := upperFree(o); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
}

// upperFree refuses a mount while a container that outlived an earlier one, or
// somebody else, has the same upper dir mounted.
func upperFree(o overlay.MountOptions) error {
	user, err := overlay.UpperUser(o.Upper)
	if err != nil || user == "" {
		return err
	}
	return &overlay.MountError{
		Target: o.Target, Op: "mount overlay", Err: unix.EBUSY,
		Detail: fmt.Sprintf("%s is the upper dir of %s still; end that first", o.Upper, user),
	}
}

func doOverlayMount(ctx context.Context, c *call) (err error) {
	o, err := c.bundleMount()
	if err != nil {
		return err
	}
	lock, err := lockUpper(c.args[0], o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := checkLayers(ctx, c.args[0], o); err != nil {
		return err
	}
	if err := overlay.Mount(o); err != nil {
		if errors.Is(err, unix.EPERM) && !isRealRoot() {
			return fmt.Errorf("%w; only root can mount it for all to see, byhand run %s mounts it for the container", err, c.args[0])
		}
		return err
	}
	c.explain.Mount(o, explain.Mount{})
	return c.println(o.Target)
}

func doOverlayUmount(ctx context.Context, c *call) error {
	o, err := c.bundleMount()
	if err != nil {
		return err
	}
	if err := overlay.Unmount(o.Target); err != nil {
		return err
	}
	c.explain.Unmount(o.Target)
	return c.println(o.Target)
}

func doOverlayShow(ctx context.Context, c *call) error {
	o, err := c.bundleMount()
	if err != nil {
		return err
	}
	return c.println(overlay.MountCommand(o))
}
