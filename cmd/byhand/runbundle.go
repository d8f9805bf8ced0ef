package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/moby/sys/mountinfo"
	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/bundle"
	"github.com/byhand/byhand/internal/sys"
	"github.com/byhand/byhand/overlay"
)

// isBundle tells a directory from an image name. A directory whose name
// could be an image's is one only if it holds a bundle, and if nobody but the
// caller and root decides what is in it: in a directory where others write,
// alpine must not mean what somebody else put there.
func isBundle(arg string) bool {
	if isPath(arg) {
		return true
	}
	var st unix.Stat_t
	if sys.Lstat(arg, &st) != nil || !isOurs(&st) { // a link of theirs leads to a bundle of their choice
		return false
	}
	if sys.Stat(arg, &st) != nil || !isOurs(&st) || othersWrite(&st) {
		return false
	}
	return sys.Lstat(filepath.Join(arg, "config.json"), &st) == nil && isOurs(&st)
}

func isOurs(st *unix.Stat_t) bool { return st.Uid == 0 || int(st.Uid) == os.Geteuid() }

// othersWrite reports whether a directory can be changed by others than its
// owner. The caller's own group is mostly the caller alone.
func othersWrite(st *unix.Stat_t) bool {
	return st.Mode&0o002 != 0 || st.Mode&0o020 != 0 && int(st.Gid) != os.Getegid()
}

// changesConfig names an option that was given and needs a config.json of
// its own.
func changesConfig(f *cli.Context) string {
	for _, flag := range append(containerFlags(), rootfsFlags()...) {
		if n := flag.Names()[0]; n != "runtime" && n != "entrypoint" && f.IsSet(n) {
			return n
		}
	}
	return ""
}

func doRunBundle(ctx context.Context, c *call) error {
	img, err := readBundle(c.args[0])
	if err != nil {
		return fmt.Errorf("run %s: %w", c.args[0], err)
	}
	dir, err := realPath(c.args[0])
	if err != nil {
		return fmt.Errorf("run %s: %w", c.args[0], err)
	}
	if name := changesConfig(c.flags); name != "" {
		return usagef("run: --%s is for an image; %s has its config.json, which you can edit", name, c.args[0])
	}
	r := bundleRun{dir: dir, img: img}
	if img.RootFS == bundle.RootFSOverlay {
		return inNamespaceToRun(r.run)(ctx, c)
	}
	return r.run(ctx, c)
}

// realPath is the absolute path without links: runc refuses a root file system
// whose path has one.
func realPath(name string) (string, error) {
	abs, err := filepath.Abs(name)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(abs)
}

// readBundle tells what the bundle in dir was made from: nothing that is
// known, if another tool made it.
func readBundle(dir string) (bundle.Image, error) {
	if info, err := os.Stat(dir); err == nil && !info.IsDir() {
		return bundle.Image{}, errors.New("expected a bundle, found no directory")
	}
	img, err := bundle.ReadImage(dir)
	begun := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return img, err
	}
	_, err = os.Stat(filepath.Join(dir, "config.json"))
	switch {
	case errors.Is(err, fs.ErrNotExist) && begun:
		return img, fmt.Errorf("it was begun and never finished; make it again with byhand bundle IMAGE %s", dir)
	case errors.Is(err, fs.ErrNotExist):
		return img, fmt.Errorf("expected a bundle, found no config.json; byhand bundle IMAGE %s makes one", dir)
	}
	return img, err
}

// bundleRun is the run of a bundle directory.
type bundleRun struct {
	dir string
	img bundle.Image
}

func (r bundleRun) run(ctx context.Context, c *call) (err error) {
	mount, err := r.wantsMount()
	if err != nil {
		return err
	}
	lock, err := lockBundle(r.dir, mount)
	if errors.Is(err, errInUse) {
		err = fmt.Errorf("%w; an overlay that several containers share is mounted first, with byhand overlay mount", err)
	}
	if err != nil {
		return fmt.Errorf("run %s: %w", r.dir, err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if mount {
		// Somebody may have mounted it before the lock was there.
		if mount, err = r.wantsMount(); err != nil || !mount {
			return cmp.Or(err, fmt.Errorf("run %s: %w", r.dir, errInUse))
		}
		o, err := overlay.BundleMount(r.dir)
		if err == nil {
			err = upperFree(o)
		}
		if err == nil {
			err = checkLayers(ctx, r.dir, o)
		}
		if err != nil {
			return err
		}
	}
	if c.rest == nil && !c.flags.IsSet("entrypoint") {
		return c.startWith(ctx, start{config: r.dir, bundle: r.dir, mount: mount})
	}
	tmp, err := newScratch(filepath.Join(r.dir, "run"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.remove(tmp)) }()
	if err := withArgs(tmp.dir, r.dir, r.command(c)); err != nil {
		return err
	}
	return c.startWith(ctx, start{config: tmp.dir, bundle: r.dir, mount: mount, scratch: true})
}

// wantsMount says whether the run has to mount the bundle's overlay for itself.
func (r bundleRun) wantsMount() (bool, error) {
	mounted, err := mountinfo.Mounted(filepath.Join(r.dir, "rootfs"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("run %s: %w", r.dir, err)
	}
	return r.img.RootFS == bundle.RootFSOverlay && !mounted, nil
}

// command makes another command line of the one in config.json, as --entrypoint
// and arguments do it with the image's.
func (r bundleRun) command(c *call) func(args []string) []string {
	if !c.flags.IsSet("entrypoint") {
		return func(args []string) []string { return r.img.Command(args, c.rest) }
	}
	return func([]string) []string {
		if e := c.flags.String("entrypoint"); e != "" {
			return append([]string{e}, c.rest...)
		}
		return c.rest
	}
}

var errInUse = errors.New("another command is using it")

// lockBundle keeps a bundle from being removed while it runs, and, where it is
// mounted for one run alone, other runs and mounts away: an upper dir in two
// mounts at once is undefined, overlayfs says. Who is late gets errInUse.
func lockBundle(dir string, alone bool) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	how := unix.LOCK_SH
	if alone {
		how = unix.LOCK_EX
	}
	if err := sys.Flock(int(f.Fd()), how|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = errInUse
		}
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// withArgs makes of other a second bundle directory, of a config.json alone,
// that starts another command on the root file system of dir. What else
// config.json says stays as it is, known here or not.
func withArgs(other, dir string, command func(args []string) []string) error {
	raw, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil {
		return fmt.Errorf("read bundle: %w", err)
	}
	var spec map[string]any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	err = d.Decode(&spec)
	process, ok1 := spec["process"].(map[string]any)
	root, ok2 := spec["root"].(map[string]any)
	if err != nil || !ok1 || !ok2 {
		return fmt.Errorf("read bundle %s: config.json is not a runtime configuration", dir)
	}
	args := command(stringsOf(process["args"]))
	if len(args) == 0 {
		return &bundle.CommandError{Cleared: true}
	}
	process["args"] = args
	makeAbsolute(dir, root, "path")
	mounts, _ := spec["mounts"].([]any)
	for _, m := range mounts {
		if m, ok := m.(map[string]any); ok && isBind(m) {
			makeAbsolute(dir, m, "source")
		}
	}
	if raw, err = json.Marshal(spec); err != nil {
		return fmt.Errorf("write config.json: %w", err)
	}
	return os.WriteFile(filepath.Join(other, "config.json"), raw, 0o644)
}

// stringsOf are the strings of a JSON array.
func stringsOf(array any) []string {
	values, _ := array.([]any)
	list := make([]string, 0, len(values))
	for _, v := range values {
		if s, ok := v.(string); ok {
			list = append(list, s)
		}
	}
	return list
}

func isBind(mount map[string]any) bool {
	options, _ := mount["options"].([]any)
	return mount["type"] == "bind" || slices.Contains(options, any("bind")) || slices.Contains(options, any("rbind"))
}

func makeAbsolute(dir string, object map[string]any, key string) {
	if path, ok := object[key].(string); ok && !filepath.IsAbs(path) {
		object[key] = filepath.Join(dir, path)
	}
}
