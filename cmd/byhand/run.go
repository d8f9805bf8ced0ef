package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/byhand/byhand/bundle"
	"github.com/byhand/byhand/internal/ociruntime"
	"github.com/byhand/byhand/internal/sys"
	"github.com/byhand/byhand/internal/userns"
	"github.com/byhand/byhand/overlay"
	"github.com/byhand/byhand/pull"
)

func runCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:      "run",
		Usage:     "run a container and leave nothing behind",
		UsageText: "byhand run [OPTIONS] IMAGE|DIR [-- ARGS…]",
		Description: "Makes a bundle, mounts its overlay where nobody else sees it, starts the OCI runtime,\n" +
			"passes signals and the exit code through, and removes everything. A DIR is a bundle\n" +
			"that byhand made; there -- ARGS replace the whole command line.\n\n   byhand run --tty alpine -- sh",
		Flags: slices.Concat([]cli.Flag{
			&cli.StringFlag{Name: "runtime", Usage: "start `PROGRAM`, a name or a path", DefaultText: "runc, else crun"},
			rootfsFlag("overlay"),
			&cli.BoolFlag{Name: "rootless", Usage: "run in a user namespace (an ordinary user's container always does)"},
			keepBlobsFlag(),
		}, containerFlags()),
		Action: action(std, operands{min: 1, max: 1, rest: true}, asDocker(doRun)),
	}
}

// asDocker turns every failure of ours but a wrong command line into exit
// code 125, so that the container's own codes can be told from it.
func asDocker(h handler) handler {
	return func(ctx context.Context, c *call) error {
		err := h(ctx, c)
		if err == nil || isAny[*silentError](err) || exitCode(err) == exitUsage {
			return err
		}
		if ctx.Err() != nil {
			return err
		}
		if s, ok := errors.AsType[*ociruntime.StartError](err); ok {
			return &codedError{err, s.Code}
		}
		return &codedError{err, ociruntime.CodeFailed}
	}
}

func doRun(ctx context.Context, c *call) error {
	if !isBundle(c.args[0]) {
		return inNamespace(withStore(runImage))(ctx, c)
	}
	img, err := bundle.ReadImage(c.args[0])
	if err != nil {
		return err
	}
	if name := changesConfig(c.flags); name != "" {
		return usagef("run: --%s is for an image; %s has its config.json, which you can edit", name, c.args[0])
	}
	if img.RootFS == bundle.RootFSOverlay {
		return inNamespace(runDir)(ctx, c)
	}
	return runDir(ctx, c)
}

// isBundle tells a directory from an image name. A directory whose name
// could be an image's is one only if it holds a bundle, and if that is the
// caller's or root's: in a directory where others write, alpine must not mean
// what somebody else put there.
func isBundle(arg string) bool {
	if strings.HasPrefix(arg, "/") || strings.HasPrefix(arg, "./") || strings.HasPrefix(arg, "../") || arg == "." || arg == ".." {
		return true
	}
	var st unix.Stat_t
	err := sys.Stat(filepath.Join(arg, "config.json"), &st)
	return err == nil && (st.Uid == 0 || int(st.Uid) == os.Geteuid())
}

// changesConfig names an option that was given and needs a config.json of
// its own.
func changesConfig(f *cli.Context) string {
	for _, flag := range append(containerFlags(), rootfsFlags()...) {
		if n := flag.Names()[0]; f.IsSet(n) {
			return n
		}
	}
	return ""
}

func runImage(ctx context.Context, s *session) (err error) {
	options, err := s.runOptions()
	if err != nil {
		return err
	}
	rootfs, err := s.rootfs(bundle.RootFSOverlay)
	if err != nil {
		return err
	}
	checked := func(ctx context.Context, arg string) (*pull.Image, error) {
		img, err := s.findWhole(ctx, arg)
		if err == nil {
			err = bundle.Check(img.Config.Raw, options)
		}
		return img, err
	}
	img, layers, err := s.unpacked(ctx, s.args[0], checked)
	if err != nil {
		return err
	}
	tmp, err := newScratch(filepath.Join(s.store.Dir(), "run"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.remove(tmp)) }()
	options.Name = filepath.Base(tmp.dir)
	plan := &bundlePlan{session: s, dir: filepath.Join(tmp.dir, "bundle"), rootfs: rootfs, options: options, scratch: true}
	if err := plan.write(ctx, img, layers); err != nil {
		return err
	}
	s.endProgress()
	return s.startWith(ctx, start{config: plan.dir, bundle: plan.dir, mount: rootfs == bundle.RootFSOverlay, scratch: true})
}

// remove takes a scratch directory away.
func (c *call) remove(tmp *scratch) error {
	err := tmp.remove()
	if err == nil {
		c.explain.Removed(tmp.dir)
	}
	return err
}

// runOptions are bundleOptions for a runtime that this process starts.
func (s *session) runOptions() (bundle.Options, error) {
	options, err := s.bundleOptions()
	if err != nil {
		return options, err
	}
	status, err := userns.Inspect()
	if err != nil {
		return options, err
	}
	options.InUserNamespace = status.Kind != userns.HostRoot
	options.Rootless = s.flags.Bool("rootless")
	if options.InUserNamespace || options.Rootless {
		options.UIDMappings, options.GIDMappings = callerMappings()
	}
	return options, nil
}

func runDir(ctx context.Context, c *call) (err error) {
	dir, err := filepath.Abs(c.args[0])
	if err != nil {
		return fmt.Errorf("run %s: %w", c.args[0], err)
	}
	img, err := bundle.ReadImage(dir)
	if err != nil {
		return err
	}
	mounted, err := mountinfo.Mounted(filepath.Join(dir, "rootfs"))
	if err != nil {
		return fmt.Errorf("run %s: %w", dir, err)
	}
	mount := img.RootFS == bundle.RootFSOverlay && !mounted
	if mount {
		o, err := overlay.BundleMount(dir)
		if err == nil {
			err = checkLayers(ctx, dir, o)
		}
		if err != nil {
			return err
		}
	}
	if c.rest == nil {
		return c.startWith(ctx, start{config: dir, bundle: dir, mount: mount})
	}
	tmp, err := newScratch(filepath.Join(dir, "run"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.remove(tmp)) }()
	if err := withArgs(tmp.dir, dir, c.rest); err != nil {
		return err
	}
	return c.startWith(ctx, start{config: tmp.dir, bundle: dir, mount: mount, scratch: true})
}

// withArgs makes of other a second bundle directory, of a config.json alone,
// that starts args on the root file system of dir.
func withArgs(other, dir string, args []string) error {
	raw, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil {
		return fmt.Errorf("read bundle: %w", err)
	}
	var spec specs.Spec
	if err := json.Unmarshal(raw, &spec); err != nil || spec.Process == nil || spec.Root == nil {
		return fmt.Errorf("read bundle %s: config.json is not a runtime configuration", dir)
	}
	spec.Process.Args = args
	spec.Root.Path = absoluteIn(dir, spec.Root.Path)
	for i, m := range spec.Mounts {
		if m.Type == "bind" || slices.Contains(m.Options, "bind") || slices.Contains(m.Options, "rbind") {
			spec.Mounts[i].Source = absoluteIn(dir, m.Source)
		}
	}
	return bundle.Write(other, bundle.Result{Spec: &spec}, bundle.WriteOptions{})
}

func absoluteIn(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

// mountRequest is what the supervisor is asked to prepare.
type mountRequest struct{ Bundle string }

// start is what a run starts.
type start struct {
	config  string // directory with the config.json
	bundle  string // the bundle, whose overlay is mounted if mount says so
	mount   bool
	scratch bool // config is removed at the end
}

// startWith starts the runtime.
func (c *call) startWith(ctx context.Context, st start) error {
	o := ociruntime.Options{
		Runtime: c.flags.String("runtime"), Bundle: st.config,
		Stdin: c.std.in, Stdout: c.std.out, Stderr: c.std.err,
		Observe: func(p ociruntime.Plan) { c.explain.Run(p, st.scratch) },
	}
	if st.mount {
		o.Prepare = mountRequest{Bundle: st.bundle}
	}
	if c.flags.Bool("tty") && !term.IsTerminal(int(c.std.in.Fd())) {
		return usagef("run: --tty needs a terminal on standard input")
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := c.explainMount(st); err != nil {
		return err
	}
	// From here signals go to the container, which decides what comes of them.
	code, err := ociruntime.Run(context.WithoutCancel(ctx), o)
	if err != nil {
		return err
	}
	c.explain.Ended(code)
	if code != 0 {
		return &silentError{code}
	}
	return nil
}

// inner makes this process the part of a run that lives in the private
// namespaces, or the command inside a user namespace, if it was started as
// one; then it does not return.
func inner(argv []string) {
	if code, ok := userns.Child(argv); ok {
		os.Exit(code)
	}
	if code, ok := ociruntime.Inner(argv, mountBundle); ok {
		os.Exit(code)
	}
}

func mountBundle(_ context.Context, request json.RawMessage) error {
	var r mountRequest
	if err := json.Unmarshal(request, &r); err != nil {
		return fmt.Errorf("read mount request: %w", err)
	}
	if r.Bundle == "" {
		return nil
	}
	o, err := overlay.BundleMount(r.Bundle)
	if err != nil {
		return err
	}
	return overlay.Mount(o)
}
