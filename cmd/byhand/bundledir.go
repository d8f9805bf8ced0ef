package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/bundle"
	"github.com/byhand/byhand/internal/explain"
	"github.com/byhand/byhand/internal/sys"
	"github.com/byhand/byhand/internal/userns"
	"github.com/byhand/byhand/overlay"
	"github.com/byhand/byhand/pull"
)

// bundlePlan is a bundle directory to be made.
type bundlePlan struct {
	session *session
	dir     string
	rootfs  string // bundle.RootFSOverlay or bundle.RootFSFlat
	mount   bool
	options bundle.Options
	scratch bool // it is removed at the end
	created bool // by us: the directory was not there
}

func (s *session) planBundle(dir string) (*bundlePlan, error) {
	options, err := s.bundleOptions()
	if err != nil {
		return nil, err
	}
	p := &bundlePlan{session: s, dir: dir, rootfs: bundle.RootFSOverlay, options: options}
	status, err := userns.Inspect()
	if err != nil {
		return nil, err
	}
	ordinary := status.Kind != userns.HostRoot
	p.options.Rootless = ordinary || s.flags.Bool("rootless")
	if p.options.Rootless {
		p.options.UIDMappings, p.options.GIDMappings = callerMappings()
	}
	if p.options.Rootless || !mountsForAll(status) {
		p.rootfs = bundle.RootFSFlat
	}
	if p.rootfs, err = s.rootfs(p.rootfs); err != nil {
		return nil, err
	}
	if ordinary && p.rootfs == bundle.RootFSOverlay {
		// Only a namespace made before the mount can have it: byhand run enters
		// that, and a second one inside would lack the IDs of the first.
		p.options.Rootless, p.options.InUserNamespace = false, true
	}
	// A mount made in a namespace of our own would be gone when we end.
	p.mount = p.rootfs == bundle.RootFSOverlay && !ordinary && !s.flags.Bool("no-mount")
	return p, nil
}

// rootfs is the kind of root file system that was asked for, else usual.
func (c *call) rootfs(usual string) (string, error) {
	switch v := c.flags.String("rootfs"); v {
	case "":
		return usual, nil
	case bundle.RootFSOverlay, bundle.RootFSFlat:
		return v, nil
	default:
		return "", usagef("--rootfs %q: expected overlay or flat", v)
	}
}

// free checks that the directory is there to be used, before anything is
// fetched for it.
func (p *bundlePlan) free() error {
	if err := p.session.outsideDir("make bundle", p.dir); err != nil {
		return err
	}
	_, err := bundle.Inspect(p.dir)
	return err
}

// write makes the bundle. config.json comes last: without it no runtime and
// no later command takes the directory for whole.
func (p *bundlePlan) write(ctx context.Context, img *pull.Image, layers []overlay.Layer) (err error) {
	lock, err := p.claim()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err = p.suit(img); err == nil {
		err = p.fill(ctx, img, layers)
	}
	if err != nil {
		return errors.Join(err, p.undo())
	}
	return nil
}

// claim takes the directory for this process, and empties one that was
// begun by a process that ended before it was done.
func (p *bundlePlan) claim() (*os.File, error) {
	var err error
	if p.created, err = makePrivate(p.dir); err != nil {
		return nil, fmt.Errorf("make bundle: %w", err)
	}
	f, err := os.Open(p.dir)
	if err != nil {
		return nil, fmt.Errorf("make bundle: %w", err)
	}
	if err := sys.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("make bundle %s: another process is making it: %w", p.dir, err), f.Close())
	}
	if !p.created {
		p.warnOwner(f)
	}
	state, err := bundle.Inspect(p.dir)
	if err == nil && state == bundle.StateInterrupted {
		err = p.clear()
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// makePrivate makes the directory of a bundle, and says whether it was this
// call that did. Nobody else may enter it: below are set-user-ID programs of
// the image and of the container, which on this side of it are programs of ours
// (CVE-2021-41103 of containerd), and a config.json with the values of --env.
func makePrivate(dir string) (created bool, err error) {
	if err := os.MkdirAll(filepath.Dir(filepath.Clean(dir)), 0o755); err != nil {
		return false, err
	}
	// Not looked for beforehand: somebody else could make it in between.
	err = os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrExist) {
		info, serr := os.Stat(dir)
		if serr == nil && info.IsDir() {
			err = nil
		}
		return false, err
	}
	return err == nil, err
}

// warnOwner tells of a directory that others may change: what is started
// from it would be theirs to choose.
func (p *bundlePlan) warnOwner(f *os.File) {
	var st unix.Stat_t
	if sys.Fstat(int(f.Fd()), &st) != nil {
		return
	}
	switch {
	case int(st.Uid) != os.Geteuid():
		name := fmt.Sprintf("uid %d", st.Uid)
		if u, err := user.LookupId(fmt.Sprint(st.Uid)); err == nil {
			name = u.Username
		}
		p.session.warn(fmt.Sprintf("%s belongs to %s, who can change what is started from it; take it with chown, or name another directory", p.dir, name))
	case st.Mode&0o022 != 0:
		p.session.warn(fmt.Sprintf("others may write in %s (mode %04o) and change what is started from it; chmod go-w, or name another directory", p.dir, st.Mode&0o7777))
	}
}

// undo takes back a bundle that could not be finished.
func (p *bundlePlan) undo() error {
	err := errors.Join(p.clear(), p.session.store.Release(p.dir))
	if err == nil && p.created {
		err = os.Remove(p.dir)
	}
	return err
}

// clear empties the directory of a bundle that is not finished.
func (p *bundlePlan) clear() error {
	if err := overlay.Unmount(filepath.Join(p.dir, "rootfs")); err != nil {
		return err
	}
	f, err := os.Open(p.dir)
	if err != nil {
		return fmt.Errorf("clear bundle: %w", err)
	}
	defer func() { _ = f.Close() }()
	return bundle.Clear(f)
}

func (p *bundlePlan) fill(ctx context.Context, img *pull.Image, layers []overlay.Layer) error {
	s := p.session
	s.explain.Bundle(p.dir, p.rootfs)
	record, err := p.describe(img)
	if err != nil {
		return err
	}
	if err := bundle.WriteImage(p.dir, record); err != nil {
		return err
	}
	root, err := p.makeRootfs(ctx, layers)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	result, err := bundle.Spec(img.Config.Raw, root, p.options)
	if u, ok := errors.AsType[*bundle.UnmappedError](err); ok {
		u.Remedy = userns.Remedy()
	}
	if err != nil {
		return forImage(img, err)
	}
	for _, w := range result.Warnings {
		s.warn(w)
	}
	warnings, err := bundle.PopulateVolumes(ctx, p.dir, result.Volumes, root)
	if err != nil {
		return err
	}
	for _, w := range warnings {
		s.warn(w)
	}
	// The mount comes before config.json, or a kill between them would leave
	// what looks like a finished bundle.
	if p.mount {
		if err := p.mountRootfs(); err != nil {
			return err
		}
	}
	if err := p.sync(); err != nil { // before config.json says that the bundle is whole
		return err
	}
	if err := bundle.Write(p.dir, result, bundle.WriteOptions{}); err != nil {
		return err
	}
	if err := p.sync(); err != nil {
		return err
	}
	s.explain.Config(p.dir, result, p.scratch)
	if !p.mount {
		return p.explainLater()
	}
	return nil
}

// sync waits until the bundle is on the disk, if that is asked for.
func (p *bundlePlan) sync() error {
	if !p.session.flags.Bool("sync") || p.scratch {
		return nil
	}
	f, err := os.Open(p.dir)
	if err != nil {
		return fmt.Errorf("sync bundle: %w", err)
	}
	defer func() { _ = f.Close() }()
	if err := sys.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("sync bundle %s: %w", p.dir, err)
	}
	return nil
}

// closableFS is a root file system to read users and volumes from.
type closableFS interface {
	fs.FS
	Close() error
}

func (p *bundlePlan) makeRootfs(ctx context.Context, layers []overlay.Layer) (closableFS, error) {
	if p.rootfs == bundle.RootFSFlat {
		return p.flatten(ctx, layers)
	}
	if err := p.session.store.Use(ctx, p.dir, chains(layers)); err != nil {
		return nil, err
	}
	if err := overlay.Prepare(p.dir, layers); err != nil {
		return nil, err
	}
	return overlay.OpenView(dirs(layers))
}

func (p *bundlePlan) flatten(ctx context.Context, layers []overlay.Layer) (closableFS, error) {
	dst := filepath.Join(p.dir, "rootfs")
	if err := p.session.flatten(ctx, layers, dst); err != nil {
		return nil, err
	}
	return bundle.OpenRoot(dst)
}

func (p *bundlePlan) mountRootfs() error {
	o, err := overlay.BundleMount(p.dir)
	if err != nil {
		return err
	}
	if err := overlay.Mount(o); err != nil {
		return fmt.Errorf("%w; --rootfs flat needs no mount", err)
	}
	p.session.explain.Mount(o, explain.Mount{})
	return nil
}

// suit makes plain files where no overlay can be, unless one was asked for. p.dir
// is there.
func (p *bundlePlan) suit(img *pull.Image) error {
	if p.rootfs != bundle.RootFSOverlay || !p.mount && !p.scratch || p.session.flags.IsSet("rootfs") {
		return nil
	}
	obstacle, err := overlay.Obstacle(p.dir, len(img.Layers))
	if err != nil || obstacle == "" {
		return err
	}
	if !p.scratch {
		p.session.warn(fmt.Sprintf("%s is plain files: %s", filepath.Join(p.dir, "rootfs"), obstacle))
	}
	p.rootfs, p.mount = bundle.RootFSFlat, false
	return nil
}

// describe is what image.json says.
func (p *bundlePlan) describe(img *pull.Image) (bundle.Image, error) {
	entrypoint, err := bundle.Entrypoint(img.Config.Raw, p.options)
	d := bundle.Image{
		Reference: img.Reference.String(),
		Platform:  pull.FormatPlatform(img.Spec.Platform),
		Manifest:  img.Manifest.Descriptor.Digest,
		Config:    img.Config.Descriptor.Digest,
		Layers:    []digest.Digest{},
		DiffIDs:   diffIDs(img),
		ChainIDs:  []digest.Digest{},
		RootFS:    p.rootfs,

		Entrypoint: entrypoint,
	}
	if img.Index != nil {
		d.Index = img.Index.Descriptor.Digest
	}
	for _, l := range img.Layers {
		d.Layers = append(d.Layers, l.Descriptor.Digest)
	}
	for _, c := range overlay.ChainIDs(d.DiffIDs) {
		d.ChainIDs = append(d.ChainIDs, c.Digest())
	}
	return d, err
}
